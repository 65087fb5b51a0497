import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, constants, existsSync, openSync } from "node:fs";
import { constants as system } from "node:os";
import type { Duplex } from "node:stream";
import { LaunchedProcess, type Pipes } from "./launched-process.js";
import { LAUNCHER_PROGRAM } from "./launcher-program.js";
import type { StartedProcess } from "./started-process.js";

/** Where Debian, Ubuntu, Fedora and Arch have it. */
const PERL = "/usr/bin/perl";
/** One that does not get ready by then does not work here. */
const READY_MS = 2_000;
/** One that was told to go has gone by then. */
const LEAVE_MS = 1_000;
/** After one has died, the next is started so much later, and twice that after each further death. */
const RESTART_MS = 1_000;
const MAX_RESTART_MS = 60_000;

const { O_RDONLY, O_WRONLY, O_NONBLOCK } = constants;
const ERRNO_NAMES = new Map(Object.entries(system.errno).map(([name, number]) => [number as number, name]));

/** A process to start, in a session of its own. */
export interface ProcessOrder {
  file: string;
  args: readonly string[];
  cwd: string;
  env: Record<string, string>;
  /** Whether its stdin is a pipe; else it is /dev/null. */
  stdin: boolean;
  /** The folder of a control group to make for it; only the launcher does. */
  cgroup?: string | undefined;
}

interface Starting {
  resolve(process: StartedProcess): void;
  reject(error: Error): void;
}

/**
 * A small process that starts others for this one.
 *
 * A fork of a Node holds it up for a millisecond or two, and costs it as much again afterwards; one of a process of 7 MB costs
 * little, and costs it elsewhere. Their pipes have their other ends here, so nothing they print takes a way around. Only
 * the launcher can be told their wait status: if it dies, nobody knows how they end.
 */
export class Launcher {
  readonly #starting = new Map<number, Starting>();
  readonly #running = new Map<number, LaunchedProcess>();
  readonly #perl: string;
  #process: ChildProcess | undefined;
  #gone: Promise<void> | undefined;
  #link: Duplex | undefined;
  #isReady = false;
  /** Told whether it got ready, or died before. */
  #onReady: (isReady: boolean) => void = () => {};
  #said = "";
  #lastId = 0;
  #deaths = 0;
  #restart: NodeJS.Timeout | undefined;
  #ended = false;
  #isProven = false;
  readonly #tried: Promise<boolean>;

  private constructor(perl: string) {
    this.#perl = perl;
    this.#start();
    this.#tried = this.#try();
  }

  /** Starts one, and tries it while other things go on: until it has shown that it works it takes nothing. Undefined where there is no Perl. */
  static begin(perl = PERL): Launcher | undefined {
    if (process.platform !== "linux" || !existsSync(perl)) return undefined;
    return new Launcher(perl);
  }

