/** Headers that requests may carry. */
export const REQUEST_HEADERS = {
  "Idempotency-Key": {
    description:
      "Makes the request happen once, however often it is sent with this key. 1 to 255 printable ASCII characters; a UUID does well.",
    schema: { type: "string", minLength: 1, maxLength: 255, pattern: "^[ -~]+$" },
  },
  "Last-Event-ID": {
    description: "Goes on after the event of this id: `STDOUT_BYTES:STDERR_BYTES`.",
    schema: { type: "string", pattern: "^\\d{1,15}:\\d{1,15}$" },
  },
  Range: {
    description: "One range of bytes (RFC 9110, section 14), such as `bytes=0-1023` or `bytes=-500`.",
    schema: { type: "string" },
  },
} as const;
export type RequestHeader = keyof typeof REQUEST_HEADERS;

/** Headers that answers carry. */
export const ANSWER_HEADERS = {
  "X-Request-Id": {
    description: "The request's id, as it was sent or as the gateway made it.",
    schema: { type: "string" },
  },
  "X-Cerver-Session-Id": { description: "The session.", schema: { type: "string" } },
  "X-Cerver-Run-Id": { description: "The run.", schema: { type: "string" } },
  "X-Cerver-Provider": { description: "The provider that executes.", schema: { type: "string" } },
  "X-Cerver-Stream-Latency-Ms": {
    description: "Milliseconds until the stream was open.",
    schema: { type: "string", pattern: "^\\d+\\.\\d$" },
  },
  "X-Cerver-Output-Bytes": { description: "All bytes printed, kept or not.", schema: { type: "integer" } },
  "X-Cerver-Output-From": { description: "The first byte of this answer.", schema: { type: "integer" } },
  "Content-Range": {
    description: "Which bytes these are (RFC 9110, section 14.4).",
    schema: { type: "string" },
  },
  Location: { description: "Where the record is.", schema: { type: "string" } },
  "Retry-After": { description: "Seconds to wait before the next try.", schema: { type: "integer" } },
  "WWW-Authenticate": { description: "`Bearer`.", schema: { type: "string" } },
} as const;
export type AnswerHeader = keyof typeof ANSWER_HEADERS;

export const STREAM_HEADERS = [
  "X-Cerver-Session-Id",
  "X-Cerver-Run-Id",
  "X-Cerver-Provider",
  "X-Cerver-Stream-Latency-Ms",
] as const satisfies readonly AnswerHeader[];
