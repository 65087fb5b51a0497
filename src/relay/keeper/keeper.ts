import { createHash } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { CerverError } from "../../protocol/errors.js";
import type { KillReceipt } from "../../protocol/runs.js";
import { isSecretReference } from "../../protocol/secret-reference.js";
import { Redaction } from "../../redaction/redaction.js";
import type { NamedSecret } from "../../redaction/secret-patterns.js";
import type { Cgroups } from "../host/cgroup.js";
import { runEnvironment } from "../host/environment.js";
import type { Launcher } from "../host/launcher.js";
import { MAX_COMMAND_LENGTH } from "../host/process-table.js";
import { endEscaped, endTree } from "../host/process-tree.js";
import {
  adoptRun,
  RUN_MARK,
  type Run,
  type RunEnd,
  type RunSpec,
  SANDBOX_MARK,
  startRun,
} from "../host/run.js";
import { WaitingNodes } from "../host/waiting-nodes.js";
import { WaitingShells } from "../host/waiting-shells.js";
import { Follower } from "./follower.js";
import { LiveRun } from "./live-run.js";
import {
  type FollowOrder,
  type RunOrder,
  type RunState,
  STREAMS,
  type StreamName,
  type Tell,
} from "./messages.js";
import { OutputJournal } from "./output-journal.js";
import { type FoundRun, type Place, RunIndex, type StoredOutput } from "./run-index.js";

/** Runs that have ended are kept this long, this many, with this much output. */
const KEEP_MS = 25 * 3_600_000;
const KEEP_RUNS = 20_000;
const KEEP_BYTES = 1024 * 1024 * 1024;
/** On a full disk so much of what is kept goes at a time. */
const ROOM_BYTES = 16 * 1024 * 1024;
/** Output of a run up to this many bytes a stream is kept in the index, not in files. */
const INLINE_BYTES = 32 * 1024;
/** Input that a process has not taken yet, in bytes. */
const MAX_STDIN_PENDING = 8 * 1024 * 1024;
/** How long after a run what left its group and its session is looked for, where no control group holds it. */
const ESCAPE_LOOK_MS = 250;
/** Names of variables whose values are taken out of output. What a run does not inherit is a wider circle: too much is no harm there. */
const NAMES_SECRET = /(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE)$/i;
/** Where a key lies is no key. */
const IS_PATH = /^~?\.{0,2}\/[\w./-]*$/;
/** A shorter value of a variable that is named like a secret may be an ordinary word. */
const SHORTEST_NAMED = 6;
/** Sets of secrets that a sandbox's runs have had of late. */
const MAX_REDACTIONS = 8;
/** With this many runs under way the keeper has no time for what can wait. */
const BUSY_RUNS = 8;

export interface KeeperOptions {
  stateDir: string;
  cgroups: Cgroups | undefined;
  launcher?: Launcher | undefined;
  now?: () => number;
}

export interface KeeperLimits {
  maxRuns: number;
  /** How long a foreground run goes on without anybody who follows it. */
  graceMs: number;
  /** Between TERM and KILL. */
  killGraceMs: number;
}

interface EndedRun {
  state: RunState;
  place: Place | undefined;
  bytes: number;
}

interface KnownSandbox {
  id: string;
  folder: string;
  env: Record<string, string>;
  shells: WaitingShells;
  nodes: WaitingNodes;
  /** Variables of every run in it that are named like secrets. */
  named: NamedSecret[];
  /** What is taken out of the output of its runs: of those that were last, by a hash of what is looked for. */
  redactions: Map<string, Redaction>;
  /** Why it has ended. */
  ended?: "session_closed" | "relay_stopped";
}

/** Where a relay's follower gets what it asked for. */
export interface Listener {
  tell(message: Tell, payload?: Uint8Array): void;
}

/** One follower at work. */
export interface Following {
  /** It may be told so many bytes more. */
  grant(bytes: number): void;
  stop(why: "lost" | "gone"): void;
}

