import {
  closeSync,
  fstatSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import type { RunState } from "./messages.js";

/** The index is written anew without what is forgotten when it has grown to twice this. */
const MIN_REWRITE_BYTES = 8 * 1024 * 1024;

/** The end of a run as the index holds it. Small outputs are in it; larger ones are in files. */
export interface EndLine {
  state: RunState;
  out: StoredOutput;
  err: StoredOutput;
}
export interface StoredOutput {
  size: number;
  files: { start: number; length: number }[];
  /** Base64. */
  inline?: string | undefined;
}

/** Where a line is. */
export interface Place {
  at: number;
  length: number;
}

type Line = { begin: RunState } | { end: EndLine } | { forget: string };

export interface FoundRun {
  begun: RunState;
  end?: { state: RunState; place: Place };
}

/**
 * What every run of this machine came to: one line when it begins, before anything of it runs, and one when it has ended.
 * Lines are handed to the system at once, so they outlive this process; a machine that loses power may lose the last ones.
 */
export class RunIndex {
  readonly #path: string;
  #fd: number;
  #size: number;
  /** Whether the last line is half a line: the disk took no more, or its writer was killed. */
  #isTorn = false;
  #rewriteAt: number;

  private constructor(path: string, fd: number) {
    this.#path = path;
    this.#fd = fd;
    this.#size = fstatSync(fd).size;
    this.#rewriteAt = Math.max(MIN_REWRITE_BYTES, this.#size * 2);
  }

  static open(path: string): { index: RunIndex; found: Map<string, FoundRun> } {
    const index = new RunIndex(path, openSync(path, "a+", 0o600));
    const found = new Map<string, FoundRun>();
    for (const { line, place } of index.#lines()) {
      if ("begin" in line) found.set(line.begin.run_id, { begun: line.begin });
      else if ("forget" in line) found.delete(line.forget);
      else {
        const { state } = line.end;
        found.set(state.run_id, { begun: state, end: { state, place } });
      }
    }
    return { index, found };
  }

  /** Throws when the disk does not take it: then the run must not begin. */
  begin(state: RunState): void {
    this.#append({ begin: state });
  }

  /** Where the line is; undefined when the disk did not take it. */
  end(end: EndLine): Place | undefined {
    try {
      return this.#append({ end });
    } catch {
      return undefined;
    }
  }

  forget(runId: string): void {
    try {
      this.#append({ forget: runId });
    } catch {
      // It is forgotten again the next time.
    }
  }

  read({ at, length }: Place): EndLine | undefined {
    const bytes = Buffer.allocUnsafe(length);
    if (readSync(this.#fd, bytes, 0, length, at) < length) return undefined;
    const line = parseLine(bytes.toString("utf8"));
    return line && "end" in line ? line.end : undefined;
  }

  get wantsRewrite(): boolean {
    return this.#size > this.#rewriteAt;
  }

  /** Writes the index anew with these lines alone; of an end that no disk took, that it has begun. */
  rewrite(
    kept: Iterable<{ id: string; begun?: RunState; place?: Place }>,
    moved: (id: string, place: Place) => void,
  ): void {
    const lines: string[] = [];
    const places: [string, Place][] = [];
    let at = 0;
    for (const { id, begun, place } of kept) {
      const end = place && this.read(place);
      const text = end ? JSON.stringify({ end }) : begun ? JSON.stringify({ begin: begun }) : undefined;
      if (text === undefined) continue;
      const length = Buffer.byteLength(text) + 1;
      if (end) places.push([id, { at, length }]);
      lines.push(text, "\n");
      at += length;
    }
    try {
      writeFileSync(`${this.#path}.new`, lines.join(""), { mode: 0o600 });
      const fd = openSync(`${this.#path}.new`, "a+");
      renameSync(`${this.#path}.new`, this.#path);
      closeSync(this.#fd);
      this.#fd = fd;
      this.#size = at;
      this.#isTorn = false;
      for (const [id, place] of places) moved(id, place);
    } catch {
      // The old one is as good; it is only longer.
    }
    this.#rewriteAt = Math.max(MIN_REWRITE_BYTES, this.#size * 2);
  }

  close(): void {
    closeSync(this.#fd);
  }

  #append(line: Line): Place {
    // A line that was begun is ended first, so that this one stands alone and that one is left out.
    const start = this.#isTorn ? 1 : 0;
    const bytes = Buffer.from(`${start ? "\n" : ""}${JSON.stringify(line)}\n`);
    const at = this.#size + start;
    const written = writeSync(this.#fd, bytes);
    this.#size += written;
    this.#isTorn = written < bytes.length;
    if (written === bytes.length) return { at, length: bytes.length - start };
    throw Object.assign(new Error("the disk is full"), { code: "ENOSPC" });
  }

  *#lines(): Generator<{ line: Line; place: Place }> {
    const all = readFileSync(this.#path);
    this.#isTorn = all.length > 0 && all.at(-1) !== 0x0a;
    for (let at = 0; at < all.length; ) {
      const newline = all.indexOf(0x0a, at);
      // The last line of a process that was killed while it wrote.
      if (newline < 0) return;
      const line = parseLine(all.toString("utf8", at, newline));
      if (line) yield { line, place: { at, length: newline + 1 - at } };
      at = newline + 1;
    }
  }
}

function parseLine(text: string): Line | undefined {
  try {
    const line = JSON.parse(text) as Line;
    return "begin" in line || "end" in line || "forget" in line ? line : undefined;
  } catch {
    return undefined;
  }
}
