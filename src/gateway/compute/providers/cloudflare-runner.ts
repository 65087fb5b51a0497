/** Where the runner keeps its things: beside the working folder, below the only place that the bridge writes files to. */
export const RUNNER_FOLDER = ".cerver";
/** The working folder of a sandbox, below `/workspace`. */
export const WORK_FOLDER = "work";

/** What the runner does in a sandbox. */
export type RunnerOrder =
  | {
      op: "run";
      /** Names the order's files. */
      id: string;
      command:
        | { kind: "shell" | "node"; code: string }
        | { kind: "argv"; file: string; args: readonly string[] };
      cwd: string;
      envs: Record<string, string>;
      hasStdin: boolean;
      /** When the runner ends the command by itself, should nobody else: in milliseconds. */
      limitMs: number;
    }
  /** Ends the processes of the run of this name. */
  | { op: "end"; id: string; run: string }
  | { op: "read"; id: string; path: string; from: number; length: number; max: number }
  /** Puts the parts `ID.0`, `ID.1`, … together as a file. */
  | { op: "write"; id: string; path: string; parts: number }
  | { op: "getState"; id: string }
  | { op: "setState"; id: string }
  | { op: "setEnvironment"; id: string };

/**
 * The program that the sandbox's own Node runs for one order.
 *
 * The bridge's exec carries text, tells no signal, calls an end without an exit code a success, and ends no process. So
 * the command is a child of this program, which tells what happens in lines of ASCII, one frame each:
 *
 *     b            the command has begun
 *     o BASE64     bytes of stdout;   e BASE64   bytes of stderr
 *     h            nothing new, still here
 *     m            more follows in the next segment
 *     x JSON       {"code", "signal"}: the wait status. The last one
 *     r BASE64     the answer of an order that is no run, as JSON
 *     d BASE64     bytes that belong to the answer before
 *     f BASE64     refused, and nothing was done: JSON of {"code", "message", "hint"}
 *
 * A run writes its frames to segments, named pipes that the caller reads one after the other: so what a slow reader has
 * not taken stays here, and not in the bridge's memory.
 */
export function runnerProgram(order: RunnerOrder): string {
  return `"use strict";\nconst order = ${JSON.stringify(order)};\n${RUNNER}`;
}

/** A segment holds about this much, in bytes of frames: the bridge keeps all that one exec prints in memory. */
export const SEGMENT_BYTES = 8 * 1024 * 1024;

