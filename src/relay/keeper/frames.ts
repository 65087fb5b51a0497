/**
 * Frames between a relay and its keeper:
 *
 *     4 bytes length of what follows · 4 bytes length of the head (both big endian) · JSON head · payload
 */
const LENGTHS_BYTES = 8;
/** The largest frame that is taken: the input of a run, or a piece of its output, and a head. */
export const MAX_FRAME_BYTES = 64 * 1024 * 1024;

export interface KeeperFrame<Head = Record<string, unknown>> {
  head: Head;
  payload: Buffer;
}

export function encodeKeeperFrame(head: object, payload: Uint8Array = EMPTY): Buffer {
  const json = JSON.stringify(head);
  const headBytes = Buffer.byteLength(json);
  const frame = Buffer.allocUnsafe(LENGTHS_BYTES + headBytes + payload.length);
  frame.writeUInt32BE(4 + headBytes + payload.length, 0);
  frame.writeUInt32BE(headBytes, 4);
  frame.write(json, LENGTHS_BYTES, "utf8");
  frame.set(payload, LENGTHS_BYTES + headBytes);
  return frame;
}

/** Cuts the chunks of a socket into frames. Throws on what cannot be one. */
export class KeeperFrameReader {
  #chunks: Buffer[] = [];
  #bytes = 0;

  *push(chunk: Buffer): Generator<KeeperFrame> {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    while (this.#bytes >= LENGTHS_BYTES) {
      const first = this.#chunks[0]!;
      // A large frame comes in many chunks: they are joined once, when the last one is there.
      const start = first.length >= LENGTHS_BYTES ? first : this.#join();
      const length = 4 + start.readUInt32BE(0);
      if (length > MAX_FRAME_BYTES) throw new RangeError("a frame of the keeper is too large");
      if (this.#bytes < length) return;
      const all = this.#join();
      const headEnd = LENGTHS_BYTES + all.readUInt32BE(4);
      if (headEnd > length) throw new RangeError("a frame of the keeper is malformed");
      yield {
        head: JSON.parse(all.toString("utf8", LENGTHS_BYTES, headEnd)),
        payload: all.subarray(headEnd, length),
      };
      const rest = all.subarray(length);
      this.#chunks = rest.length > 0 ? [rest] : [];
      this.#bytes = rest.length;
    }
  }

  #join(): Buffer {
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0]!;
  }
}

const EMPTY = new Uint8Array(0);
