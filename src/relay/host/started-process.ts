import type { ChildProcess } from "node:child_process";
import { constants } from "node:os";
import type { Readable, Writable } from "node:stream";

/** How a process ended, from its wait status. */
export interface ProcessEnd {
  /** 128 + n after signal n. */
  exitCode: number;
  /** Its name, or `SIG` and its number where it has none. */
  signal: string | null;
}

/** A process in a group and a session of its own, whoever its parent is. */
export interface StartedProcess {
  /** Undefined when nobody knows whether there ever was one. */
  readonly pid: number | undefined;
  /** Null when it has none, or when it was fed. */
  readonly stdin: Writable | null;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Resolves when it has ended; with undefined when nobody can tell how, because its parent is gone. */
  readonly ended: Promise<ProcessEnd | undefined>;
  readonly isOver: boolean;
  /** All the input of a process that waits for some: a few thousand bytes. */
  feed(text: string): void;
  /** Ends it, and lets go of its pipes. */
  discard(): void;
}

/** A child of this process. */
export class ChildOfOurs implements StartedProcess {
  readonly pid: number;
  readonly stdin: Writable | null;
  readonly stdout: Readable;
  readonly stderr: Readable;
  readonly ended: Promise<ProcessEnd>;
  readonly #child: ChildProcess;

  constructor(child: ChildProcess) {
    this.#child = child;
    this.pid = child.pid!;
    this.stdin = child.stdin;
    this.stdout = child.stdout!;
    this.stderr = child.stderr!;
    // A program need not read its input: a closed pipe is its choice.
    child.stdin?.on("error", () => {});
    this.ended = new Promise((resolve) => {
      child.once("exit", (code, signal) =>
        resolve({ exitCode: code ?? 128 + constants.signals[signal!], signal }),
      );
    });
  }

  get isOver(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  feed(text: string): void {
    this.stdin!.end(text);
  }

  discard(): void {
    this.#child.kill("SIGKILL");
    for (const stream of this.#child.stdio) stream?.destroy();
  }
}
