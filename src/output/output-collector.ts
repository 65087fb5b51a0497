import { isUtf8 } from "node:buffer";
import { MAX_INLINE_OUTPUT_BYTES } from "../protocol/run-limits.js";

/** What is kept of one output stream. */
export interface CollectedOutput {
  text: string;
  encoding?: "base64";
  /** All bytes there were. */
  bytes: number;
  truncated: boolean;
}

/** Keeps the head and the tail of an output, half of the limit each, however long it gets. */
export class OutputCollector {
  readonly #half: number;
  readonly #head: Buffer[] = [];
  #headBytes = 0;
  #tail: Buffer[] = [];
  #tailBytes = 0;
  #bytes = 0;

  constructor(limit: number = MAX_INLINE_OUTPUT_BYTES) {
    this.#half = Math.floor(limit / 2);
  }

  push(chunk: Buffer): void {
    this.#bytes += chunk.length;
    const room = this.#half - this.#headBytes;
    if (room >= chunk.length) {
      this.#head.push(chunk);
      this.#headBytes += chunk.length;
      return;
    }
    if (room > 0) {
      this.#head.push(chunk.subarray(0, room));
      this.#headBytes += room;
    }
    const rest = room > 0 ? chunk.subarray(room) : chunk;
    this.#tail.push(rest);
    this.#tailBytes += rest.length;
    while (this.#tailBytes - this.#tail[0]!.length >= this.#half)
      this.#tailBytes -= this.#tail.shift()!.length;
  }

  /** Counts bytes that are not there any more. */
  skip(bytes: number): void {
    this.#bytes += bytes;
    this.#headBytes = this.#half;
  }

  /** Everything when it fits; else the ends, with a line between them that says how much is missing. */
  finish(): CollectedOutput {
    const bytes = this.#bytes;
    const head = Buffer.concat(this.#head);
    let tail = Buffer.concat(this.#tail);
    if (head.length + tail.length === bytes && tail.length <= this.#half) {
      return { ...asText(Buffer.concat([head, tail])), bytes, truncated: false };
    }
    tail = tail.subarray(Math.max(0, tail.length - this.#half));
    const whole = { head: withoutCutEnd(head), tail: withoutCutStart(tail) };
    const missing = bytes - whole.head.length - whole.tail.length;
    const note = Buffer.from(`\n[cerver: ${missing} bytes left out here]\n`);
    return { ...asText(Buffer.concat([whole.head, note, whole.tail])), bytes, truncated: true };
  }
}

function asText(bytes: Buffer): { text: string; encoding?: "base64" } {
  if (isUtf8(bytes)) return { text: bytes.toString("utf8") };
  return { text: bytes.toString("base64"), encoding: "base64" };
}

/** The bytes without the beginning of a character whose end is missing. */
function withoutCutEnd(bytes: Buffer): Buffer {
  return bytes.subarray(0, bytes.length - incompleteTail(bytes));
}

function withoutCutStart(bytes: Buffer): Buffer {
  let from = 0;
  while (from < 3 && from < bytes.length && (bytes[from]! & 0xc0) === 0x80) from++;
  return bytes.subarray(from);
}

/** How many bytes at the end begin a UTF-8 character that is not complete: 0 to 3 (RFC 3629, section 3). */
export function incompleteTail(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back]!;
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length > back ? back : 0;
  }
  return 0;
}
