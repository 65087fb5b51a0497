import { closeSync, existsSync, fstatSync, mkdirSync, openSync, renameSync, writeSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const MAX_BYTES = 4 * 1024 * 1024;
const LOOK_MS = 250;
const CHUNK_BYTES = 64 * 1024;

/** What a log was called before: full, and put aside. */
const aside = (path: string) => `${path}.1`;

/**
 * A log that stays small: when it is full, it takes the place of the one before (`.1`). For its owner alone. A disk that
 * takes nothing loses lines, and stops nobody.
 */
export class LogFile {
  readonly #path: string;
  readonly #maxBytes: number;
  #fd: number | undefined;
  #bytes = 0;

  constructor(path: string, { maxBytes = MAX_BYTES } = {}) {
    this.#path = path;
    this.#maxBytes = maxBytes;
  }

  /** Appends a text that ends with its line. */
  write(text: string): void {
    try {
      if (this.#fd !== undefined && this.#bytes >= this.#maxBytes) this.#putAside();
      this.#fd ??= this.#open();
      this.#bytes += writeSync(this.#fd, text);
    } catch {
      this.close();
    }
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  #open(): number {
    mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 });
    const fd = openSync(this.#path, "a", 0o600);
    this.#bytes = fstatSync(fd).size;
    return fd;
  }

  #putAside(): void {
    this.close();
    renameSync(this.#path, aside(this.#path));
  }
}

/** The last lines of a log, oldest first, those that were put aside included; fewer when there are no more. */
export async function lastLines(path: string, count: number): Promise<string[]> {
  const lines = await endOf(path, count);
  return lines.length >= count ? lines : [...(await endOf(aside(path), count - lines.length)), ...lines];
}

/** Whether there is a log. */
export function hasLog(path: string): boolean {
  return existsSync(path) || existsSync(aside(path));
}

/** Lines that come to a log from now on, over its being put aside, until the signal aborts. */
export async function* followLines(path: string, signal: AbortSignal): AsyncGenerator<string> {
  let file = await openIfThere(path);
  let at = file ? (await file.stat()).size : 0;
  let rest = Buffer.alloc(0);
  try {
    for (;;) {
      const next = await openIfThere(path);
      const isAnother = next !== undefined && !(await isSame(file, next));
      if (file) {
        for await (const chunk of chunksOf(file, at)) {
          at += chunk.length;
          const lines = Buffer.concat([rest, chunk]);
          const end = lines.lastIndexOf(10) + 1;
          rest = lines.subarray(end);
          if (end > 0) yield* lines.toString("utf8", 0, end - 1).split("\n");
        }
      }
      if (isAnother) {
        await file?.close();
        [file, at, rest] = [next, 0, Buffer.alloc(0)];
        continue;
      }
      await next?.close();
      if (signal.aborted) return;
      await sleep(LOOK_MS, undefined, { signal }).catch(() => {});
    }
  } finally {
    await file?.close();
  }
}

async function endOf(path: string, count: number): Promise<string[]> {
  const file = count > 0 ? await openIfThere(path) : undefined;
  if (!file) return [];
  try {
    let start = (await file.stat()).size;
    let end = Buffer.alloc(0);
    while (start > 0 && lineCount(end) <= count) {
      const from = Math.max(0, start - CHUNK_BYTES);
      const { buffer, bytesRead } = await file.read(Buffer.alloc(start - from), 0, start - from, from);
      end = Buffer.concat([buffer.subarray(0, bytesRead), end]);
      start = from;
    }
    return end.toString("utf8").split("\n").slice(0, -1).slice(-count);
  } finally {
    await file.close();
  }
}

function lineCount(bytes: Buffer): number {
  let count = 0;
  for (let at = bytes.indexOf(10); at !== -1; at = bytes.indexOf(10, at + 1)) count++;
  return count;
}

async function* chunksOf(file: FileHandle, from: number): AsyncGenerator<Buffer> {
  for (let at = from; ; ) {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(CHUNK_BYTES), 0, CHUNK_BYTES, at);
    if (bytesRead === 0) return;
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

async function isSame(file: FileHandle | undefined, other: FileHandle): Promise<boolean> {
  if (!file) return false;
  const [one, two] = await Promise.all([file.stat(), other.stat()]);
  return one.ino === two.ino && one.dev === two.dev;
}

function openIfThere(path: string): Promise<FileHandle | undefined> {
  return open(path, "r").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
}
