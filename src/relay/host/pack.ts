import { CerverError } from "../../protocol/errors.js";

/**
 * A pack is many blobs in one body, so that 10,000 small files need no 10,000 requests.
 *
 * For each blob: its SHA-256 (32 bytes), then chunks, each a length (4 bytes, big-endian) and that many bytes, then a
 * length of 0. A blob whose file changed or went away has whatever bytes are there; who receives it checks the hash.
 */
export interface PackedBlob {
  sha256: string;
  chunks: AsyncIterable<Uint8Array>;
}

const HASH_BYTES = 32;
/** Small pieces are put together to about this much, large ones are cut to it. */
const CHUNK_BYTES = 64 * 1024;
/** The longest chunk that is read from somebody else. */
const MAX_CHUNK_BYTES = 1024 * 1024;

/** Writes a pack. Blobs are opened one after the other, as the reader reads. */
export async function* encodePack(blobs: Iterable<PackedBlob>): AsyncGenerator<Uint8Array> {
  let parts: Uint8Array[] = [];
  let size = 0;
  const put = (...more: Uint8Array[]) => {
    for (const part of more) size += part.length;
    parts.push(...more);
  };
  const taken = () => {
    const bytes = Buffer.concat(parts, size);
    parts = [];
    size = 0;
    return bytes;
  };
  for (const { sha256, chunks } of blobs) {
    put(Buffer.from(sha256, "hex"));
    for await (const chunk of chunks) {
      for (let at = 0; at < chunk.length; at += CHUNK_BYTES) {
        const piece = chunk.subarray(at, at + CHUNK_BYTES);
        // The chunk's memory is used again for the next one.
        put(lengthBytes(piece.length), Buffer.from(piece));
        if (size >= CHUNK_BYTES) yield taken();
      }
    }
    put(lengthBytes(0));
    if (size >= CHUNK_BYTES) yield taken();
  }
  if (size > 0) yield taken();
}

/** Reads a pack. The chunks of a blob have to be read to their end before the next blob is asked for. */
export async function* decodePack(body: AsyncIterable<Uint8Array>): AsyncGenerator<PackedBlob> {
  const bytes = new ByteReader(body);
  try {
    for (;;) {
      const hash = await bytes.exactly(HASH_BYTES, true);
      if (!hash) return;
      yield { sha256: hash.toString("hex"), chunks: chunksOfBlob(bytes) };
    }
  } finally {
    await bytes.close();
  }
}

async function* chunksOfBlob(bytes: ByteReader): AsyncGenerator<Uint8Array> {
  for (;;) {
    let left = (await bytes.exactly(4))!.readUInt32BE();
    if (left === 0) return;
    if (left > MAX_CHUNK_BYTES) throw broken("a chunk is longer than chunks are");
    while (left > 0) {
      const piece = await bytes.some(left);
      left -= piece.length;
      yield piece;
    }
  }
}

/** Takes a stream of bytes apart by lengths. */
class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>;
  #left: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** This many bytes; undefined at the end of the stream, where that may be. */
  async exactly(count: number, mayEnd = false): Promise<Buffer | undefined> {
    while (this.#left.length < count) {
      const next = await this.#source.next();
      if (next.done) {
        if (mayEnd && this.#left.length === 0) return undefined;
        throw broken("it ends in the middle of a file");
      }
      this.#left = Buffer.concat([this.#left, next.value]);
    }
    return this.#take(count);
  }

  /** At least one byte and at most this many. */
  async some(max: number): Promise<Buffer> {
    while (this.#left.length === 0) {
      const next = await this.#source.next();
      if (next.done) throw broken("it ends in the middle of a file");
      this.#left = Buffer.from(next.value.buffer, next.value.byteOffset, next.value.length);
    }
    return this.#take(Math.min(max, this.#left.length));
  }

  async close(): Promise<void> {
    await this.#source.return?.();
  }

  #take(count: number): Buffer {
    const bytes = this.#left.subarray(0, count);
    this.#left = this.#left.subarray(count);
    return bytes;
  }
}

function lengthBytes(length: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(length);
  return bytes;
}

function broken(why: string): CerverError {
  return new CerverError("invalid_request", `The pack of files cannot be read: ${why}.`, {
    hint: "Start the move again; nothing of it is kept.",
  });
}