/** Holds the runs of this machine: their processes, their pipes, their journal. It outlives the relay. */
export class Keeper {
  limits: KeeperLimits = { maxRuns: 128, graceMs: 30_000, killGraceMs: 2_000 };
  /** Told when a run has ended that nobody followed, or one in the background. */
  onEnded: (state: RunState) => void = () => {};
  readonly #options: KeeperOptions & { now: () => number };
  readonly #index: RunIndex;
  readonly #runsDir: string;
  readonly #scratchDir: string;
  readonly #live = new Map<string, LiveRun>();
  readonly #starting = new Map<string, Promise<RunState>>();
  readonly #ended = new Map<string, EndedRun>();
  /** Ends that the disk has not taken yet. */
  readonly #unstored = new Map<string, { out: StoredOutput; err: StoredOutput }>();
  readonly #storing = new Set<Promise<void>>();
  #isMakingRoom = false;
  readonly #sandboxes = new Map<string, KnownSandbox>();
  readonly #counter = { waiting: 0 };
  #keptBytes = 0;
  #escapes: NodeJS.Timeout | undefined;

  private constructor(options: KeeperOptions, index: RunIndex) {
    this.#options = { now: Date.now, ...options };
    this.#index = index;
    this.#runsDir = join(options.stateDir, "runs");
    this.#scratchDir = join(options.stateDir, "scratch");
  }

  /** Reads the index. Runs that an earlier keeper left open are ended: nobody can tell any more how they would have. */
  static async open(options: KeeperOptions): Promise<Keeper> {
    const { index, found } = RunIndex.open(join(options.stateDir, "runs", "index.jsonl"));
    const keeper = new Keeper(options, index);
    await keeper.#takeOver(found);
    keeper.prune();
    return keeper;
  }

