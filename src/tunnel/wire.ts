import type { Logger } from "../util/logger.js";
import type { FrameSocket } from "./frame-socket.js";

/** Answers the requests that come through a tunnel. `request.signal` aborts when the asker has gone. */
export type Serve = (request: Request) => Promise<Response>;

/** A request whose body is at hand and small, as nearly all are: it needs no `Request` to be made and taken apart. */
export interface SmallCall {
  method: string;
  /** With its query string. */
  path: string;
  body: Uint8Array;
  signal: AbortSignal;
}

/** The answer to a {@link SmallCall}. */
export interface SmallAnswer {
  status: number;
  headers: [string, string][];
  body: Uint8Array;
}

/** Answers those small calls that it knows, and leaves the others, by returning nothing, to {@link Serve}. */
export type ServeSmall = (call: SmallCall) => Promise<SmallAnswer> | undefined;

/** Bounds of one channel. Both sides have the same, and say so in their hello. */
export interface ChannelLimits {
  /** One message on the socket. */
  maxFrameBytes: number;
  /** Unread bytes of one body in one direction. */
  windowBytes: number;
  /** The JSON head of a request or response. */
  maxHeadBytes: number;
  /** Requests under way at once. */
  maxStreams: number;
}

export const DEFAULT_LIMITS: ChannelLimits = {
  maxFrameBytes: 1024 * 1024,
  windowBytes: 512 * 1024,
  maxHeadBytes: 64 * 1024,
  maxStreams: 4096,
};

/** One body chunk on the wire, on level 2. */
export const MAX_CHUNK_BYTES = 64 * 1024;
/** A body up to this size with a known length is read whole and travels with its head. */
export const INLINE_BODY_BYTES = 64 * 1024;

/** What a wire gets from its channel. */
export interface WireDeps {
  socket: FrameSocket;
  side: "gateway" | "relay";
  serve: Serve;
  serveSmall?: ServeSmall | undefined;
  logger: Logger;
  software: string;
  limits: ChannelLimits;
  /** Closes the whole channel, for a peer that cannot be understood. */
  fail(code: number, reason: string): void;
  onStreamEvent?: ((event: { session_id: string; event: unknown }) => void) | undefined;
}

/** One wire level: how requests and responses become messages. */
export interface Wire {
  readonly peer: { software: string; version: number } | undefined;
  /** Requests under way, both ways. */
  readonly streams: number;
  /** Called once, when the socket is open. */
  start(): void;
  fetch(request: Request): Promise<Response>;
  call?(call: SmallCall): Promise<Response>;
  receive(message: string | Uint8Array): void;
  ping(): void;
  /** The socket is gone: everything under way ends with this error. */
  end(error: Error): void;
}
