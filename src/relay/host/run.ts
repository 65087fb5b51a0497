import { existsSync } from "node:fs";
import { unlink } from "node:fs/promises";
import type { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import { CerverError } from "../../protocol/errors.js";
import { TIMEOUT_EXIT_CODE } from "../../protocol/run-limits.js";
import type { KillReceipt, RunStatus } from "../../protocol/runs.js";
import type { Cgroups } from "./cgroup.js";
import { type Command, prepareCommand } from "./command.js";
import type { Launcher } from "./launcher.js";
import { endTree, groupExists, type ProcessTree } from "./process-tree.js";
import { startProcess } from "./start-process.js";
import type { ProcessEnd, StartedProcess } from "./started-process.js";
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
  /** `lost` when nobody got its wait status. */
  status: Extract<RunStatus, "succeeded" | "failed" | "cancelled" | "timed_out" | "lost">;
  /** 128 + n after signal n, 124 after a timeout, null when it is lost. */
  exitCode: number | null;
  signal: string | null;
  durationMs: number;
  /** A word for why it ended, such as `exit`, `signal`, `timeout`, or what {@link Run.cancel} was given. */
  reason: string;
  /** What ending its processes found, if they had to be ended. */
  receipt: KillReceipt | undefined;
}

/** The name of the variable by which a run's processes are found, wherever they went. */
export const RUN_MARK = "CERVER_RUN_ID";
/** The variable that says which sandbox a process belongs to. */
export const SANDBOX_MARK = "CERVER_SANDBOX_ID";

/**
 * Starts a process in a group of its own.
 *
 * Resolves when it runs; rejects with a sentence when the system refuses it.
 */
export async function startRun(
  spec: RunSpec,
  { cgroups, launcher }: { cgroups?: Cgroups | undefined; launcher?: Launcher | undefined },
): Promise<Run> {
  const prepared = prepareCommand(spec.command, spec);
  // Most commands are ready at once: waiting a turn for them would be felt.
  const command = prepared instanceof Promise ? await prepared : prepared;
  const startedAt = performance.now();
  try {
    const { file, args } = command;
    const stdin = spec.stdin !== undefined || spec.stdinOpen === true;
    const order = { file, args, cwd: spec.cwd, env: spec.env, stdin };
    // A Node that waits is a child of ours, and one that does not is as well: they have the same kind of pipes.
    const child = await startProcess(order, spec.command.kind === "node" ? undefined : launcher);
    // What it forked before it was moved is not in the group: the mark finds that.
    const cgroup = child.pid === undefined ? undefined : cgroups?.add(child.pid);
    const tree = { pid: child.pid, mark: `${RUN_MARK}=${spec.runId}`, cgroup };
    return new Run(spec, child, tree, startedAt, command.script);
  } catch (error) {
    removeScript(command.script);
    throw startError(error, spec);
  }
}

/** Takes over a process that was started before and has just been told what to do. */
export function adoptRun(spec: RunSpec, { child, cgroup, script }: WokenProcess): Run {
  const tree = { pid: child.pid, cgroup, ...(!cgroup?.isPlaced && { mark: `${RUN_MARK}=${spec.runId}` }) };
  return new Run(spec, child, tree, performance.now(), script);
}

/** One execution: its output, its end, and the means to end it. Once it is over nothing of its group is left. */
export class Run {
  readonly id: string;
  /** Null when nobody knows whether it ever began. */
  readonly pid: number | null;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Resolves when no process of the run's group is left. Output may still be unread. */
  readonly ended: Promise<RunEnd>;
  /** Resolves when the run has ended and all of its output was read. */
  readonly closed: Promise<void>;
  readonly #spec: RunSpec;
  readonly #tree: ProcessTree;
  readonly #stdin: Writable | null;
  #stopped: { as: "cancelled" | "timed_out"; reason: string } | undefined;
  #stopping: Promise<KillReceipt> | undefined;
  #receipt: KillReceipt | undefined;

  constructor(
    spec: RunSpec,
    child: StartedProcess,
    tree: ProcessTree,
    startedAt: number,
    script: string | undefined,
  ) {
    this.id = spec.runId;
    this.pid = child.pid ?? null;
    this.stdout = child.stdout;
    this.stderr = child.stderr;
    this.#spec = spec;
    this.#tree = tree;
    this.#stdin = child.stdin;
    if (spec.stdin !== undefined) this.#stdin?.write(spec.stdin);
    if (!spec.stdinOpen) this.#stdin?.end();
    const timer = setTimeout(() => this.#stop("timed_out", "timeout"), spec.timeoutMs);
    this.ended = child.ended.then(async (end) => {
      const durationMs = performance.now() - startedAt;
      clearTimeout(timer);
      // It may go on without a parent who would be told how it ends.
      if (!end) this.#stopping ??= endTree(tree, 0);
      if (!this.#stopping && (await this.#pipesCloseAtOnce())) setImmediate(() => void this.#endRest());
      else await this.#endRest();
      // Whoever waits for the end hears of it first.
      setImmediate(() => {
        this.#stdin?.destroy();
        removeScript(script);
      });
      return { ...this.#outcome(end), durationMs, receipt: this.#receipt };
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
    if (cgroup?.populated || (pid !== undefined && groupExists(pid)))
      this.#receipt ??= await endTree(this.#tree, graceMs);
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

  #outcome(end: ProcessEnd | undefined): Pick<RunEnd, "status" | "exitCode" | "signal" | "reason"> {
    if (!end) return { status: "lost", exitCode: null, signal: null, reason: "keeper_lost" };
    const { as, reason } = this.#stopped ?? {};
    const { exitCode, signal } = end;
    if (as === "timed_out") return { status: as, exitCode: TIMEOUT_EXIT_CODE, signal, reason: reason! };
    const word = reason ?? (signal ? "signal" : "exit");
    return { status: as ?? (exitCode === 0 ? "succeeded" : "failed"), exitCode, signal, reason: word };
  }
}

function removeScript(script: string | undefined): void {
  if (script !== undefined) unlink(script).catch(() => {});
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
