import { closeSync, writeSync } from "node:fs";
import { Socket } from "node:net";
import { constants } from "node:os";
import { Readable, type Writable } from "node:stream";
import type { ProcessEnd, StartedProcess } from "./started-process.js";

const SIGNAL_NAMES = new Map(
  // Some numbers have two names, and the first is the one in use.
  Object.entries(constants.signals)
    .reverse()
    .map(([name, number]) => [number as number, name]),
);

/** Our ends of its pipes, as descriptors. */
export interface Pipes {
  stdin: number | undefined;
  stdout: number;
  stderr: number;
}

/** A child of the launcher. */
export class LaunchedProcess implements StartedProcess {
  readonly pid: number | undefined;
  readonly stdout: Readable;
  readonly stderr: Readable;
  readonly ended: Promise<ProcessEnd | undefined>;
  readonly #kill: () => void;
  #end!: (end: ProcessEnd | undefined) => void;
  #isOver = false;
  #stdin: number | undefined;
  #stdinStream: Writable | null = null;

  /** Without pipes there is nothing to read. */
  constructor(pid: number | undefined, pipes: Pipes | undefined, kill: () => void) {
    this.pid = pid;
    this.#kill = kill;
    this.#stdin = pipes?.stdin;
    this.stdout = pipes ? new Socket({ fd: pipes.stdout, writable: false }) : Readable.from([]);
    this.stderr = pipes ? new Socket({ fd: pipes.stderr, writable: false }) : Readable.from([]);
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  /** A stream costs more than a descriptor, and a process that is fed needs none. */
  get stdin(): Writable | null {
    if (this.#stdin === undefined) return this.#stdinStream;
    const stream = new Socket({ fd: this.#stdin, readable: false, writable: true });
    this.#stdin = undefined;
    // A program need not read its input: a closed pipe is its choice.
    stream.on("error", () => {});
    this.#stdinStream = stream;
    return stream;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Its wait status, as wait(2) gives it. */
  endWith(status: number): void {
    const signal = status & 0x7f;
    this.#isOver = true;
    this.#end(
      signal === 0
        ? { exitCode: (status >> 8) & 0xff, signal: null }
        : { exitCode: 128 + signal, signal: SIGNAL_NAMES.get(signal) ?? `SIG${signal}` },
    );
  }

  /** Nobody will be told its wait status. */
  lose(): void {
    this.#isOver = true;
    this.#end(undefined);
  }

  feed(text: string): void {
    const fd = this.#stdin;
    if (fd === undefined) return;
    this.#stdin = undefined;
    const bytes = Buffer.from(text);
    let written = 0;
    try {
      written = writeSync(fd, bytes);
    } catch {
      // It has gone, which its wait status tells; or the pipe is full.
    }
    if (written === bytes.length) return closeSync(fd);
    const rest = new Socket({ fd, readable: false, writable: true });
    rest.on("error", () => {});
    rest.end(bytes.subarray(written));
  }

  discard(): void {
    this.#kill();
    if (this.#stdin !== undefined) closeSync(this.#stdin);
    this.#stdin = undefined;
    for (const stream of [this.#stdinStream, this.stdout, this.stderr]) stream?.destroy();
  }
}