  async #takeOver(found: ReadonlyMap<string, FoundRun>): Promise<void> {
    const open: RunState[] = [];
    for (const { begun, end } of found.values()) {
      if (end)
        this.#remember({
          state: end.state,
          place: end.place,
          bytes: end.state.stdout_bytes + end.state.stderr_bytes,
        });
      else open.push(begun);
    }
    await Promise.all(
      open.map(async (begun) => {
        const receipt = await endTree({ mark: `${RUN_MARK}=${begun.run_id}` }, 0);
        const state: RunState = {
          ...begun,
          status: "lost",
          ended_at: this.#options.now(),
          end_reason: "keeper_lost",
          ...(receipt.found.length > 0 && { receipt }),
        };
        const none = { size: 0, files: [] };
        this.#remember({ state, place: this.#index.end({ state, out: none, err: none }), bytes: 0 });
      }),
    );
  }

  get liveRuns(): number {
    return this.#live.size + this.#starting.size;
  }

  /** Whether there is nothing to hold: an end that is only here is held too. */
  get isIdle(): boolean {
    return this.liveRuns === 0 && this.#counter.waiting === 0 && this.#unstored.size === 0;
  }

  /** Makes a sandbox known; with `warm`, processes wait for its runs from now on. */
  sandbox(id: string, folder: string, env: Record<string, string>, warm: boolean): void {
    let known = this.#sandboxes.get(id);
    if (!known) {
      const options = {
        folder,
        env,
        scratchDir: this.#scratchDir,
        counter: this.#counter,
        cgroups: this.#options.cgroups,
        launcher: this.#options.launcher,
      };
      const made = { shells: new WaitingShells(options), nodes: new WaitingNodes(options) };
      known = { id, folder, env, named: namedSecrets(env), redactions: new Map(), ...made };
      this.#sandboxes.set(id, known);
    }
    if (warm) known.shells.refill();
  }

  /**
   * Starts a run, once: an order for a run that is known already starts nothing. Returns its state.
   *
   * Nothing of it runs before it is in the index.
   */
  async start(order: RunOrder, stdin: Uint8Array | undefined): Promise<RunState> {
    const known = this.state(order.run_id) ?? this.#starting.get(order.run_id);
    if (known) return known;
    const starting = this.#start(order, stdin);
    // Woken at once, it is under way already.
    if (this.#live.has(order.run_id)) return starting;
    this.#starting.set(order.run_id, starting);
    return starting.finally(() => this.#starting.delete(order.run_id));
  }

  async #start(order: RunOrder, stdin: Uint8Array | undefined): Promise<RunState> {
    const sandbox = this.#sandboxes.get(order.sandbox_id);
    if (!sandbox || sandbox.ended)
      throw new CerverError("sandbox_not_found", `This machine has no sandbox ${order.sandbox_id}.`);
    this.#refuseWhenFull();
    const now = this.#options.now();
    const state: RunState = {
      run_id: order.run_id,
      sandbox_id: order.sandbox_id,
      background: order.background,
      status: "running",
      pid: null,
      started_at: now,
      ended_at: null,
      exit_code: null,
      signal: null,
      duration_ms: null,
      stdout_bytes: 0,
      stderr_bytes: 0,
      end_reason: null,
      ...(order.secrets_used && { secrets_used: order.secrets_used }),
    };
    const redaction = redactionOf(order, sandbox);
    this.#begin(state);
    try {
      const spec: RunSpec = {
        runId: order.run_id,
        command: order.command,
        cwd: order.cwd,
        env: {},
        stdin,
        stdinOpen: order.stdin_open,
        timeoutMs: order.timeout_ms,
        graceMs: this.limits.killGraceMs,
        scratchDir: this.#scratchDir,
      };
      const run =
        // A value that was resolved goes by the environment alone: what wakes a shell may be a script in a file.
        (order.secrets.length > 0 ? undefined : this.#wake(sandbox, spec, order.envs)) ??
        (await startRun(
          { ...spec, env: this.#environment(sandbox, spec, order.envs) },
          { cgroups: this.#cgroupsFor(order), launcher: this.#options.launcher },
        ));
      state.pid = run.pid;
      this.#hold(state, run, sandbox, order.command.kind, redaction);
      // Ended while the process was starting: it must not outlive its sandbox.
      if (sandbox.ended) this.#live.get(order.run_id)?.cancel(sandbox.ended);
      return state;
    } catch (error) {
      // Nothing ran: the run never was.
      this.#index.forget(order.run_id);
      throw error;
    }
  }

  #begin(state: RunState): void {
    try {
      this.#index.begin(state);
    } catch (error) {
      void this.#makeRoom();
      throw new CerverError(
        "provider_failed",
        "The disk of this machine takes no more, so the run did not begin.",
        {
          hint: "Free some space there, then run it again.",
          cause: error,
        },
      );
    }
  }

  #refuseWhenFull(): void {
    const { maxRuns } = this.limits;
    if (this.liveRuns < maxRuns) return;
    throw new CerverError("relay_full", `This compute has ${maxRuns} runs under way, as many as it takes.`, {
      hint: "Try again when one has ended, or start its relay with a larger --max-runs.",
      details: { retry_after_ms: 1_000 },
    });
  }

  /** A run in a process that waits already, if it can be served by one. */
  #wake(sandbox: KnownSandbox, spec: RunSpec, envs: Record<string, string>): Run | undefined {
    const { command } = spec;
    if (command.kind === "argv" || spec.stdin !== undefined || spec.stdinOpen || spec.cwd !== sandbox.folder)
      return undefined;
    const variables = { ...envs, [RUN_MARK]: spec.runId };
    const woken =
      command.kind === "shell"
        ? sandbox.shells.wake(spec.runId, command.code, variables)
        : sandbox.nodes.wake(command.code, variables);
    return woken && adoptRun(spec, woken);
  }

  /** Moving a process takes the system longer than starting it: when many short runs come at once, marks have to do. */
  #cgroupsFor({ background }: RunOrder): Cgroups | undefined {
    return background || this.#live.size < BUSY_RUNS ? this.#options.cgroups : undefined;
  }

  #environment(sandbox: KnownSandbox, spec: RunSpec, envs: Record<string, string>): Record<string, string> {
    // The marks win over whatever a run sets: they are how its processes are found.
    const { [SANDBOX_MARK]: mark, CERVER_SESSION_ID: session } = sandbox.env;
    return runEnvironment(sandbox.env, { PWD: spec.cwd }, envs, {
      [SANDBOX_MARK]: mark!,
      ...(session && { CERVER_SESSION_ID: session }),
      [RUN_MARK]: spec.runId,
    });
  }

  #hold(
    state: RunState,
    run: Run,
    sandbox: KnownSandbox,
    kind: RunOrder["command"]["kind"],
    redaction: Redaction,
  ): void {
    const live = new LiveRun({
      state,
      run,
      redaction,
      folder: join(this.#runsDir, state.run_id),
      graceMs: this.limits.graceMs,
      onEnd: (ended, end) => this.#end(ended, end),
      onRefused: () => void this.#makeRoom(),
    });
    this.#live.set(state.run_id, live);
    // Starting a process holds this one up: first the answer, which follows the closing of the pipes, then the refill.
    void run.closed.then(() => {
      if (this.#live.size >= BUSY_RUNS) return;
      if (kind === "node") sandbox.nodes.refill();
      else sandbox.shells.refill();
    });
  }

  #end(live: LiveRun, end: RunEnd): void {
    const { state, journals } = live;
    Object.assign(state, {
      status: end.status,
      ended_at: this.#options.now(),
      exit_code: end.exitCode,
      signal: end.signal,
      duration_ms: Math.round(end.durationMs * 1000) / 1000,
      end_reason: end.reason,
      ...(end.receipt && { receipt: withoutSecrets(end.receipt, live.redaction) }),
    });
    this.#live.delete(state.run_id);
    const ended: EndedRun = {
      state,
      place: undefined,
      bytes: keptBytes(journals.stdout) + keptBytes(journals.stderr),
    };
    this.#remember(ended);
    // Followers have what is in memory before anything is written.
    this.#finishing.set(state.run_id, live);
    const followed = live.followers.size > 0;
    live.pump();
    if (state.background || !followed) this.onEnded(state);
    if (!live.run.isContained) this.#escapes ??= setTimeout(() => this.#endEscaped(), ESCAPE_LOOK_MS);
    const storing = this.#store(live, ended).finally(() => {
      this.#storing.delete(storing);
      this.#letGo(state.run_id);
      this.#prunedAfter();
      if (live.isRefused || this.#unstored.size > 0) void this.#makeRoom();
    });
    this.#storing.add(storing);
  }

  /** One look for all the runs that ended meanwhile: a look at every process costs more than many a run. */
  #endEscaped(): void {
    this.#escapes = undefined;
    const isOver = (runId: string) => this.#ended.has(runId);
    void endEscaped(RUN_MARK, isOver, this.limits.killGraceMs);
  }

  /** Runs that have ended, with journals that somebody still follows or that are being written. */
  /** Who reads what of a run is kept, after its end. */
  readonly #readers = new Map<Follower, string>();
  readonly #finishing = new Map<string, LiveRun>();

  /** Lets go of a run's journals once they can be had again from what was stored, and nobody reads them. */
  #letGo(runId: string): void {
    const ended = this.#ended.get(runId);
    const isStored = ended === undefined || ended.place !== undefined || this.#unstored.has(runId);
    if (isStored && this.#finishing.get(runId)?.followers.size === 0) this.#finishing.delete(runId);
  }

  async #store(live: LiveRun, ended: EndedRun): Promise<void> {
    const [out, err] = await Promise.all(STREAMS.map((name) => storedOutput(live.journals[name])));
    this.#unstored.set(ended.state.run_id, { out: out!, err: err! });
    this.storeEnds();
  }

  /** Puts on the disk what each run came to, as far as it takes it. */
  storeEnds(): void {
    for (const [id, { out, err }] of this.#unstored) {
      const ended = this.#ended.get(id);
      const place = ended && this.#index.end({ state: ended.state, out, err });
      if (ended && !place) return;
      if (ended) ended.place = place;
      this.#unstored.delete(id);
    }
  }

  /** On a full disk the oldest output goes: of runs that have ended, and that nobody reads. What they came to stays. */
  async #makeRoom(): Promise<void> {
    if (this.#isMakingRoom) return;
    this.#isMakingRoom = true;
    let room = 0;
    const read = new Set(this.#readers.values());
    for (const [id, ended] of this.#ended) {
      if (room >= ROOM_BYTES) break;
      if (ended.bytes === 0 || this.#finishing.has(id) || read.has(id)) continue;
      try {
        await rm(join(this.#runsDir, id), { recursive: true, force: true });
      } catch {
        // It is tried again when the disk is full the next time.
        continue;
      }
      // Pruned meanwhile, it is counted off already.
      if (this.#ended.get(id) !== ended) continue;
      room += ended.bytes;
      this.#keptBytes -= ended.bytes;
      ended.bytes = 0;
    }
    this.#isMakingRoom = false;
    this.storeEnds();
  }

  #remember(ended: EndedRun): void {
    this.#ended.set(ended.state.run_id, ended);
    this.#keptBytes += ended.bytes;
  }

  /** What is known of a run; undefined when this machine has no record of one. */
  state(runId: string): RunState | undefined {
    return this.#live.get(runId)?.state ?? this.#ended.get(runId)?.state;
  }

  /** Waits for a run whose process is just starting: it is as good as there. */
  async started(...runIds: readonly string[]): Promise<void> {
    await Promise.allSettled(runIds.map((id) => this.#starting.get(id)));
  }

  /** The states of these runs, or of all that are under way. Unknown ones are left out. */
  async states(runIds: readonly string[] | null): Promise<RunState[]> {
    await this.started(...(runIds ?? this.#starting.keys()));
    if (runIds === null) return [...this.#live.values()].map(({ state }) => state);
    return runIds.flatMap((id) => this.state(id) ?? []);
  }

  /** Lets somebody read a run's output, and with it, hear of its end. */
  follow(runId: string, sub: number, order: FollowOrder, listener: Listener): Following {
    const live = this.#live.get(runId) ?? this.#finishing.get(runId);
    const ended = live ? undefined : this.#ended.get(runId);
    if (!live && !ended) throw runNotFound(runId);
    const journals = live?.journals ?? this.#journalsOf(ended!);
    const follows = order.until === undefined && order.only === undefined;
    const follower = new Follower({
      sub,
      order,
      journals,
      state: () => ({ state: this.state(runId) ?? ended!.state, over: !this.#live.has(runId) }),
      tell: (message, payload) => listener.tell(message, payload),
      onDone: () => {
        live?.followers.delete(follower);
        this.#readers.delete(follower);
        this.#letGo(runId);
      },
    });
    if (ended) this.#readers.set(follower, runId);
    if (live && follows) live.follow(follower);
    else follower.pump();
    return {
      grant: (bytes) => {
        follower.grant(bytes);
        live?.pace();
      },
      stop: (why) => {
        follower.stop();
        this.#readers.delete(follower);
        live?.unfollow(follower, why);
        this.#letGo(runId);
      },
    };
  }

  #journalsOf(ended: EndedRun): Record<StreamName, OutputJournal> {
    const folder = join(this.#runsDir, ended.state.run_id);
    const stored = this.#unstored.get(ended.state.run_id) ?? (ended.place && this.#index.read(ended.place));
    const none: StoredOutput = { size: 0, files: [] };
    const of = (name: StreamName, output: StoredOutput = none) =>
      OutputJournal.of(folder, name, {
        ...output,
        inline: output.inline === undefined ? undefined : Buffer.from(output.inline, "base64"),
      });
    return { stdout: of("stdout", stored?.out), stderr: of("stderr", stored?.err) };
  }

  /** Ends a run's processes and returns its state, with a receipt. One that is over stays as it is. */
  async cancel(runId: string, reason: string): Promise<RunState> {
    await this.started(runId);
    const live = this.#live.get(runId);
    if (!live) {
      const state = this.state(runId);
      if (state) return state;
      throw runNotFound(runId);
    }
    live.cancel(reason);
    await live.over;
    return live.state;
  }

  /**
   * Gives a run input. With `offset`, which counts the bytes it was given before, a repeated call gives nothing twice.
   * Returns how many bytes it was given in all.
   */
  stdin(runId: string, bytes: Uint8Array, offset: number | undefined, close: boolean): number {
    const live = this.#live.get(runId);
    if (!live) {
      const state = this.state(runId);
      if (!state) throw runNotFound(runId);
      throw new CerverError("conflict", `Run ${runId} has ended, so it takes no more input.`);
    }
    const { run } = live;
    if (!run.stdinIsOpen) {
      if (close) return live.stdinBytes;
      throw new CerverError("conflict", `The stdin of run ${runId} is closed.`, {
        hint: 'Create the run with "stdin_open": true to send input later.',
      });
    }
    if (offset !== undefined && offset > live.stdinBytes) {
      throw new CerverError("conflict", `Run ${runId} was given ${live.stdinBytes} bytes, not ${offset}.`, {
        details: { stdin_bytes: live.stdinBytes },
      });
    }
    const fresh = bytes.subarray(offset === undefined ? 0 : live.stdinBytes - offset);
    if (fresh.length > 0 && run.stdinPending > MAX_STDIN_PENDING) {
      throw new CerverError(
        "too_many_requests",
        `Run ${runId} does not read its input, and ${run.stdinPending} bytes wait.`,
        {
          hint: "Send more when it has read some.",
          details: { retry_after_ms: 1_000 },
        },
      );
    }
    if (fresh.length > 0) run.writeStdin(fresh);
    live.stdinBytes += fresh.length;
    if (close) run.closeStdin();
    return live.stdinBytes;
  }

  /** Ends every run of a sandbox, and what escaped from one; forgets its processes that wait. */
  async endSandbox(id: string): Promise<void> {
    const sandbox = this.#sandboxes.get(id);
    await this.#endRuns(sandbox ? [sandbox] : [], "session_closed");
    await endTree({ mark: `${SANDBOX_MARK}=${id}` }, this.limits.killGraceMs);
    this.#sandboxes.delete(id);
  }

  /** Ends every run, and everything that waits. */
  async endAll(): Promise<void> {
    await this.#endRuns([...this.#sandboxes.values()], "relay_stopped");
    this.#sandboxes.clear();
  }

  /** Nothing begins in these sandboxes any more; what is under way, or just beginning, is ended. */
  async #endRuns(sandboxes: readonly KnownSandbox[], why: "session_closed" | "relay_stopped"): Promise<void> {
    for (const sandbox of sandboxes) {
      sandbox.ended = why;
      sandbox.shells.end();
      sandbox.nodes.end();
    }
    await this.started(...this.#starting.keys());
    const ids = new Set(sandboxes.map(({ id }) => id));
    const runs = [...this.#live.values()].filter(({ state }) => ids.has(state.sandbox_id));
    await Promise.all(runs.map(({ state }) => this.cancel(state.run_id, why)));
  }

  /** Waits until everything is written. */
  async close(): Promise<void> {
    clearTimeout(this.#escapes);
    await Promise.allSettled(this.#storing);
    this.storeEnds();
    await this.#options.launcher?.end();
    await this.#options.cgroups?.close();
    this.#index.close();
  }

  #prunedAfter(): void {
    if (this.#ended.size > KEEP_RUNS || this.#keptBytes > KEEP_BYTES || this.#index.wantsRewrite)
      this.prune();
  }

  /** Forgets the oldest runs that have ended, until the bounds hold. */
  prune(): void {
    const before = this.#options.now() - KEEP_MS;
    for (const [id, ended] of this.#ended) {
      const old = (ended.state.ended_at ?? 0) < before;
      if (!old && this.#ended.size <= KEEP_RUNS && this.#keptBytes <= KEEP_BYTES) break;
      this.#ended.delete(id);
      this.#unstored.delete(id);
      this.#keptBytes -= ended.bytes;
      this.#index.forget(id);
      if (ended.bytes > 0) void rm(join(this.#runsDir, id), { recursive: true, force: true }).catch(() => {});
    }
    if (!this.#index.wantsRewrite) return;
    const kept = [
      ...[...this.#ended.values()].map(({ state, place }) => ({
        id: state.run_id,
        ...(place ? { place } : { begun: state }),
      })),
      ...[...this.#live.values()].map(({ state }) => ({ id: state.run_id, begun: state })),
    ];
    this.#index.rewrite(kept, (id, place) => {
      const ended = this.#ended.get(id);
      if (ended) ended.place = place;
    });
  }
}

/** Variables whose names say that their values must not be seen. */
function namedSecrets(env: Record<string, string>): NamedSecret[] {
  const named: NamedSecret[] = [];
  for (const name in env) {
    const value = env[name]!;
    if (
      value.length >= SHORTEST_NAMED &&
      NAMES_SECRET.test(name) &&
      !IS_PATH.test(value) &&
      !isSecretReference(value)
    )
      named.push({ name, value });
  }
  return named;
}

/** What is taken out of a run's output: what was resolved for it, and what its variables say they hold. */
function redactionOf({ redact, secrets, envs }: RunOrder, { named, redactions }: KnownSandbox): Redaction {
  const all = redact === "off" ? [] : [...secrets, ...namedSecrets(envs), ...named];
  // Making the patterns of many secrets takes longer than starting a run, and runs of a session mostly have the same.
  const key = all.length === 0 ? redact : `${redact}:${hashOf(all)}`;
  const redaction = redactions.get(key) ?? new Redaction(redact, all);
  redactions.delete(key);
  redactions.set(key, redaction);
  if (redactions.size > MAX_REDACTIONS) redactions.delete(redactions.keys().next().value!);
  return redaction;
}

function hashOf(secrets: readonly NamedSecret[]): string {
  return createHash("sha256").update(JSON.stringify(secrets)).digest("base64");
}

/** A receipt names processes by their command lines, which hold whatever a run gave them. */
function withoutSecrets(receipt: KillReceipt, redaction: Redaction): KillReceipt {
  const clean = <P extends { command: string }>(one: P) => ({
    ...one,
    command: redaction.text(one.command).text.slice(0, MAX_COMMAND_LENGTH),
  });
  return { ...receipt, found: receipt.found.map(clean), alive: receipt.alive.map(clean) };
}

function keptBytes({ size, first }: OutputJournal): number {
  return size - first;
}

/** Small outputs go into the index; others are written out. */
async function storedOutput(journal: OutputJournal): Promise<StoredOutput> {
  const { size } = journal;
  if (size === 0) return { size, files: [] };
  if (journal.isSmall && size <= INLINE_BYTES) {
    const inline = journal.memory().toString("base64");
    await journal.close();
    return { size, files: [], inline };
  }
  await journal.finish();
  // On a disk that takes nothing the end of the output is kept as far as an index line may hold it.
  const rest = journal.memory();
  return {
    size,
    files: journal.files,
    ...(rest.length > 0 && { inline: rest.subarray(-INLINE_BYTES).toString("base64") }),
  };
}

function runNotFound(runId: string): CerverError {
  return new CerverError("run_not_found", `This machine has no record of a run ${runId}.`, {
    hint: "Runs are kept for 24 hours, and on the machine where they ran.",
  });
}