const RUNNER = String.raw`
const fs = require("fs"), path = require("path"), net = require("net"), os = require("os");
const { spawn } = require("child_process"), { once } = require("events");

const SEGMENT_BYTES = ${SEGMENT_BYTES}, HEARTBEAT_MS = 5000, LOOK_MS = 500;
const TERM_WAIT_MS = 2000, KILL_WAIT_MS = 5000, PIPE_WAIT_MS = 1000, DELIVERY_MS = 60000;
const MAX_ARGUMENT_BYTES = 128 * 1024 - 1;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const base = path.join(process.cwd(), ".cerver");
const root = fs.realpathSync(path.join(process.cwd(), "work"));
const own = (id, kind) => path.join(base, "runs", id + "." + kind);
const remove = (file) => fs.rmSync(file, { force: true });

class Refused extends Error {
  constructor(code, message, hint) {
    super(message);
    Object.assign(this, { code, hint });
  }
}
const encoded = (value) => Buffer.from(JSON.stringify(value)).toString("base64");
const refusal = (error) =>
  "f " + encoded({
    code: error instanceof Refused ? error.code : "provider_failed",
    message: error instanceof Refused ? error.message : "The sandbox could not do it: " + error.message + ".",
    hint: error.hint,
  }) + "\n";

remove(process.argv[1]);
// Places

function inside(at) {
  return at === root || at.startsWith(root + "/");
}
function folderOf(cwd) {
  let real;
  try {
    real = fs.realpathSync(path.resolve(root, cwd));
    if (!fs.statSync(real).isDirectory()) throw new Error();
  } catch {
    throw new Refused("invalid_request", 'cwd: the folder "' + cwd + '" does not exist in this sandbox.',
      "Create it first, for example with mkdir -p.");
  }
  if (inside(real)) return real;
  throw new Refused("forbidden", 'cwd: "' + cwd + '" is outside of this sandbox\'s folder.',
    "Use a folder inside the session's own.");
}
function outside(name, why) {
  return new Refused("forbidden", 'path: "' + name + '" is outside of this sandbox\'s folder: ' + why + ".",
    "Use a path inside the session's working folder.");
}
function lexical(name) {
  const target = path.resolve(root, name);
  if (inside(target)) return target;
  throw outside(name, path.isAbsolute(name) ? "it is an absolute path to another place" : "it leads up and out");
}
function fileError(error, name) {
  if (error instanceof Refused) return error;
  switch (error.code) {
    case "ENOENT": return new Refused("file_not_found", 'path: there is no file "' + name + '" in this sandbox.');
    case "EISDIR": case "ENOTEMPTY": return new Refused("invalid_request", 'path: "' + name + '" is a folder.');
    case "ENOTDIR": case "EEXIST":
      return new Refused("invalid_request", 'path: a part of "' + name + '" is a file, not a folder.');
    case "ENAMETOOLONG": return new Refused("invalid_request", "path: a name in it is too long.");
    case "ELOOP": return outside(name, "a link leads out or in a circle");
    case "EACCES": case "EPERM": return new Refused("forbidden", 'path: this user may not open "' + name + '".');
    case "ENOSPC": return new Refused("provider_failed", "The disk of this sandbox is full.", "Free some space there, then write again.");
    default: return new Refused("provider_failed", 'path: "' + name + '" cannot be used: ' + error.message + ".");
  }
}

// Files and state

async function read() {
  const name = order.path;
  let fd;
  try {
    fd = fs.openSync(lexical(name), fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    if (!inside(fs.realpathSync("/proc/self/fd/" + fd))) throw outside(name, "a link leads out");
    const stat = fs.fstatSync(fd);
    if (!stat.isFile()) {
      throw new Refused("invalid_request", 'path: "' + name + '" is not a regular file.',
        "Only files can be read; list a folder with a run, for example ls.");
    }
    if (stat.size > order.max) {
      throw new Refused("too_large", 'path: "' + name + '" is larger than ' + order.max / 1024 / 1024 + " MiB.",
        "Split it, or move it with a run, for example with curl.");
    }
    const bytes = Buffer.alloc(Math.min(order.length, Math.max(0, stat.size - order.from)));
    let at = 0;
    while (at < bytes.length) {
      const got = fs.readSync(fd, bytes, at, bytes.length - at, order.from + at);
      if (got === 0) break;
      at += got;
    }
    const version = [stat.ino, stat.mtimeMs, stat.ctimeMs, stat.size].join(":");
    return [{ size: stat.size, version }, bytes.subarray(0, at)];
  } catch (error) {
    throw fileError(error, name);
  } finally {
    if (fd !== undefined) fs.closeSync(fd);
  }
}

async function write() {
  const name = order.path;
  const parts = Array.from({ length: order.parts }, (_, n) => own(order.id, n));
  let temporary;
  try {
    const target = lexical(name);
    if (target === root) throw outside(name, "it is the sandbox's folder itself");
    let at = root;
    for (const step of path.relative(root, path.dirname(target)).split("/").filter(Boolean)) {
      try {
        fs.mkdirSync(path.join(at, step));
      } catch (error) {
        if (error.code !== "EEXIST") throw error;
      }
      at = fs.realpathSync(path.join(at, step));
      if (!inside(at)) throw outside(name, "a link on the way leads out");
    }
    const wanted = path.join(at, ".cerver-" + order.id);
    const fd = fs.openSync(wanted, "wx", 0o644);
    temporary = wanted;
    let size = 0;
    try {
      for (const part of parts) {
        const bytes = fs.readFileSync(part);
        fs.writeFileSync(fd, bytes);
        size += bytes.length;
      }
    } finally {
      fs.closeSync(fd);
    }
    fs.renameSync(temporary, path.join(at, path.basename(target)));
    return { size };
  } catch (error) {
    if (temporary) remove(temporary);
    throw fileError(error, name);
  } finally {
    parts.forEach(remove);
  }
}

async function getState() {
  return fs.existsSync(path.join(base, "state.json"))
    ? JSON.parse(fs.readFileSync(path.join(base, "state.json"), "utf8"))
    : {};
}
async function setState() {
  fs.renameSync(own(order.id, 0), path.join(base, "state.json"));
  return {};
}
async function setEnvironment() {
  fs.renameSync(own(order.id, 0), path.join(base, "environment.json"));
  return {};
}
function sessionEnvironment() {
  const file = path.join(base, "environment.json");
  return fs.existsSync(file) ? JSON.parse(fs.readFileSync(file, "utf8")) : {};
}

// Processes

function processes() {
  const all = new Map();
  for (const name of fs.readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = fs.readFileSync("/proc/" + name + "/stat", "latin1");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      const [state, ppid, group, session] = fields;
      if (state === "Z" || state === "X") continue;
      all.set(+name, { pid: +name, ppid: +ppid, group: +group, session: +session, born: fields[19] });
    } catch {}
  }
  return all;
}
/** The living processes of a run, by its mark, its group, its session, their parents, and by having been seen before. */
class Tree {
  constructor(id, leader) {
    this.mark = "CERVER_RUN_ID=" + id;
    this.leader = leader;
    this.known = new Map();
  }
  look() {
    const all = processes();
    const ours = new Map();
    const take = (one) => {
      ours.set(one.pid, one);
      this.known.set(one.pid, one.born);
    };
    for (const one of all.values()) if (one.pid !== process.pid && this.owns(one)) take(one);
    for (let grew = true; grew; ) {
      grew = false;
      for (const one of all.values()) {
        if (ours.has(one.pid) || one.pid === process.pid || !ours.has(one.ppid)) continue;
        take(one);
        grew = true;
      }
    }
    return [...ours.keys()];
  }
  owns(one) {
    if (this.known.get(one.pid) === one.born) return true;
    if (this.leader && (one.group === this.leader || one.session === this.leader || one.pid === this.leader)) return true;
    try {
      return ("\0" + fs.readFileSync("/proc/" + one.pid + "/environ", "latin1")).includes("\0" + this.mark + "\0");
    } catch {
      return false;
    }
  }
  signal(name) {
    const pids = this.look();
    for (const pid of pids) {
      try {
        process.kill(pid, name);
      } catch {}
    }
    return pids.length;
  }
  /** TERM, then KILL, until nothing is left. Tells what is. */
  async end() {
    const began = Date.now();
    this.signal("SIGTERM");
    while (this.look().length > 0 && Date.now() - began < TERM_WAIT_MS) await sleep(20);
    while (this.signal("SIGKILL") > 0 && Date.now() - began < TERM_WAIT_MS + KILL_WAIT_MS) await sleep(20);
    return this.look();
  }
}

/** Ends a run from outside: its runner does it, or this does when the runner is gone. */
async function end() {
  const at = (kind) => own(order.run, kind);
  // The flag comes first: a runner that starts after this look sees it.
  fs.writeFileSync(at("cancelled"), "");
  const until = Date.now() + TERM_WAIT_MS + KILL_WAIT_MS + 3000;
  const leader = () => +(fs.existsSync(at("leader")) && fs.readFileSync(at("leader"), "utf8")) || 0;
  try {
    const runner = +fs.readFileSync(at("pid"), "utf8");
    if (fs.readFileSync("/proc/" + runner + "/cmdline", "utf8").includes(order.run)) process.kill(runner, "SIGTERM");
    while (!fs.existsSync(at("ended")) && fs.existsSync("/proc/" + runner) && Date.now() < until) await sleep(20);
  } catch {}
  const alive = await new Tree(order.run, leader()).end();
  for (const kind of ["leader", "pid", "ended", "err", "stdin", "sh", "cjs"]) remove(at(kind));
  return { alive };
}

// A run

async function run() {
  const { id } = order;
  const tree = new Tree(id, 0);
  const out = new Segments(id);
  let child, script, ending;
  const isCancelled = () => fs.existsSync(own(id, "cancelled"));
  const endTree = () => (ending ??= tree.end());
  // Before the command is there, the flag tells.
  process.on("SIGTERM", () => child && endTree());
  try {
    fs.writeFileSync(own(id, "pid"), String(process.pid));
    const cwd = folderOf(order.cwd);
    const command = prepare(cwd);
    script = command.script;
    const stdin = order.hasStdin ? fs.openSync(own(id, "stdin"), "r") : "ignore";
    if (isCancelled()) throw new Refused("timed_out", "The run was cancelled before it began.");
    child = spawn(command.file, command.args, {
      cwd,
      env: { ...process.env, ...sessionEnvironment(), ...order.envs, CERVER_RUN_ID: id },
      detached: true,
      stdio: [stdin, "pipe", "pipe"],
    });
    if (order.hasStdin) {
      fs.closeSync(stdin);
      remove(own(id, "stdin"));
    }
    await Promise.race([once(child, "spawn"), once(child, "error").then(([error]) => Promise.reject(error))]);
  } catch (error) {
    if (script) remove(script);
    if (error.code === "ENOENT" && error.syscall)
      error = new Refused("unsupported", "The sandbox's image has no " + error.path + ".", "Put it into the Dockerfile of the bridge, and deploy it again.");
    out.line(refusal(error));
    await out.close();
    return clean(["pid", "err", "stdin", "sh", "cancelled", out.seg]);
  }
  tree.leader = child.pid;
  const exited = once(child, "exit");
  fs.writeFileSync(own(id, "leader"), String(child.pid));
  // The asker is gone: nobody is left to run for.
  out.onLost = endTree;
  if (isCancelled()) endTree();
  const limit = setTimeout(endTree, order.limitMs);
  // Who leaves the group, the session, the parent and the mark behind was seen before that.
  const looks = setInterval(() => tree.look(), LOOK_MS);
  const beats = setInterval(() => out.beat(), HEARTBEAT_MS);
  // From here on its frames tell what happens, and the file of its complaints goes.
  remove(own(id, "err"));
  out.line("b\n");
  const pipes = [["o", child.stdout], ["e", child.stderr]].map(async ([name, pipe]) => {
    try {
      for await (const chunk of pipe) await out.line(name + " " + chunk.toString("base64") + "\n");
    } catch {}
  });
  const [code, signal] = await exited;
  clearTimeout(limit);
  clearInterval(looks);
  if (script) remove(script);
  // What it left behind goes too.
  await (tree.look().length > 0 || ending ? endTree() : undefined);
  fs.writeFileSync(own(id, "ended"), "");
  const drained = Promise.all(pipes);
  // A stranger may hold a pipe open. Until nothing has come for a while, and all that came is taken, it is waited for.
  for (let taken = -1; !(await Promise.race([drained.then(() => true), sleep(PIPE_WAIT_MS)])); taken = out.taken) {
    if (!out.isIdle() || out.taken !== taken) continue;
    child.stdout.destroy();
    child.stderr.destroy();
  }
  clearInterval(beats);
  out.line("x " + JSON.stringify({ code: code ?? 128 + os.constants.signals[signal], signal }) + "\n");
  await out.close();
  clean(["pid", "leader", "ended", "sh", "cancelled", out.seg]);
}
function clean(kinds) {
  for (const kind of kinds) remove(own(order.id, kind));
  process.exit(0);
}

function prepare(cwd) {
  const { command } = order;
  if (command.kind === "argv") return command;
  const fits = Buffer.byteLength(command.code) <= MAX_ARGUMENT_BYTES;
  if (command.kind === "shell") {
    if (fits) return { file: "/bin/sh", args: ["-c", command.code] };
    const script = own(order.id, "sh");
    fs.writeFileSync(script, command.code, { mode: 0o600 });
    return { file: "/bin/sh", args: ["-c", ". '" + script.replaceAll("'", "'\\''") + "'"], script };
  }
  if (fits) return { file: process.execPath, args: ["--input-type=module", "--eval", command.code] };
  // Its imports resolve from the working folder.
  const script = path.join(cwd, ".cerver-" + order.id + ".mjs");
  fs.writeFileSync(script, command.code, { mode: 0o600, flag: "wx" });
  return { file: process.execPath, args: [script], script };
}

/** The frames of a run, in one named pipe after the other. */
class Segments {
  constructor(id) {
    Object.assign(this, { id, seg: 0, sent: 0, taken: 0, waiting: 0, last: Promise.resolve(), lost: false, onLost() {} });
  }
  isIdle() {
    return this.waiting === 0;
  }
  beat() {
    if (this.isIdle() && this.socket) this.line("h\n").then(() => this.taken--);
  }
  line(text) {
    this.waiting++;
    this.last = this.last.then(() => this.put(text)).finally(() => {
      this.waiting--;
      this.taken++;
    });
    return this.last;
  }
  async put(text) {
    if (this.lost) return;
    try {
      this.socket ??= await this.open();
      if (!this.socket.write(text)) await this.until("drain");
      this.sent += text.length;
      if (this.sent < SEGMENT_BYTES) return;
      await this.finish("m\n");
      this.seg++;
      this.sent = 0;
    } catch {
      this.lost = true;
      this.onLost();
    }
  }
  async open() {
    const file = own(this.id, this.seg);
    for (let fd; ; await sleep(10)) {
      try {
        fd = fs.openSync(file, fs.constants.O_WRONLY | fs.constants.O_NONBLOCK);
      } catch (error) {
        // The reader is not there yet.
        if (error.code !== "ENXIO" && error.code !== "ENOENT") throw error;
        if (this.deadline && Date.now() > this.deadline) throw error;
        continue;
      }
      remove(file);
      const socket = new net.Socket({ fd, readable: false, writable: true });
      socket.on("error", () => {});
      return socket;
    }
  }
  async until(event) {
    const { socket } = this;
    const listening = new AbortController(), options = { signal: listening.signal };
    const closed = once(socket, "close", options).then(() => Promise.reject(new Error("the reader went away")));
    closed.catch(() => {});
    try {
      await Promise.race([once(socket, event, options), closed]);
    } finally {
      listening.abort();
    }
  }
  async finish(text) {
    const { socket } = this;
    this.socket = undefined;
    socket.end(text);
    await once(socket, "close");
  }
  async close() {
    this.deadline = Date.now() + DELIVERY_MS;
    await Promise.race([this.last, sleep(DELIVERY_MS)]);
    if (this.socket) await Promise.race([this.finish("").catch(() => {}), sleep(DELIVERY_MS)]);
  }
}

const operations = { run, end, read, write, getState, setState, setEnvironment };
operations[order.op]().then(
  (answer) => {
    if (answer === undefined) return;
    const [value, bytes] = Array.isArray(answer) ? answer : [answer];
    process.stdout.write("r " + encoded(value) + "\n");
    if (bytes) process.stdout.write("d " + bytes.toString("base64") + "\n");
  },
  (error) => {
    // A run's shell passes on what is said here, where its frames would have been.
    if (order.op === "run") process.stderr.write(error.message + "\n", () => process.exit(1));
    else process.stdout.write(refusal(error));
  },
);
`;
