import type { FileHandle } from "node:fs/promises";
import { open, rm } from "node:fs/promises";
import { makePrivateFolder } from "../../util/private-folder.js";

/** One file of the journal. Dropping the oldest output is removing a file. */
const SEGMENT_BYTES = 4 * 1024 * 1024;
/** What is kept of one output stream of one run. */
const KEPT_BYTES = 64 * 1024 * 1024;
/** Written output stays in memory as far back as this, for those who follow closely. */
const WINDOW_BYTES = 256 * 1024;
/** Output that waits this long, or is this much, goes to disk. Less than this is lost when a machine loses power. */
const FLUSH_AFTER_MS = 200;
const FLUSH_BYTES = 256 * 1024;
/** This much may wait for the disk before the process is held up; on a disk that takes nothing it is all that is kept. */
const MAX_PENDING_BYTES = 4 * 1024 * 1024;
/** A disk that refused is asked again after this long. */
const RETRY_MS = 2_000;
const MAX_READ_BYTES = 128 * 1024;

interface Segment {
  start: number;
  length: number;
  path: string;
}

/** A piece that was found at or after an offset. A later start means that what was before is gone. */
export interface Piece {
  offset: number;
  bytes: Buffer;
}

/**
 * One output stream of one run: its end in memory, the rest in files named by their offset, oldest dropped first.
 *
 * Small outputs never touch a file of their own: whoever owns the journal keeps them in its index.
 */
export class OutputJournal {
  /** All bytes there were. */
  size = 0;
  /** Wakes whoever waits for room, after output was written or dropped. */
  onRoom: () => void = () => {};
  /** Told when the disk took nothing, or not all. */
  onRefused: () => void = () => {};
  readonly #folder: string;
  readonly #name: string;
  readonly #segments: Segment[] = [];
  /** The newest output, from `#memoryStart` on. */
  #memory: Buffer[] = [];
  #memoryStart = 0;
  #written = 0;
  #file: FileHandle | undefined;
  #timer: NodeJS.Timeout | undefined;
  #flushing: Promise<void> | undefined;
  #failedAt = Number.NEGATIVE_INFINITY;

  constructor(folder: string, name: string) {
    this.#folder = folder;
    this.#name = name;
  }

