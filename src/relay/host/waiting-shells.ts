import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { quote } from "../../util/shell-quote.js";
import { Cgroup, type Cgroups } from "./cgroup.js";
import type { Launcher } from "./launcher.js";
import { runsInPlace } from "./shell-in-place.js";
import { startProcess } from "./start-process.js";
import type { StartedProcess } from "./started-process.js";

/** How many shells wait in a sandbox at first, in a busy one, and in all of them together. */
const AT_FIRST = 4;
const PER_SANDBOX = 8;
const IN_ALL = 48;
/** After this long without a run it is quiet. */
const QUIET_MS = 40;
/** An answer has left by then. */
const AFTER_ANSWER_MS = 1;
/** A shell that nobody needed for this long goes. */
const IDLE_MS = 60_000;
/** Longer text does not fit an argument beside the rest; it is started in the ordinary way. */
const MAX_CODE_LENGTH = 30_000;
/** What makes a shell that reads its stdin one that was given its script as an argument. */
const AS_ARGUMENT = "exec 0</dev/null; set +s; trap - INT; ";
/** What makes room for a fresh shell. */
const AS_FRESH = "exec 0</dev/null; ";
/** Longer text goes through a file: a shell may take its stdin in pieces. */
const ONE_WRITE_BYTES = 4_000;
/** Variables that a shell keeps for itself, or checks: setting one is not the same as being started with it. */
const SHELL_OWN =
  /^(?:PWD|OLDPWD|PPID|IFS|OPTIND|OPTARG|LINENO|PS[124]|MAIL\w*|_|ENV|HISTSIZE|TERM|FUNCNAME|RANDOM)$/;

export interface WaitingShellsOptions {
  folder: string;
  env: Record<string, string>;
  /** A folder of ours for the scripts. */
  scratchDir: string;
  /** Shells that wait anywhere on this relay. */
  counter: { waiting: number };
  cgroups: Cgroups | undefined;
  launcher: Launcher | undefined;
}

/** A process that was woken, and the script to remove when its run is over, if there is one. */
export interface WokenProcess {
  child: StartedProcess;
  /** Set when it was in a control group of its own before it was woken. */
  cgroup: Cgroup | undefined;
  script: string | undefined;
}

interface Waiting {
  child: StartedProcess;
  cgroup: Cgroup | undefined;
  since: number;
  inode: number;
}

/**
 * Shells of one sandbox that are started before they are needed, so that a run does not wait for a fork.
 *
 * A woken shell behaves like a fresh `/bin/sh -c CODE`: it reads the script from its stdin, where
 * {@link runsInPlace} says that nothing can tell, else it becomes one. Each serves one run.
 */
export class WaitingShells {
  readonly #options: WaitingShellsOptions;
  readonly #waiting: Waiting[] = [];
  #timer: NodeJS.Timeout | undefined;
  #wanted = AT_FIRST;
  #quiet: NodeJS.Timeout | undefined;
  #next: NodeJS.Timeout | undefined;
  #filling = false;
  #starting = 0;
  #ended = false;

  constructor(options: WaitingShellsOptions) {
    this.#options = options;
  }

  /** How many wait. */
  get size(): number {
    return this.#waiting.length;
  }

