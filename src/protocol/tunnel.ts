import { z } from "zod";

/** The websocket subprotocol by which two current ends agree on binary frames (level 2). */
export const TUNNEL_SUBPROTOCOL = "cerver.tunnel.2";

/** Close codes of our own (RFC 6455, section 7.4.2: 4000 to 4999 are for applications). */
export const CLOSE = {
  normal: 1000,
  goingAway: 1001,
  protocolError: 1002,
  tooLarge: 1009,
  /** Nothing was heard from the peer for too long. */
  silent: 4408,
  /** Another relay connected for the same compute. */
  replaced: 4409,
  /** The compute was removed from its account. */
  removed: 4410,
} as const;

/** The first frame of each side on level 2. */
export const Hello = z.looseObject({
  version: z.number().int(),
  software: z.string().max(256),
  max_frame_bytes: z.number().int().positive(),
  window_bytes: z.number().int().positive(),
});
export type Hello = z.infer<typeof Hello>;

const Headers = z.array(z.tuple([z.string(), z.string()])).max(256);

/** The head of a request on level 2. `path` begins with a slash and holds the query string. */
export const RequestHead = z.looseObject({
  method: z.string().max(16),
  path: z.string().startsWith("/").max(16_384),
  headers: Headers,
});
export type RequestHead = z.infer<typeof RequestHead>;

export const ResponseHead = z.looseObject({ status: z.number().int().min(200).max(599), headers: Headers });
export type ResponseHead = z.infer<typeof ResponseHead>;

/** Why one side ended a stream. */
export const CancelReason = z.looseObject({ code: z.string().max(64), message: z.string().max(4096) });
export type CancelReason = z.infer<typeof CancelReason>;

/** A frame of level 1: one JSON object in a text message (contract section 4). */
export const JsonFrame = z.discriminatedUnion("type", [
  z.looseObject({ type: z.literal("connected") }),
  z.looseObject({ type: z.literal("ping") }),
  z.looseObject({ type: z.literal("pong") }),
  z.looseObject({
    type: z.literal("request"),
    request_id: z.union([z.string().max(256), z.number()]),
    method: z.string(),
    path: z.string().startsWith("/"),
    headers: z.record(z.string(), z.string()).optional(),
    body: z.unknown().optional(),
  }),
  z.looseObject({
    type: z.literal("response"),
    request_id: z.union([z.string(), z.number()]),
    status: z.number().int().min(200).max(599),
    body: z.unknown().optional(),
  }),
  z.looseObject({ type: z.literal("stream_event"), session_id: z.string(), event: z.unknown() }),
  z.looseObject({ type: z.literal("error") }),
]);
export type JsonFrame = z.infer<typeof JsonFrame>;
