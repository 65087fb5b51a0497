import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";

const CHUNK_BYTES = 256 * 1024;
/** A longer line is not parsed. */
export const MAX_LINE_BYTES = 16 * 1024 * 1024;
const HEAD_BYTES = 16 * 1024;

export interface Line {
  /** The line's bytes as text, what is not UTF-8 in it replaced; of a huge line its beginning. */
  text: string;
  /** Where the next line begins. */
  end: number;
  /** SHA-256 of all its bytes, 32 hexadecimal digits of it. */
  hash: string;
  /** How many bytes of it are not in `text`. */
  cut: number;
}

/** The finished lines between two offsets, read in chunks. What is behind the last newline waits for its own. */
export async function* finishedLines(file: FileHandle, start: number, end: number): AsyncGenerator<Line> {
  let parts: Buffer[] = [];
  let length = 0;
  let hash = createHash("sha256");
  const take = (bytes: Buffer) => {
    hash.update(bytes);
    length += bytes.length;
    if (length <= MAX_LINE_BYTES) parts.push(bytes);
    // Only its beginning is kept from here on.
    else if (parts.length !== 1 || parts[0]!.length > HEAD_BYTES)
      parts = [Buffer.from(Buffer.concat([...parts, bytes]).subarray(0, HEAD_BYTES))];
  };
  for (let at = start; at < end; ) {
    const chunk = Buffer.alloc(Math.min(CHUNK_BYTES, end - at));
    const { bytesRead } = await file.read(chunk, 0, chunk.length, at);
    if (bytesRead === 0) return;
    let from = 0;
    for (;;) {
      const newline = chunk.subarray(0, bytesRead).indexOf(10, from);
      if (newline < 0) break;
      take(chunk.subarray(from, newline));
      const kept = Buffer.concat(parts);
      yield {
        text: kept.toString("utf8"),
        end: at + newline + 1,
        hash: hash.digest("hex").slice(0, 32),
        cut: length - kept.length,
      };
      parts = [];
      length = 0;
      hash = createHash("sha256");
      from = newline + 1;
    }
    if (from < bytesRead) take(chunk.subarray(from, bytesRead));
    at += bytesRead;
  }
}