  /** Wakes a shell for a run; undefined when none waits or this run needs what a waiting shell cannot give. */
  wake(runId: string, code: string, variables: Record<string, string>): WokenProcess | undefined {
    if (code.length > MAX_CODE_LENGTH || Object.keys(variables).some((name) => SHELL_OWN.test(name)))
      return undefined;
    const shell = this.#take();
    // Whoever comes next is not held up by a start.
    clearTimeout(this.#quiet);
    if (!shell) {
      // Runs come faster than shells: more of them shall wait from now on.
      this.#wanted = Math.min(this.#wanted * 2, PER_SANDBOX);
      return undefined;
    }
    const exports = Object.entries(variables)
      .map(([name, value]) => `export ${name}=${quote(value)}; `)
      .join("");
    const inPlace = `${AS_ARGUMENT}${exports}${code}`;
    // A line end before the script would shift the line numbers of its messages.
    if (!exports.includes("\n") && runsInPlace(code, inPlace)) return this.#tell(shell, inPlace, undefined);
    const fresh = `${AS_FRESH}${exports}exec /bin/sh -c ${quote(code)}\n`;
    if (Buffer.byteLength(fresh) <= ONE_WRITE_BYTES) return this.#tell(shell, fresh, undefined);
    const script = join(this.#options.scratchDir, `${runId}.wake`);
    writeFileSync(script, fresh, { mode: 0o600 });
    return this.#tell(shell, `. ${quote(script)}\n`, script);
  }

  #tell({ child, cgroup }: Waiting, text: string, script: string | undefined): WokenProcess {
    child.feed(text);
    return { child, cgroup, script };
  }

  /**
   * Sees to it that shells wait. Starting one holds everything up for some milliseconds, so it is done when it is
   * quiet, or when none is left.
   */
  refill(): void {
    if (this.#ended) return;
    this.#dismissMisplaced();
    if (!this.#hasRoom()) return;
    clearTimeout(this.#quiet);
    // The place of the one that was woken is taken when the answer has left; more are started when it is quiet.
    if (this.#next === undefined) {
      this.#next = setTimeout(() => {
        this.#next = undefined;
        if (this.#hasRoom() && !this.#ended) void this.#start();
      }, AFTER_ANSWER_MS).unref();
    }
    this.#quiet = setTimeout(() => this.#fill(), QUIET_MS).unref();
  }

  #fill(): void {
    if (this.#filling) return;
    this.#filling = true;
    setImmediate(async () => {
      const started = !this.#ended && this.#hasRoom() && (await this.#start());
      this.#filling = false;
      if (started) this.#fill();
    });
  }

  /** Ends the shells that wait. No more are started. */
  end(): void {
    this.#ended = true;
    clearInterval(this.#timer);
    clearTimeout(this.#quiet);
    clearTimeout(this.#next);
    for (const shell of this.#waiting.splice(0)) this.#dismiss(shell);
  }

  #hasRoom(): boolean {
    return this.#waiting.length + this.#starting < this.#wanted && this.#options.counter.waiting < IN_ALL;
  }

  #take(): Waiting | undefined {
    for (let shell = this.#waiting.shift(); shell; shell = this.#waiting.shift()) {
      this.#options.counter.waiting--;
      if (!shell.child.isOver) return shell;
      discard(shell);
    }
    return undefined;
  }

  /** Whether one waits now, or did for a moment. */
  async #start(): Promise<boolean> {
    const { folder, env, scratchDir, counter, cgroups, launcher } = this.#options;
    if (/[\n\\]/.test(scratchDir)) return false;
    const inode = inodeOf(folder);
    this.#starting++;
    counter.waiting++;
    try {
      const order = { file: "/bin/sh", args: ["-s"], cwd: folder, env, stdin: true };
      // A child of the launcher moves itself, which costs the keeper nothing.
      const path = launcher?.takes(order) ? cgroups?.nextPath() : undefined;
      const child = await startProcess({ ...order, cgroup: path }, launcher);
      this.#wait(child, this.#cgroupOf(child, path), inode);
      return true;
    } catch {
      // A shell that cannot be started is not missed: the run starts one in the ordinary way.
      counter.waiting--;
      return false;
    } finally {
      this.#starting--;
    }
  }

  #cgroupOf({ pid }: StartedProcess, path: string | undefined): Cgroup | undefined {
    if (pid === undefined) return undefined;
    return path === undefined ? this.#options.cgroups?.add(pid) : Cgroup.ofMember(path, pid);
  }

  #wait(child: StartedProcess, cgroup: Cgroup | undefined, inode: number): void {
    const { counter } = this.#options;
    const shell = { child, cgroup, since: performance.now(), inode };
    if (this.#ended || child.isOver) return this.#dismiss(shell);
    void child.ended.then((end) => {
      const at = this.#waiting.indexOf(shell);
      if (at < 0) return;
      this.#waiting.splice(at, 1);
      counter.waiting--;
      // One that lost its parent is still there.
      if (!end) discard(shell);
      else shell.cgroup?.remove();
    });
    this.#waiting.push(shell);
    this.#timer ??= setInterval(() => this.#dismissIdle(), IDLE_MS / 2).unref();
  }

  /** A run may have put another folder in the place of the one that shells wait in. */
  #dismissMisplaced(): void {
    if (this.#waiting.length === 0) return;
    const inode = inodeOf(this.#options.folder);
    for (const shell of this.#waiting.filter((one) => one.inode !== inode)) {
      this.#waiting.splice(this.#waiting.indexOf(shell), 1);
      this.#dismiss(shell);
    }
  }

  #dismissIdle(): void {
    const now = performance.now();
    while (this.#waiting.length > 0 && now - this.#waiting[0]!.since > IDLE_MS) {
      this.#dismiss(this.#waiting.shift()!);
    }
    if (this.#waiting.length > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#wanted = AT_FIRST;
  }

  #dismiss(shell: Waiting): void {
    this.#options.counter.waiting--;
    discard(shell);
  }
}

function discard({ child, cgroup }: Waiting): void {
  void child.ended.then(() => cgroup?.remove());
  child.discard();
}

/** A folder that was replaced by another of its name is not the one a shell waits in. */
function inodeOf(folder: string): number {
  return statSync(folder, { throwIfNoEntry: false })?.ino ?? -1;
}