  /** {@link begin}, waited for; undefined where it does not work. */
  static async open(perl = PERL): Promise<Launcher | undefined> {
    const launcher = Launcher.begin(perl);
    return launcher && (await launcher.#tried) ? launcher : undefined;
  }

  async #try(): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<false>((resolve) => {
      timer = setTimeout(() => resolve(false), READY_MS);
    });
    this.#isProven = await Promise.race([late, this.#works().catch(() => false)]);
    clearTimeout(timer);
    if (!this.#isProven) await this.end();
    return this.#isProven;
  }

  /** Whether a process gets what it is fed, and its output and its wait status come back. */
  async #works(): Promise<boolean> {
    const isReady = await new Promise<boolean>((resolve) => {
      this.#onReady = resolve;
    });
    if (!isReady) return false;
    const args = ["-c", 'read line; echo "$line"; kill -9 $$'];
    const shell = await this.start({ file: "/bin/sh", args, cwd: "/", env: {}, stdin: true });
    shell.feed("works\n");
    let output = "";
    for await (const piece of shell.stdout) output += piece;
    shell.stderr.destroy();
    const end = await shell.ended;
    return output === "works\n" && end?.signal === "SIGKILL";
  }

  /** Whether it can start this process now. */
  takes({ file, args, cwd, env }: ProcessOrder): boolean {
    return (
      this.#isProven &&
      this.#isReady &&
      [file, cwd, ...args, ...pairs(env)].every((text) => !text.includes("\0"))
    );
  }

  /**
   * Resolves when the process has become its program; rejects with the system's error, as `spawn` does. What the launcher was
   * starting when it died may have run or not: that resolves, and its end is not known.
   */
  start({ file, args, cwd, env, stdin, cgroup = "" }: ProcessOrder): Promise<StartedProcess> {
    const id = ++this.#lastId;
    this.#send("S", [id, stdin ? 1 : 0, cwd, cgroup, file, args.length, ...args, ...pairs(env)].join("\0"));
    return new Promise((resolve, reject) => this.#starting.set(id, { resolve, reject }));
  }

  /**
   * Ends it, and what it has started; resolves when it has gone. It does the same when it finds that this process has
   * died.
   */
  async end(): Promise<void> {
    this.#ended = true;
    clearTimeout(this.#restart);
    this.#link?.destroy();
    const timer = setTimeout(() => this.#process?.kill("SIGKILL"), LEAVE_MS);
    await this.#gone;
    clearTimeout(timer);
  }

  #start(): void {
    try {
      this.#spawn();
    } catch {
      // This process has no descriptors left, or the system no memory: perhaps later.
      this.#lost();
    }
  }

  #spawn(): void {
    // Without an environment nothing of it reaches Perl, nor a process that is started.
    const child = spawn(this.#perl, ["-"], {
      cwd: "/",
      env: {},
      stdio: ["pipe", "ignore", "ignore", "pipe"],
    });
    this.#process = child;
    const link = child.stdio[3] as Duplex;
    this.#link = link;
    this.#said = "";
    child.stdin!.on("error", () => {});
    child.stdin!.end(LAUNCHER_PROGRAM);
    link.setEncoding("latin1");
    link.on("data", (text: string) => this.#hear(text));
    link.on("error", () => {});
    this.#gone = new Promise((resolve) => {
      child.once("exit", () => resolve());
      child.on("error", () => resolve());
    });
    // What it said before it died has been heard by then.
    link.once("close", () => this.#lost());
    link.once("end", () => child.kill("SIGKILL"));
  }

  #send(verb: "S" | "H" | "K", text: string): void {
    const length = Buffer.byteLength(text);
    const frame = Buffer.allocUnsafe(5 + length);
    frame.writeUInt32BE(1 + length);
    frame.write(verb, 4, "latin1");
    frame.write(text, 5);
    this.#link?.write(frame);
  }

  #hear(text: string): void {
    const lines = (this.#said + text).split("\n");
    this.#said = lines.pop()!;
    for (const line of lines) {
      const [word, ...numbers] = line.split(" ");
      const [id, ...rest] = numbers.map(Number) as [number, ...number[]];
      if (word === "started") this.#started(id, rest);
      else if (word === "ended") this.#endedWith(id, rest[0]!);
      else if (word === "failed") this.#failed(id, rest[0]!);
      else this.#ready();
    }
  }

  #ready(): void {
    this.#isReady = true;
    this.#onReady(true);
  }

  #started(id: number, [pid, ...descriptors]: number[]): void {
    const { resolve } = this.#starting.get(id)!;
    this.#starting.delete(id);
    const pipes = this.#open(descriptors);
    const process = new LaunchedProcess(pid, pipes, () => {
      if (this.#running.has(id)) this.#send("K", String(id));
    });
    if (pipes) this.#running.set(id, process);
    // It runs, and nobody can hear it: whoever ordered it has to end it.
    else process.lose();
    this.#send("H", String(id));
    resolve(process);
  }

  /** Ends of our own of the pipes that the launcher holds until it is told that we have them. */
  #open(descriptors: number[]): Pipes | undefined {
    const opened: number[] = [];
    const open = (descriptor: number, flags: number) => {
      const fd = openSync(`/proc/${this.#process!.pid}/fd/${descriptor}`, flags | O_NONBLOCK);
      opened.push(fd);
      return fd;
    };
    try {
      const [stdin, stdout, stderr] = descriptors as [number, number, number];
      return {
        stdin: stdin < 0 ? undefined : open(stdin, O_WRONLY),
        stdout: open(stdout, O_RDONLY),
        stderr: open(stderr, O_RDONLY),
      };
    } catch {
      for (const fd of opened) closeSync(fd);
      return undefined;
    }
  }

  #endedWith(id: number, status: number): void {
    this.#running.get(id)?.endWith(status);
    this.#running.delete(id);
  }

  #failed(id: number, errno: number): void {
    const { reject } = this.#starting.get(id)!;
    this.#starting.delete(id);
    const code = ERRNO_NAMES.get(errno) ?? `errno ${errno}`;
    reject(Object.assign(new Error(`spawn ${code}`), { code }));
  }

  #lost(): void {
    this.#isReady = false;
    this.#onReady(false);
    this.#link = undefined;
    for (const process of this.#running.values()) process.lose();
    this.#running.clear();
    for (const { resolve } of this.#starting.values()) {
      const unknown = new LaunchedProcess(undefined, undefined, () => {});
      unknown.lose();
      resolve(unknown);
    }
    this.#starting.clear();
    if (this.#ended) return;
    const pauseMs = Math.min(RESTART_MS * 2 ** this.#deaths++, MAX_RESTART_MS);
    this.#restart = setTimeout(() => this.#start(), pauseMs).unref();
  }
}

/** What a process finds in its environment. As with `spawn`, one without a value is left out. */
function pairs(env: Record<string, string | undefined>): string[] {
  return Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : `${name}=${value}`));
}
