import { type ChildProcess, spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import type { Endings } from "./endings.js";

/** Longer than a relay takes to end its runs. */
const PATIENCE_MS = 20_000;
/** Enough for what a server says when it starts or fails. */
const KEPT_CHARACTERS = 16_384;

/** A server that the bench started, and ends by its pid. */
export class Child {
  readonly pid: number;
  readonly exited: Promise<void>;
  readonly #child: ChildProcess;
  #said = "";
  #failure: Error | undefined;

  constructor(
    endings: Endings,
    file: string,
    args: readonly string[],
    options: { env?: NodeJS.ProcessEnv; endsBy?: NodeJS.Signals } = {},
  ) {
    this.#child = spawn(file, args, {
      ...(options.env && { env: options.env }),
      stdio: ["ignore", "pipe", "pipe"],
      // A group of its own: Ctrl-C in the terminal reaches the bench only, which then ends things in order.
      detached: true,
    });
    endings.add(() => this.end(options.endsBy));
    this.pid = this.#child.pid ?? 0;
    this.exited = new Promise((resolve) => {
      this.#child.once("close", () => resolve());
      this.#child.once("error", (error) => {
        this.#failure = error;
        resolve();
      });
    });
    for (const stream of [this.#child.stdout!, this.#child.stderr!]) {
      stream.on("data", (chunk: Buffer) => (this.#said = (this.#said + chunk).slice(-KEPT_CHARACTERS)));
    }
  }

  get isRunning(): boolean {
    return !this.#failure && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** The last line it printed, or why it could not start. */
  get lastWord(): string {
    return this.#failure?.message ?? this.#said.trim().split("\n").at(-1) ?? "";
  }

  /** Waits until it has printed a match. */
  async prints(pattern: RegExp, timeoutMs = 20_000): Promise<RegExpExecArray> {
    const began = performance.now();
    for (;;) {
      const match = pattern.exec(this.#said);
      if (match) return match;
      if (!this.isRunning || performance.now() - began > timeoutMs) {
        throw new Error(`${this.#child.spawnargs.join(" ")} did not print ${pattern}: ${this.#said}`);
      }
      await sleep(10);
    }
  }

  async end(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    if (this.isRunning) this.#child.kill(signal);
    const kill = setTimeout(() => this.#child.kill("SIGKILL"), PATIENCE_MS);
    await this.exited;
    clearTimeout(kill);
  }
}
