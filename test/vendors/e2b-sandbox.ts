import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { constants } from "node:os";
import { isAbsolute, join } from "node:path";
import type { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { isLiving, look, type SeenProcess, treeIn } from "../proc-look.js";

/** One event of a process as envd's `process.Process` service tells it, in the JSON of its protobuf messages. */
export type ProcessEvent =
  | { start: { pid: number } }
  | { data: { stdout: string } | { stderr: string } }
  | { keepalive: Record<string, never> }
  | { end: { exitCode: number; exited: boolean; status: string; error?: string } };

/** Takes an event; what it returns is awaited before more output is read. */
export type TakeEvent = (event: ProcessEvent) => Promise<void> | void;

export interface ProcessConfig {
  cmd: string;
  args?: string[];
  envs?: Record<string, string>;
  cwd?: string;
}

/** A process that envd started. It goes on when nobody follows it. */
export class EnvdProcess {
  readonly pid: number;
  readonly config: ProcessConfig;
  readonly #child: ChildProcess;
  readonly #followers = new Set<TakeEvent>();
  readonly #ended: Promise<void>;

  constructor(config: ProcessConfig, child: ChildProcess) {
    this.config = config;
    this.#child = child;
    this.pid = child.pid!;
    // The end is told when the process is over and its pipes are closed, as envd does it.
    const exit = once(child, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
    this.#ended = Promise.all([this.#read("stdout"), this.#read("stderr"), exit]).then(
      async ([, , [code, signal]]) => this.#tell({ end: endOf(code, signal) }),
    );
  }

  /** Follows from now on, until the end. */
  async follow(take: TakeEvent): Promise<void> {
    await take({ start: { pid: this.pid } });
    this.#followers.add(take);
    await this.#ended;
  }

  leave(take: TakeEvent): void {
    this.#followers.delete(take);
  }

  get ended(): Promise<void> {
    return this.#ended;
  }

  /** Signals this process alone: its children are not envd's business. */
  signal(name: "SIGTERM" | "SIGKILL"): void {
    this.#child.kill(name);
  }

  write(bytes: Buffer): Promise<void> {
    const { stdin } = this.#child;
    if (!stdin) return Promise.reject(new Error("stdin not enabled or closed"));
    return new Promise((resolve, reject) =>
      stdin.write(bytes, (error) => (error ? reject(error) : resolve())),
    );
  }

  closeStdin(): void {
    this.#child.stdin?.end();
  }

  async #read(name: "stdout" | "stderr"): Promise<void> {
    for await (const chunk of this.#child[name] as Readable) {
      const base64 = (chunk as Buffer).toString("base64");
      await this.#tell({ data: name === "stdout" ? { stdout: base64 } : { stderr: base64 } });
    }
  }

  async #tell(event: ProcessEvent): Promise<void> {
    await Promise.all([...this.#followers].map((take) => take(event)));
  }
}

/** As Go's `os.ProcessState` says it, which is what envd passes on. */
function endOf(code: number | null, signal: NodeJS.Signals | null) {
  if (signal === null)
    return {
      exitCode: code ?? 0,
      exited: true,
      status: `exit status ${code}`,
      ...(code !== 0 && { error: `exit status ${code}` }),
    };
  const status = `signal: ${GO_SIGNALS[signal] ?? `signal ${constants.signals[signal]}`}`;
  return { exitCode: -1, exited: false, status, error: status };
}

/** The names of Go's syscall package (zerrors_linux_amd64.go). */
const GO_SIGNALS: Partial<Record<NodeJS.Signals, string>> = {
  SIGHUP: "hangup",
  SIGINT: "interrupt",
  SIGABRT: "aborted",
  SIGKILL: "killed",
  SIGSEGV: "segmentation fault",
  SIGTERM: "terminated",
};

export interface NewSandbox {
  id: string;
  folder: string;
  templateId: string;
  metadata: Record<string, string>;
  envVars: Record<string, string>;
  lifetimeMs: number;
  onEnd: () => void;
}

/** One sandbox: a folder of this machine, and whatever runs in its name. */
export class E2bSandbox {
  readonly id: string;
  readonly templateId: string;
  readonly metadata: Record<string, string>;
  readonly accessToken: string;
  readonly startedAt = new Date();
  readonly processes = new Map<number, EnvdProcess>();
  endAt: Date;
  state: "running" | "paused" | "gone" = "running";
  readonly #folder: string;
  readonly #envVars: Record<string, string>;
  readonly #onEnd: () => void;
  readonly #pids = new Set<number>();
  /** Whatever was seen to be of this sandbox: it stays so, whoever its parent is by now. */
  readonly #seen = new Map<string, SeenProcess>();
  #timer: NodeJS.Timeout | undefined;

  constructor({ id, folder, templateId, metadata, envVars, lifetimeMs, onEnd }: NewSandbox) {
    this.id = id;
    this.#folder = folder;
    this.templateId = templateId;
    this.metadata = metadata;
    this.#envVars = envVars;
    this.#onEnd = onEnd;
    this.accessToken = `ea_${id}`;
    this.endAt = new Date();
    this.liveFor(lifetimeMs);
  }

  async make(): Promise<this> {
    await mkdir(this.home("user"), { recursive: true });
    await mkdir(this.home("root"), { recursive: true });
    return this;
  }

  /** Ends after this time from now on. */
  liveFor(ms: number): void {
    clearTimeout(this.#timer);
    this.endAt = new Date(Date.now() + ms);
    this.#timer = setTimeout(() => void this.end(), ms);
  }

  home(user: string): string {
    return user === "root" ? join(this.#folder, "root") : join(this.#folder, "home", "user");
  }

  /** The path that a text means to a user, as envd resolves it. Of this machine only the sandbox is reachable. */
  resolve(path: string, user: string): string {
    const home = this.home(user);
    const target =
      path === "" || path === "~" ? home : path.startsWith("~/") ? join(home, path.slice(2)) : path;
    const absolute = isAbsolute(target) ? join(target) : join(home, target);
    if (absolute.startsWith(`${this.#folder}/`)) return absolute;
    throw new Error(`permission denied: ${path}`);
  }

  start(config: ProcessConfig, user: string, stdin: boolean): EnvdProcess {
    const cwd = this.resolve(config.cwd ?? "", user);
    if (!existsSync(cwd)) throw new Error(`cwd '${cwd}' does not exist`);
    const child = spawn(config.cmd, config.args ?? [], {
      cwd,
      stdio: [stdin ? "pipe" : "ignore", "pipe", "pipe"],
      env: {
        HOME: this.home(user),
        USER: user,
        LOGNAME: user,
        PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        E2B_SANDBOX: "true",
        E2B_SANDBOX_ID: this.id,
        E2B_TEMPLATE_ID: this.templateId,
        ...this.#envVars,
        ...config.envs,
      },
    });
    child.on("error", () => undefined);
    child.stdin?.on("error", () => undefined);
    if (child.pid === undefined) throw new Error(`fork/exec ${config.cmd}: it could not be started`);
    const process = new EnvdProcess(config, child);
    this.#pids.add(process.pid);
    this.processes.set(process.pid, process);
    void process.ended.then(() => this.processes.delete(process.pid));
    return process;
  }

  pause(): void {
    clearTimeout(this.#timer);
    this.#signal("SIGSTOP");
    this.state = "paused";
  }

  wake(lifetimeMs: number): void {
    this.#signal("SIGCONT");
    this.state = "running";
    this.liveFor(lifetimeMs);
  }

  async end(): Promise<void> {
    if (this.state === "gone") return;
    this.state = "gone";
    clearTimeout(this.#timer);
    this.#onEnd();
    // What forks while it dies needs more than one look.
    for (let empty = 0; empty < 2; ) {
      empty = this.#signal("SIGKILL") === 0 ? empty + 1 : 0;
      await sleep(10);
    }
    await rm(this.#folder, { recursive: true, force: true, maxRetries: 3, retryDelay: 50 });
  }

  #signal(name: NodeJS.Signals): number {
    const mark = `E2B_SANDBOX_ID=${this.id}`;
    const tree = treeIn(look(), {
      mark,
      listed: this.#pids,
      bare: new Set(),
      earlier: this.#seen.values(),
    }).filter((one) => isLiving(one) && one.pid !== process.pid);
    for (const one of tree) {
      this.#seen.set(`${one.pid} ${one.startTime}`, one);
      try {
        process.kill(one.pid, name);
      } catch {
        // It ended meanwhile.
      }
    }
    return tree.length;
  }
}
