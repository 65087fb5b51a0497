import { isUtf8 } from "node:buffer";
import { incompleteTail } from "./output-collector.js";

/** One piece of output as an event carries it. */
export interface OutputPiece {
  offset: number;
  /** How many bytes of the output these are. */
  bytes: number;
  data: string;
  encoding?: "base64";
}

/**
 * Turns the chunks of one output stream into pieces of text.
 *
 * A character that is split between two chunks waits for its other half; bytes that are not UTF-8 become base64. Every
 * byte is in exactly one piece.
 */
export class OutputEvents {
  #held: Buffer = Buffer.alloc(0);
  #offset: number;

  constructor(offset = 0) {
    this.#offset = offset;
  }

  /** The piece that a chunk completes; undefined when all of it has to wait. */
  push(chunk: Buffer): OutputPiece | undefined {
    const bytes = this.#held.length > 0 ? Buffer.concat([this.#held, chunk]) : chunk;
    const wait = incompleteTail(bytes);
    const ready = bytes.subarray(0, bytes.length - wait);
    if (isUtf8(ready)) {
      this.#held = wait > 0 ? Buffer.from(bytes.subarray(bytes.length - wait)) : EMPTY;
      return ready.length > 0 ? this.#piece(ready, undefined) : undefined;
    }
    this.#held = EMPTY;
    return this.#piece(bytes, "base64");
  }

  /** What still waits when the stream has ended. */
  end(): OutputPiece | undefined {
    const held = this.#held;
    this.#held = EMPTY;
    return held.length > 0 ? this.#piece(held, "base64") : undefined;
  }

  #piece(bytes: Buffer, encoding: "base64" | undefined): OutputPiece {
    const offset = this.#offset;
    this.#offset += bytes.length;
    return encoding
      ? { offset, bytes: bytes.length, data: bytes.toString("base64"), encoding }
      : { offset, bytes: bytes.length, data: bytes.toString("utf8") };
  }
}

const EMPTY: Buffer = Buffer.alloc(0);
