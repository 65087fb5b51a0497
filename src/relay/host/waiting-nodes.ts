import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Writable } from "node:stream";
import type { Cgroup } from "./cgroup.js";
import { ChildOfOurs } from "./started-process.js";
import type { WaitingShellsOptions, WokenProcess } from "./waiting-shells.js";

/** A waiting Node costs some 40 MB: one for a sandbox that runs Node, and so many in all. */
const IN_ALL = 4;
/** One that nobody needed for this long goes. */
const IDLE_MS = 60_000;
/** Starting one takes a processor for a while: it is done when it is quiet. */
const QUIET_MS = 5;

/**
 * What a waiting Node loads first: it waits on descriptor 3 for the run's variables. Then Node itself goes on, reads the
 * module from its stdin, and runs it as `--input-type=module --eval` would. Without a run it goes.
 */
const PRELOAD = `
const { isMainThread } = require("node:worker_threads");
if (isMainThread) {
  const fs = require("node:fs");
  // Node reads the module from the first stdin; the module itself gets one that is /dev/null.
  const given = process.stdin;
  let stdin = given;
  given.once("end", () => (stdin = undefined));
  Object.defineProperty(process, "stdin", {
    get: () => (stdin ??= new fs.ReadStream(null, { fd: fs.openSync("/dev/null"), autoClose: false })),
    set: (value) => (stdin = value),
    configurable: true,
    enumerable: true,
  });
  const piece = Buffer.alloc(65536);
  let text = "";
  for (;;) {
    let bytes = 0;
    try {
      bytes = fs.readSync(3, piece);
    } catch (error) {
      if (error.code === "EAGAIN") continue;
      process.exit(0);
    }
    if (bytes === 0) break;
    text += piece.latin1Slice(0, bytes);
  }
  if (text === "") process.exit(0);
  fs.closeSync(3);
  const { variables, code } = JSON.parse(Buffer.from(text, "latin1").toString());
  Object.assign(process["env"], variables);
  process.execArgv = ["--input-type=module", "--eval", code];
  delete require.cache[__filename];
  // \`--eval\` has Node's modules at hand by name, and stdin has not.
  for (const name of require("node:module").builtinModules) {
    if (name in globalThis || name.startsWith("_") || name.includes("/") || name.includes(":")) continue;
    const settle = (value) =>
      Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false });
    Object.defineProperty(globalThis, name, {
      get: () => (settle(require(name)), globalThis[name]),
      set: settle,
      configurable: true,
      enumerable: false,
    });
  }
}
`;

interface Waiting {
  child: ChildProcess;
  cgroup: Cgroup | undefined;
}

/** A Node of one sandbox that is started before it is needed, once the sandbox has shown that it runs Node. */
export class WaitingNodes {
  static #inAll = 0;
  readonly #options: WaitingShellsOptions;
  #waiting: Waiting | undefined;
  #timer: NodeJS.Timeout | undefined;
  #idle: NodeJS.Timeout | undefined;
  #ended = false;

  constructor(options: WaitingShellsOptions) {
    this.#options = options;
  }

  /** Wakes a Node for a run; undefined when none waits, or when this run needs one that was started with its variables. */
  wake(code: string, variables: Record<string, string>): WokenProcess | undefined {
    const waiting = Object.keys(variables).some((name) => /^NODE_|^(?:TZ|LANG|LC_\w+|PWD|PATH)$/.test(name))
      ? undefined
      : this.#waiting;
    if (!waiting) return undefined;
    this.#release();
    const { child, cgroup } = waiting;
    (child.stdio[3] as Writable).end(JSON.stringify({ variables, code }));
    child.stdin!.end(code);
    return { child: new ChildOfOurs(child), cgroup, script: undefined };
  }

  /** Sees to it that one waits, when it is quiet. */
  refill(): void {
    if (this.#ended) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#start(), QUIET_MS).unref();
  }

  end(): void {
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#dismiss();
  }

  #start(): void {
    if (this.#ended || this.#waiting || WaitingNodes.#inAll >= IN_ALL) return;
    const { folder, env, scratchDir, cgroups, counter } = this.#options;
    const preload = join(scratchDir, "waiting-node.cjs");
    if (!existsSync(preload)) writeFileSync(preload, PRELOAD, { mode: 0o600 });
    const child = spawn(process.execPath, ["--require", preload, "--input-type=module"], {
      cwd: folder,
      env,
      detached: true,
      stdio: ["pipe", "pipe", "pipe", "pipe"],
    });
    // One that cannot be started is not missed: the run starts one in the ordinary way.
    child.on("error", () => {});
    if (child.pid === undefined) return;
    child.stdin.on("error", () => {});
    (child.stdio[3] as Writable).on("error", () => {});
    const waiting = { child, cgroup: cgroups?.add(child.pid) };
    child.once("exit", () => {
      if (this.#waiting !== waiting) return;
      this.#release();
      waiting.cgroup?.remove();
    });
    this.#waiting = waiting;
    WaitingNodes.#inAll++;
    counter.waiting++;
    this.#idle = setTimeout(() => this.#dismiss(), IDLE_MS).unref();
  }

  #dismiss(): void {
    const waiting = this.#waiting;
    if (!waiting) return;
    this.#release();
    waiting.child.removeAllListeners("exit");
    waiting.child.once("exit", () => waiting.cgroup?.remove());
    waiting.child.kill("SIGKILL");
    for (const stream of waiting.child.stdio) stream?.destroy();
  }

  /** It does not wait any more. */
  #release(): void {
    clearTimeout(this.#idle);
    this.#waiting?.child.removeAllListeners("exit");
    this.#waiting = undefined;
    WaitingNodes.#inAll--;
    this.#options.counter.waiting--;
  }
}
