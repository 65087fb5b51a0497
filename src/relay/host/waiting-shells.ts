import { type ChildProcess, spawn } from "node:child_process";
import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { quote } from "../../util/shell-quote.js";
import type { Cgroup, Cgroups } from "./cgroup.js";
import { runsInPlace } from "./shell-in-place.js";

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
}

/** A process that was woken, and the script to remove when its run is over, if there is one. */
export interface WokenProcess {
  child: ChildProcess;
  /** Set when it was in a control group of its own before it was woken. */
  cgroup: Cgroup | undefined;
  script: string | undefined;
}

interface Waiting {
  child: ChildProcess;
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
    child.stdin!.end(text);
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
        if (this.#hasRoom() && !this.#ended) this.#start();
      }, AFTER_ANSWER_MS).unref();
    }
    this.#quiet = setTimeout(() => this.#fill(), QUIET_MS).unref();
  }

  #fill(): void {
    if (this.#filling) return;
    this.#filling = true;
    setImmediate(() => {
      this.#filling = false;
      if (this.#ended || !this.#hasRoom()) return;
      this.#start();
      this.#fill();
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
    return this.#waiting.length < this.#wanted && this.#options.counter.waiting < IN_ALL;
  }

  #take(): Waiting | undefined {
    for (let shell = this.#waiting.shift(); shell; shell = this.#waiting.shift()) {
      this.#options.counter.waiting--;
      if (shell.child.exitCode === null && shell.child.signalCode === null) {
        shell.child.removeAllListeners("exit");
        return shell;
      }
      discard(shell);
    }
    return undefined;
  }

  #start(): void {
    const { folder, env, scratchDir, counter, cgroups } = this.#options;
    if (/[\n\\]/.test(scratchDir)) return;
    const child = spawn("/bin/sh", ["-s"], {
      cwd: folder,
      env,
      detached: true,
      stdio: ["pipe", "pipe", "pipe"],
    });
    // A shell that cannot be started is not missed: the run starts one in the ordinary way.
    child.on("error", () => {});
    if (child.pid === undefined) return;
    child.stdin.on("error", () => {});
    const shell = {
      child,
      cgroup: cgroups?.add(child.pid),
      since: performance.now(),
      inode: inodeOf(folder),
    };
    child.once("exit", () => {
      const at = this.#waiting.indexOf(shell);
      if (at < 0) return;
      this.#waiting.splice(at, 1);
      counter.waiting--;
      shell.cgroup?.remove();
    });
    this.#waiting.push(shell);
    counter.waiting++;
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
  child.removeAllListeners("exit");
  child.once("exit", () => cgroup?.remove());
  child.kill("SIGKILL");
  for (const stream of child.stdio) stream?.destroy();
}

/** A folder that was replaced by another of its name is not the one a shell waits in. */
function inodeOf(folder: string): number {
  return statSync(folder, { throwIfNoEntry: false })?.ino ?? -1;
}
