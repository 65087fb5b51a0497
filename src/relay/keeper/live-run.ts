import type { Readable } from "node:stream";
import type { Redaction } from "../../redaction/redaction.js";
import type { Run, RunEnd } from "../host/run.js";
import { type Follower, followedTo } from "./follower.js";
import { type RunState, STREAMS, type StreamName } from "./messages.js";
import { OutputJournal } from "./output-journal.js";

/** A foreground run that nobody follows is held up when this much output waits for somebody to come back. */
const UNFOLLOWED_BYTES = 48 * 1024 * 1024;
/** What looks like the beginning of a secret, and is too short to be one, is seen after this long. */
const HOLD_MS = 20;
/** A foreground run goes at the pace of its reader: this far ahead at most. */
const AHEAD_BYTES = 512 * 1024;

export interface LiveRunOptions {
  state: RunState;
  run: Run;
  folder: string;
  /** What is taken out of its output. */
  redaction: Redaction;
  /** How long a foreground run goes on when nobody follows it. */
  graceMs: number;
  onEnd(run: LiveRun, end: RunEnd): void;
  /** The disk does not take its output. */
  onRefused(): void;
}

/** A run under way: its output goes into the journal, and from there to whoever follows. */
export class LiveRun {
  readonly state: RunState;
  readonly run: Run;
  readonly redaction: Redaction;
  readonly journals: Record<StreamName, OutputJournal>;
  readonly followers = new Set<Follower>();
  stdinBytes = 0;
  /** Resolves when the run has ended and all of its output is in the journal. */
  readonly over: Promise<void>;
  readonly #options: LiveRunOptions;
  #abandoned: NodeJS.Timeout | undefined;

  constructor(options: LiveRunOptions) {
    const { state, run, folder } = options;
    this.state = state;
    this.run = run;
    this.redaction = options.redaction;
    this.#options = options;
    this.journals = {
      stdout: new OutputJournal(folder, "stdout"),
      stderr: new OutputJournal(folder, "stderr"),
    };
    const drained = STREAMS.map((name) => this.#drain(name, run[name]));
    this.over = Promise.all([run.ended, ...drained]).then(([end]) => {
      clearTimeout(this.#abandoned);
      options.onEnd(this, end);
    });
    this.#watchOver();
  }

  #drain(name: StreamName, pipe: Readable): Promise<void> {
    const journal = this.journals[name];
    const bytes = name === "stdout" ? "stdout_bytes" : "stderr_bytes";
    journal.onRoom = () => {
      this.pump();
      this.pace();
    };
    journal.onRefused = () => this.#options.onRefused();
    const redactor = this.#options.redaction.stream();
    let held: NodeJS.Timeout | undefined;
    const keep = (clean: Buffer) => {
      if (clean.length === 0) return;
      journal.append(clean);
      this.state[bytes] = journal.size;
      for (const follower of this.followers) follower.pump();
    };
    // While the pipe is held up it is no pause of the program's: the rest of what is held may be waiting in it.
    const holdOn = () => {
      clearTimeout(held);
      if (redactor.isHolding && !pipe.isPaused()) held = setTimeout(() => keep(redactor.flush()), HOLD_MS);
    };
    pipe.on("resume", holdOn);
    pipe.on("data", (chunk: Buffer) => {
      keep(redactor.push(chunk));
      if (this.#mustWait(name)) pipe.pause();
      holdOn();
    });
    return new Promise((resolve) =>
      pipe.once("close", () => {
        clearTimeout(held);
        keep(redactor.end());
        resolve();
      }),
    );
  }

  /** Tells the followers that there may be more for them. */
  pump(): void {
    for (const follower of this.followers) follower.pump();
  }

  /** Whether the disk did not take its output the last time. */
  get isRefused(): boolean {
    return STREAMS.some((name) => this.journals[name].isRefused);
  }

  /** Lets the process go on where nothing holds it up any more. */
  pace(): void {
    for (const name of STREAMS) {
      const pipe = this.run[name];
      if (pipe.isPaused() && !this.#mustWait(name)) pipe.resume();
    }
  }

  /** A run waits for a slow disk; one in the foreground waits for its reader as well, or for who comes back. */
  #mustWait(name: StreamName): boolean {
    const journal = this.journals[name];
    const { background } = this.state;
    const followed = this.followers.size > 0;
    if (journal.isFull) {
      // A disk that takes nothing holds nobody up who is followed, or who waits for nobody: the oldest output goes.
      if (!journal.isRefused || !(background || followed) || !journal.dropUnwritten()) return true;
    }
    if (background) return false;
    if (followed) return journal.size - followedTo(this.followers, name) > AHEAD_BYTES;
    return journal.size - journal.first > UNFOLLOWED_BYTES;
  }

  follow(follower: Follower): void {
    this.followers.add(follower);
    this.#watchOver();
    follower.pump();
    this.pace();
  }

  /** `gone` ends a foreground run that nobody else follows; `lost` gives them time to come back. */
  unfollow(follower: Follower, why: "lost" | "gone"): void {
    if (!this.followers.delete(follower)) return;
    if (why === "gone" && !this.state.background && this.followers.size === 0) this.cancel("cancelled");
    this.#watchOver();
    this.pace();
  }

  cancel(reason: string): void {
    this.run.cancel(reason);
    // Nobody reads any more perhaps, and a full pipe must not keep the processes from ending.
    for (const name of STREAMS) this.run[name].resume();
  }

  #watchOver(): void {
    clearTimeout(this.#abandoned);
    this.#abandoned = undefined;
    if (this.state.background || this.followers.size > 0) return;
    this.#abandoned = setTimeout(() => this.cancel("abandoned"), this.#options.graceMs);
  }
}
