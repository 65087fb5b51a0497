/**
 * Frames of wire level 2, one per websocket message:
 *
 *     1 byte type · 1 byte flags · 4 bytes stream id (big endian) · payload
 *
 * REQUEST and RESPONSE begin their payload with the length of their JSON head (4 bytes), then the head; what is left is
 * the beginning of the body. The END flag marks the last frame of this direction of a stream, so that a small call is
 * one message each way.
 */
export const FrameType = {
  hello: 1,
  request: 2,
  response: 3,
  data: 4,
  credit: 5,
  cancel: 6,
  ping: 7,
  pong: 8,
} as const;

export const END = 1;
export const HEADER_BYTES = 6;
const HEAD_LENGTH_BYTES = 4;

export interface Frame {
  type: number;
  end: boolean;
  streamId: number;
  /** A view of the message, not a copy. */
  payload: Buffer;
}

/** Reads a message; undefined when it is too short to be a frame. */
export function decodeFrame(message: Uint8Array): Frame | undefined {
  if (message.length < HEADER_BYTES) return undefined;
  const bytes = Buffer.from(message.buffer, message.byteOffset, message.byteLength);
  return {
    type: bytes[0]!,
    end: (bytes[1]! & END) !== 0,
    streamId: bytes.readUInt32BE(2),
    payload: bytes.subarray(HEADER_BYTES),
  };
}

/** A frame of any type around a payload. */
export function encodeFrame(type: number, streamId: number, end: boolean, payload: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + payload.length);
  writeHeader(frame, type, streamId, end);
  frame.set(payload, HEADER_BYTES);
  return frame;
}

/** A REQUEST or RESPONSE with its head and the beginning of its body. */
export function encodeHead(
  type: number,
  streamId: number,
  end: boolean,
  head: object,
  body: Uint8Array | undefined,
): Buffer {
  const json = JSON.stringify(head);
  const headLength = Buffer.byteLength(json);
  const bodyAt = HEADER_BYTES + HEAD_LENGTH_BYTES + headLength;
  const frame = Buffer.allocUnsafe(bodyAt + (body?.length ?? 0));
  writeHeader(frame, type, streamId, end);
  frame.writeUInt32BE(headLength, HEADER_BYTES);
  frame.write(json, HEADER_BYTES + HEAD_LENGTH_BYTES, "utf8");
  if (body) frame.set(body, bodyAt);
  return frame;
}

/** Splits the payload of a REQUEST or RESPONSE; undefined when it is not well made or the head is over `maxHead`. */
export function decodeHead(payload: Buffer, maxHead: number): { head: unknown; body: Buffer } | undefined {
  if (payload.length < HEAD_LENGTH_BYTES) return undefined;
  const length = payload.readUInt32BE(0);
  const bodyAt = HEAD_LENGTH_BYTES + length;
  if (length > maxHead || bodyAt > payload.length) return undefined;
  try {
    return {
      head: JSON.parse(payload.toString("utf8", HEAD_LENGTH_BYTES, bodyAt)),
      body: payload.subarray(bodyAt),
    };
  } catch {
    return undefined;
  }
}

export function encodeCredit(streamId: number, bytes: number): Buffer {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + 4);
  writeHeader(frame, FrameType.credit, streamId, false);
  frame.writeUInt32BE(bytes, HEADER_BYTES);
  return frame;
}

/** The bytes that a CREDIT grants; undefined when the payload is not well made. */
export function decodeCredit(payload: Buffer): number | undefined {
  return payload.length === 4 ? payload.readUInt32BE(0) : undefined;
}

function writeHeader(frame: Buffer, type: number, streamId: number, end: boolean): void {
  frame[0] = type;
  frame[1] = end ? END : 0;
  frame.writeUInt32BE(streamId, 2);
}
