import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { unlink } from "node:fs/promises";
import type { Socket } from "node:net";
import { constants } from "node:os";
import type { Readable, Writable } from "node:stream";
import { CerverError } from "../../protocol/errors.js";
import { TIMEOUT_EXIT_CODE } from "../../protocol/run-limits.js";
import type { KillReceipt, RunStatus } from "../../protocol/runs.js";
import type { Cgroup, Cgroups } from "./cgroup.js";
import { type Command, prepareCommand } from "./command.js";
import { endTree, groupExists, type ProcessTree } from "./process-tree.js";
import type { WokenProcess } from "./waiting-shells.js";

/** How long the pipes of an ended run may stay open before whoever holds them is looked for. */
const PIPE_WAIT_MS = 50;
/** The ends of pipes are heard in the turns after an exit. */
const TURNS_TO_CLOSE = 3;
/** A pipe that brings nothing for this long, after its run is over, brings nothing any more. */
const IDLE_PIPE_MS = 200;

export interface RunSpec {
  runId: string;
  command: Command;
  cwd: string;
  env: Record<string, string>;
  /** Input; without it stdin is /dev/null. */
  stdin?: Uint8Array | undefined;
  /** More input may follow, until {@link Run.closeStdin}. */
  stdinOpen?: boolean | undefined;
  timeoutMs: number;
  /** Between TERM and KILL. */
  graceMs: number;
  /** A folder of ours for scripts that are too long for an argument. */
  scratchDir: string;
}

/** How a run ended: from its wait status, and why it was ended if it did not end by itself. */
export interface RunEnd {
  status: Extract<RunStatus, "succeeded" | "failed" | "cancelled" | "timed_out">;
  /** 128 + n after signal n, 124 after a timeout. */
  exitCode: number;
  signal: NodeJS.Signals | null;
  durationMs: number;
  /** A word for why it ended, such as `exit`, `signal`, `timeout`, or what {@link Run.cancel} was given. */
  reason: string;
  /** What ending its processes found, if they had to be ended. */
  receipt: KillReceipt | undefined;
}

type RunTree = ProcessTree & { pid: number; cgroup?: Cgroup | undefined };

/** The name of the variable by which a run's processes are found, wherever they went. */
export const RUN_MARK = "CERVER_RUN_ID";
/** The variable that says which sandbox a process belongs to. */
export const SANDBOX_MARK = "CERVER_SANDBOX_ID";

/**
 * Starts a process in a group of its own.
 *
 * Resolves when it runs; rejects with a sentence when the system refuses it.
 */
export async function startRun(spec: RunSpec, cgroups: Cgroups | undefined): Promise<Run> {
  const prepared = prepareCommand(spec.command, spec);
  // Most commands are ready at once: waiting a turn for them would be felt.
  const command = prepared instanceof Promise ? await prepared : prepared;
  const startedAt = performance.now();
  try {
    const child = spawn(command.file, command.args, {
      cwd: spec.cwd,
      env: spec.env,
      detached: true,
      stdio: [spec.stdin === undefined && !spec.stdinOpen ? "ignore" : "pipe", "pipe", "pipe"],
    });
    if (child.pid === undefined) await failed(child);
    // What it forked before it was moved is not in the group: the mark finds that.
    const tree = { pid: child.pid!, mark: `${RUN_MARK}=${spec.runId}`, cgroup: cgroups?.add(child.pid!) };
    return new Run(spec, child, tree, startedAt, command.script);
  } catch (error) {
    removeScript(command.script);
    throw startError(error, spec);
  }
}

/** Takes over a process that was started before and has just been told what to do. */
export function adoptRun(spec: RunSpec, { child, cgroup, script }: WokenProcess): Run {
  const tree = { pid: child.pid!, cgroup, ...(!cgroup?.isPlaced && { mark: `${RUN_MARK}=${spec.runId}` }) };
  return new Run(spec, child, tree, performance.now(), script);
}