  append(chunk: Buffer): void {
    this.#memory.push(chunk);
    this.size += chunk.length;
    if (this.size - this.#written >= FLUSH_BYTES) void this.flush();
    this.#timer ??= setTimeout(() => this.#onTimer(), FLUSH_AFTER_MS);
  }

  /** The first byte that can still be read. */
  get first(): number {
    return this.#segments[0]?.start ?? this.#memoryStart;
  }

  /** Whether the process should wait for the disk. */
  get isFull(): boolean {
    return this.size - this.#written > MAX_PENDING_BYTES;
  }

  /** Whether the disk took nothing the last time. */
  get isRefused(): boolean {
    return performance.now() - this.#failedAt < 2 * RETRY_MS;
  }

  /** Whether all there was is in memory, and none of it in a file. */
  get isSmall(): boolean {
    return this.#segments.length === 0 && this.#memoryStart === 0;
  }

  /** Everything in memory. */
  memory(): Buffer {
    return Buffer.concat(this.#memory);
  }

  /**
   * Drops the oldest output that no disk takes, so that a process need not wait for it. False while the disk is being asked
   * again: where what is written belongs must not move meanwhile, and {@link onRoom} tells when it has answered.
   */
  dropUnwritten(): boolean {
    if (this.#flushing) return false;
    while (this.isFull && this.#memory.length > 1) {
      this.#memoryStart += this.#memory.shift()!.length;
      this.#written = Math.max(this.#written, this.#memoryStart);
    }
    return true;
  }

  /** What there is at an offset or next after it, from memory alone; undefined when it is in a file or not there. */
  peek(offset: number): Piece | undefined {
    if (offset >= this.size || offset < this.#memoryStart) return undefined;
    let start = this.#memoryStart;
    for (const chunk of this.#memory) {
      if (offset < start + chunk.length)
        return { offset, bytes: chunk.subarray(offset - start, offset - start + MAX_READ_BYTES) };
      start += chunk.length;
    }
    return undefined;
  }

  /** What there is at an offset or next after it; undefined at the end. */
  async read(offset: number): Promise<Piece | undefined> {
    const now = this.peek(offset);
    if (now || offset >= this.size) return now;
    const segment = this.#segments.find(({ start, length }) => offset < start + length);
    if (!segment) return this.peek(this.#memoryStart);
    const from = Math.max(offset, segment.start);
    const wanted = Math.min(MAX_READ_BYTES, segment.start + segment.length - from);
    const file = await open(segment.path, "r").catch((error: NodeJS.ErrnoException) => {
      // Anything else may be over in a moment: what is there is not called missing for it.
      if (error.code !== "ENOENT") throw error;
    });
    // Dropped meanwhile: what comes after it is next.
    if (!file) return this.#segments.includes(segment) ? this.#forget(segment, offset) : this.read(offset);
    try {
      const { bytesRead, buffer } = await file.read(
        Buffer.allocUnsafe(wanted),
        0,
        wanted,
        from - segment.start,
      );
      if (bytesRead === 0) return this.#forget(segment, offset);
      return { offset: from, bytes: buffer.subarray(0, bytesRead) };
    } finally {
      await file.close();
    }
  }

  /** A file that somebody else removed or cut holds nothing. */
  #forget(segment: Segment, offset: number): Promise<Piece | undefined> {
    this.#segments.splice(this.#segments.indexOf(segment), 1);
    return this.read(Math.max(offset, segment.start + segment.length));
  }

  /** Writes what waits. After a failure it is tried again in time: the output stays in memory as far as there is room. */
  flush(): Promise<void> {
    if (this.#written === this.size) return this.#flushing ?? Promise.resolve();
    const refusedMs = performance.now() - this.#failedAt;
    if (refusedMs < RETRY_MS) {
      // Nothing may come any more that would ask again: a process that waits for the disk prints nothing.
      this.#timer ??= setTimeout(() => this.#onTimer(), Math.ceil(RETRY_MS - refusedMs));
      return this.#flushing ?? Promise.resolve();
    }
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#flushing ??= this.#write().finally(() => {
      this.#flushing = undefined;
      this.onRoom();
    });
    return this.#flushing;
  }

  #onTimer(): void {
    this.#timer = undefined;
    void this.flush();
  }

  async #write(): Promise<void> {
    try {
      while (this.#written < this.size) {
        const segment = await this.#openSegment();
        const piece = this.#unwritten(SEGMENT_BYTES - segment.length);
        const { bytesWritten } = await this.#file!.write(piece, 0, piece.length, segment.length);
        segment.length += bytesWritten;
        this.#written += bytesWritten;
        this.#trim();
        this.onRoom();
        if (bytesWritten < piece.length) throw new Error("the disk takes no more");
      }
    } catch {
      this.#failedAt = performance.now();
      await this.#closeFile();
      // Sets the time of the next try.
      void this.flush();
      this.onRefused();
    }
  }

  /** The file to append to, which ends exactly where the next byte belongs. */
  async #openSegment(): Promise<Segment> {
    const last = this.#segments.at(-1);
    if (this.#file && last && last.length < SEGMENT_BYTES && last.start + last.length === this.#written)
      return last;
    await this.#closeFile();
    if (this.#segments.length === 0) await makePrivateFolder(this.#folder);
    const segment = {
      start: this.#written,
      length: 0,
      path: `${this.#folder}/${this.#name}.${this.#written}`,
    };
    this.#file = await open(segment.path, "w", 0o600);
    this.#segments.push(segment);
    while (this.#segments.length * SEGMENT_BYTES > KEPT_BYTES + SEGMENT_BYTES) {
      await rm(this.#segments.shift()!.path, { force: true });
    }
    return segment;
  }

  #unwritten(limit: number): Buffer {
    const pieces: Buffer[] = [];
    let start = this.#memoryStart;
    let room = limit;
    for (const chunk of this.#memory) {
      const from = Math.max(0, this.#written - start);
      if (from < chunk.length && room > 0) {
        const piece = chunk.subarray(from, from + room);
        pieces.push(piece);
        room -= piece.length;
      }
      start += chunk.length;
    }
    return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
  }

  /** Lets go of written output that is further back than anybody who follows closely reads. */
  #trim(): void {
    while (this.#memory.length > 1) {
      const end = this.#memoryStart + this.#memory[0]!.length;
      if (end > this.#written || this.size - end < WINDOW_BYTES) return;
      this.#memory.shift();
      this.#memoryStart = end;
    }
  }

  /** Writes what is left and lets go of the memory. The run is over. */
  async finish(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.#flushing;
    await this.flush();
    if (this.#written === this.size) {
      this.#memory = [];
      this.#memoryStart = this.size;
    }
    clearTimeout(this.#timer);
    await this.#closeFile();
  }

  /** Stops everything without writing. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#flushing;
    clearTimeout(this.#timer);
    await this.#closeFile();
  }

  async #closeFile(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close().catch(() => {});
  }

  /** What its files are, to find them again. */
  get files(): { start: number; length: number }[] {
    return this.#segments.map(({ start, length }) => ({ start, length }));
  }

  /** A journal of a run that is over, from what was remembered of it. */
  static of(
    folder: string,
    name: string,
    stored: {
      size: number;
      files: readonly { start: number; length: number }[];
      inline?: Buffer | undefined;
    },
  ): OutputJournal {
    const journal = new OutputJournal(folder, name);
    journal.size = stored.size;
    journal.#written = stored.size;
    journal.#memoryStart = stored.size;
    for (const { start, length } of stored.files)
      journal.#segments.push({ start, length, path: `${folder}/${name}.${start}` });
    if (stored.inline && stored.inline.length > 0) {
      journal.#memory = [stored.inline];
      journal.#memoryStart = stored.size - stored.inline.length;
    }
    return journal;
  }
}
