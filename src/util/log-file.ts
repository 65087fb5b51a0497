import { closeSync, existsSync, fstatSync, openSync, renameSync, writeSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { makePrivateFolder } from "./private-folder.js";

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

  private constructor(path: string, maxBytes: number) {
    this.#path = path;
    this.#maxBytes = maxBytes;
  }

  static async open(path: string, { maxBytes = MAX_BYTES } = {}): Promise<LogFile> {
    await makePrivateFolder(dirname(path)).catch(() => {});
    return new LogFile(path, maxBytes);
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
    const fd = openSync(this.#path, "a", 0o600);
    this.#bytes = fstatSync(fd).size;
    return fd;
  }

  #putAside(): void {
    this.close();
    renameSync(this.#path, aside(this.#path));
  }
}

/** Whether there is a log. */
export function hasLog(path: string): boolean {
  return existsSync(path) || existsSync(aside(path));
}

export interface LogWish {
  /** How many of the last lines, those that were put aside included. */
  last: number;
  /** Goes on with what comes, over the log's being put aside, until this aborts. */
  follow?: AbortSignal | undefined;
}

/** The lines of a log, oldest first, each once and whole. */
export async function* logLines(path: string, { last, follow }: LogWish): AsyncGenerator<string> {
  let file = await openIfThere(path);
  try {
    const end = file ? await endOf(file, last) : NO_END;
    if (end.lines.length < last) yield* await linesAside(path, file, last - end.lines.length);
    yield* end.lines;
    let { at } = end;
    let rest = Buffer.alloc(0);
    while (follow) {
      const isLast = follow.aborted;
      const next = await openIfThere(path);
      // What was put aside is read to its end before what took its place.
      for await (const chunk of file ? chunksOf(file, at) : []) {
        at += chunk.length;
        const all = Buffer.concat([rest, chunk]);
        const whole = all.lastIndexOf(10) + 1;
        rest = all.subarray(whole);
        if (whole > 0) yield* all.toString("utf8", 0, whole - 1).split("\n");
      }
      if (next && !(await isSame(file, next))) {
        await file?.close();
        [file, at, rest] = [next, 0, Buffer.alloc(0)];
        continue;
      }
      await next?.close();
      if (isLast) return;
      await sleep(LOOK_MS, undefined, { signal: follow }).catch(() => {});
    }
  } finally {
    await file?.close();
  }
}

async function linesAside(path: string, file: FileHandle | undefined, count: number): Promise<string[]> {
  const before = await openIfThere(aside(path));
  if (!before) return [];
  try {
    return (await isSame(file, before)) ? [] : (await endOf(before, count)).lines;
  } finally {
    await before.close();
  }
}

const NO_END = { lines: [] as string[], at: 0 };

/** The last whole lines of a file, and where the last one ends. */
async function endOf(file: FileHandle, count: number): Promise<{ lines: string[]; at: number }> {
  const { size } = await file.stat();
  let start = size;
  let end = Buffer.alloc(0);
  while (start > 0 && lineCount(end) <= count) {
    const from = Math.max(0, start - CHUNK_BYTES);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(start - from), 0, start - from, from);
    end = Buffer.concat([buffer.subarray(0, bytesRead), end]);
    start = from;
  }
  const whole = end.lastIndexOf(10) + 1;
  const lines = whole > 0 ? end.toString("utf8", 0, whole - 1).split("\n") : [];
  return { lines: count > 0 ? lines.slice(-count) : [], at: size - (end.length - whole) };
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
