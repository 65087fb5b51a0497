// What `cerver/client` exports.
import * as z from "zod";

// A page whose policy forbids eval would report that zod tries it.
z.config({ jitless: true });

export { CerverError, type ErrorBody, type ErrorCode } from "../protocol/errors.js";
export type { RegisteredCompute } from "./computes.js";
export { digestText } from "./digest-text.js";
export { GatewayClient } from "./gateway-client.js";
export type { GatewayClientOptions, ListenOptions } from "./http.js";
export type { FollowOptions, RunsQuery } from "./runs.js";
export type { ExportQuery, SearchQuery } from "./search.js";
export type { SessionsQuery, TranscriptQuery } from "./sessions.js";
export { allEntries, entryText } from "./transcript-text.js";
export type * from "./wire.js";
