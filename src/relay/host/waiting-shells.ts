import { type ChildProcess, spawn } from "node:child_process";
import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Writable } from "node:stream";
import type { Cgroup, Cgroups } from "./cgroup.js";

/** How many shells wait in a sandbox at first, in a busy one, and in all of them together. */
const AT_FIRST = 2;
const PER_SANDBOX = 8;
const IN_ALL = 48;
/** After this long without a run it is quiet. */
const QUIET_MS = 40;
/** A shell that nobody needed for this long goes. */
const IDLE_MS = 60_000;
/** Longer text does not fit an argument beside the rest; it is started in the ordinary way. */
const MAX_CODE_LENGTH = 30_000;

/**
 * What a waiting shell does: reads one line from descriptor 3 and becomes what it says. When the relay is gone there is
 * nothing to read, and the shell goes as well.
 */
const WAIT = 'IFS= read -r CERVER_LINE <&3 || exit 0; eval "$CERVER_LINE"';
/** A shell reads a line byte by byte: a longer one is quicker as a file. */
const MAX_LINE_LENGTH = 600;

/** Variables that a shell keeps for itself, or checks: setting one is not the same as being started with it. */
const SHELL_OWN =
  /^(?:PWD|OLDPWD|PPID|IFS|OPTIND|OPTARG|LINENO|PS[124]|MAIL\w*|_|ENV|HISTSIZE|TERM|FUNCNAME|RANDOM|CERVER_LINE)$/;

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
 * A woken shell replaces itself by a fresh `/bin/sh -c CODE`: name, variables, exit code, signals, group and messages
 * are a fresh shell's because it is one. Each serves one run.
 */
export class WaitingShells {
  readonly #options: WaitingShellsOptions;
  readonly #waiting: Waiting[] = [];
  #timer: NodeJS.Timeout | undefined;
  #wanted = AT_FIRST;
  #quiet: NodeJS.Timeout | undefined;
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
    if (!shell) {
      // Runs come faster than shells: more of them shall wait from now on.
      this.#wanted = Math.min(this.#wanted * 2, PER_SANDBOX);
      return undefined;
    }
    const exports = Object.entries(variables).map(([name, value]) => `export ${name}=${quote(value)}; `);
    const text = `exec 3<&-; ${exports.join("")}exec /bin/sh -c ${quote(code)}`;
    const script =
      text.length > MAX_LINE_LENGTH || text.includes("\n") ? this.#writeScript(runId, text) : undefined;
    (shell.child.stdio[3] as Writable).end(`${script === undefined ? text : `. ${quote(script)}`}\n`);
    return { child: shell.child, cgroup: shell.cgroup, script };
  }

  #writeScript(runId: string, text: string): string {
    const script = join(this.#options.scratchDir, `${runId}.wake`);
    writeFileSync(script, text, { mode: 0o600 });
    return script;
  }

  /**
   * Sees to it that shells wait. Starting one holds everything up for some milliseconds, so it is done when it is
   * quiet, or when none is left.
   */
  refill(): void {
    if (this.#ended || !this.#hasRoom()) return;
    clearTimeout(this.#quiet);
    if (this.#waiting.length === 0) this.#fill();
    else this.#quiet = setTimeout(() => this.#fill(), QUIET_MS).unref();
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
    for (const shell of this.#waiting.splice(0)) this.#dismiss(shell);
  }

  #hasRoom(): boolean {
    return this.#waiting.length < this.#wanted && this.#options.counter.waiting < IN_ALL;
  }

  #take(): Waiting | undefined {
    for (let shell = this.#waiting.shift(); shell; shell = this.#waiting.shift()) {
      this.#options.counter.waiting--;
      if (
        shell.child.exitCode === null &&
        shell.child.signalCode === null &&
        shell.inode === inodeOf(this.#options.folder)
      ) {
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
    const child = spawn("/bin/sh", ["-c", WAIT], {
      cwd: folder,
      env,
      detached: true,
      stdio: ["ignore", "pipe", "pipe", "pipe"],
    });
    // A shell that cannot be started is not missed: the run starts one in the ordinary way.
    child.on("error", () => {});
    if (child.pid === undefined) return;
    (child.stdio[3] as Writable).on("error", () => {});
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

/** A word for a POSIX shell (POSIX.1-2017, XCU section 2.2.2). */
export function quote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