/** One execution: its output, its end, and the means to end it. Once it is over nothing of its group is left. */
export class Run {
  readonly id: string;
  readonly pid: number;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Resolves when no process of the run's group is left. Output may still be unread. */
  readonly ended: Promise<RunEnd>;
  /** Resolves when the run has ended and all of its output was read. */
  readonly closed: Promise<void>;
  readonly #spec: RunSpec;
  readonly #tree: RunTree;
  readonly #stdin: Writable | null;
  #stopped: { as: "cancelled" | "timed_out"; reason: string } | undefined;
  #stopping: Promise<KillReceipt> | undefined;
  #receipt: KillReceipt | undefined;

  constructor(
    spec: RunSpec,
    child: ChildProcess,
    tree: RunTree,
    startedAt: number,
    script: string | undefined,
  ) {
    this.id = spec.runId;
    this.pid = child.pid!;
    this.stdout = child.stdout!;
    this.stderr = child.stderr!;
    this.#spec = spec;
    this.#tree = tree;
    this.#stdin = child.stdin;
    // A program need not read its input: a closed pipe is its choice.
    child.stdin?.on("error", () => {});
    if (spec.stdin !== undefined) child.stdin?.write(spec.stdin);
    if (!spec.stdinOpen) child.stdin?.end();
    const timer = setTimeout(() => this.#stop("timed_out", "timeout"), spec.timeoutMs);
    this.ended = new Promise<RunEnd>((resolve) => {
      child.once("exit", async (code, signal) => {
        const durationMs = performance.now() - startedAt;
        clearTimeout(timer);
        if (!this.#stopping && (await this.#pipesCloseAtOnce())) setImmediate(() => void this.#endRest());
        else await this.#endRest();
        resolve({ ...this.#outcome(code, signal), signal, durationMs, receipt: this.#receipt });
        // Whoever waits for the end hears of it first.
        setImmediate(() => {
          child.stdin?.destroy();
          removeScript(script);
        });
      });
    });
    this.closed = Promise.all([this.ended, this.#pipesClosed()]).then(() => {});
  }

  /** Whether nothing can leave the tree unseen. */
  get isContained(): boolean {
    return this.#tree.mark === undefined;
  }

  /** Bytes of input that the process has not taken yet. */
  get stdinPending(): number {
    return this.#stdin?.writableLength ?? 0;
  }

  /** Whether the process can still be given input. */
  get stdinIsOpen(): boolean {
    return this.#stdin?.writable ?? false;
  }

  writeStdin(bytes: Uint8Array): void {
    this.#stdin?.write(bytes);
  }

  closeStdin(): void {
    this.#stdin?.end();
  }

  /** Resolves when the pipes are closed. */
  #pipesClosed(): Promise<unknown> {
    return Promise.all(
      [this.stdout, this.stderr].map(
        (pipe) => new Promise<void>((resolve) => (pipe.closed ? resolve() : pipe.once("close", resolve))),
      ),
    );
  }

  /** Ends the run's processes: TERM, then KILL. The end is told by {@link ended}, with a receipt. */
  cancel(reason = "cancelled"): void {
    this.#stop("cancelled", reason);
  }

  #stop(as: "cancelled" | "timed_out", reason: string): void {
    if (this.#stopped) return;
    this.#stopped = { as, reason };
    this.#stopping = endTree(this.#tree, this.#spec.graceMs);
  }

  /**
   * Whether nobody holds the pipes of an exited process any more, as is nearly always so. What it left behind then has let
   * go of its output, and nobody waits for it.
   */
  async #pipesCloseAtOnce(): Promise<boolean> {
    for (let turn = 0; turn < TURNS_TO_CLOSE; turn++) {
      if (this.stdout.closed && this.stderr.closed) return true;
      await new Promise<void>((done) => setImmediate(done));
    }
    return this.stdout.closed && this.stderr.closed;
  }

  /** The process has exited: what it left behind goes too, and what holds its pipes. */
  async #endRest(): Promise<void> {
    this.#receipt = await this.#stopping;
    const { graceMs } = this.#spec;
    const { pid, cgroup } = this.#tree;
    if (cgroup?.populated || groupExists(pid)) this.#receipt ??= await endTree(this.#tree, graceMs);
    cgroup?.remove();
    if (!this.#pipesOpen()) return this.#closeIdlePipes();
    await this.#pipesClosedWithin(PIPE_WAIT_MS);
    // Nobody of the group is left, and yet somebody has the pipe: a child that left the group.
    if (this.#pipesOpen()) await endTree({ mark: `${RUN_MARK}=${this.id}` }, graceMs);
    this.#closeIdlePipes();
  }

  /** A process that threw the mark away as well can hold a pipe for ever: when nothing more comes, the pipe is closed. */
  #closeIdlePipes(): void {
    const pipes = [this.stdout, this.stderr].map((pipe) => ({ pipe: pipe as Socket, bytesRead: -1 }));
    const timer = setInterval(() => {
      const open = pipes.filter(({ pipe }) => !pipe.closed);
      if (open.length === 0) clearInterval(timer);
      for (const entry of open) {
        // A reader that is slow is waited for; what it has not read yet is still there.
        if (entry.pipe.readableFlowing && entry.pipe.bytesRead === entry.bytesRead) entry.pipe.destroy();
        entry.bytesRead = entry.pipe.bytesRead;
      }
    }, IDLE_PIPE_MS);
    if (pipes.every(({ pipe }) => pipe.closed)) clearInterval(timer);
  }

  /** Whether a pipe is open that its reader is not holding up. */
  #pipesOpen(): boolean {
    return [this.stdout, this.stderr].some(
      (pipe) => pipe.readableFlowing && !pipe.readableEnded && !pipe.destroyed,
    );
  }

  async #pipesClosedWithin(waitMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, waitMs);
    });
    await Promise.race([this.#pipesClosed(), timeout]);
    clearTimeout(timer);
  }

  #outcome(
    code: number | null,
    signal: NodeJS.Signals | null,
  ): Pick<RunEnd, "status" | "exitCode" | "reason"> {
    const { as, reason } = this.#stopped ?? {};
    if (as === "timed_out") return { status: as, exitCode: TIMEOUT_EXIT_CODE, reason: reason! };
    const exitCode = code ?? 128 + constants.signals[signal!];
    const word = reason ?? (signal ? "signal" : "exit");
    return { status: as ?? (exitCode === 0 ? "succeeded" : "failed"), exitCode, reason: word };
  }
}

function removeScript(script: string | undefined): void {
  if (script !== undefined) unlink(script).catch(() => {});
}

/** A process without a pid reports why on its next turn. */
function failed(child: ChildProcess): Promise<never> {
  return new Promise((_, reject) => child.once("error", reject));
}

function startError(error: unknown, { cwd }: RunSpec): CerverError {
  const { code } = error as NodeJS.ErrnoException;
  if (code === "ENOENT" && !existsSync(cwd)) {
    return new CerverError("invalid_request", "The working folder of this run does not exist.", {
      hint: "Create the folder first, or leave out cwd.",
      cause: error,
    });
  }
  if (code === "E2BIG") {
    return new CerverError("too_large", "The environment of this run is larger than the system takes.", {
      hint: "Send less in envs, or put the data in a file.",
      cause: error,
    });
  }
  if (code === "EAGAIN" || code === "ENOMEM" || code === "EMFILE") {
    return new CerverError("relay_full", `This machine cannot start another process now (${code}).`, {
      hint: "Try again when something has ended.",
      details: { retry_after_ms: 1_000 },
      cause: error,
    });
  }
  return new CerverError(
    "provider_failed",
    `The process could not be started: ${(error as Error).message}.`,
    {
      cause: error,
    },
  );
}
