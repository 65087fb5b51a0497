/**
 * What the supervisor is asked to do in a sandbox. It is a Node program, because every image that this adapter uses has one.
 *
 * The vendor's logs are JSON text, in which bytes that are not UTF-8 do not survive, and its kill reaches one process
 * alone. So every command runs below this program: it writes the output in base64, tells the wait status, and ends the
 * whole tree when it gets a TERM.
 */
export type Order =
  | {
      kind: "run";
      command: { kind: "shell" | "node"; code: string } | { kind: "argv"; file: string; args: string[] };
      cwd?: string | undefined;
      envs?: Record<string, string> | undefined;
      stdin?: string | undefined;
      /** It is ended after so many milliseconds, should nobody have done it before: the gateway may be gone by then. */
      limitMs?: number | undefined;
    }
  /** Ends everything that an earlier order's key marks, and keeps that order from starting later. */
  | { kind: "end"; key: string }
  /** What a path means: `{size}` of the file. */
  | { kind: "look"; path: string }
  /** Moves a file that was uploaded to where it belongs, and makes the folders on the way. */
  | { kind: "place"; upload: string; path: string }
  | { kind: "get_state" }
  | { kind: "set_state"; state: string };

/** The variables that hold the key of an order, and the order, unless it is too long for one. */
export const KEY_VARIABLE = "CERVER_RUN";
export const ORDER_VARIABLE = "CERVER_ORDER";
/** The sandbox's own variable with those that each run gets, as JSON: none of them may touch the supervisor itself. */
export const ENVIRONMENT_VARIABLE = "CERVER_ENVIRONMENT";

/** The name of the file that holds an order that is too long, in the working folder. It is gone before anything runs. */
export function orderFile(key: string): string {
  return `.cerver-${key}.json`;
}

/** How often a supervisor that has nothing to say shows that the line to it is open, in milliseconds. */
export const HEARTBEAT_MS = 10_000;

/**
 * The program. What it prints are frames, one a line: a letter, a number that counts up from 0, a blank, and the rest.
 * `o` and `e` hold output in base64, `x` the end as JSON, `r` a refusal as JSON: nothing ran; `h` is a heartbeat.
 */
export const SUPERVISOR = String.raw`
const fs = require("node:fs"), os = require("node:os"), path = require("node:path");
const { spawn } = require("node:child_process");
const { env } = process;
const key = env.CERVER_RUN, root = fs.realpathSync(process.cwd());
const tombstone = (of) => path.join(os.tmpdir(), ".cerver-ended-" + of);
const orderFile = (of) => path.join(root, ".cerver-" + of + ".json");
// Not process.stdout: a write to its pipe would keep a signal from being heard.
const out = fs.createWriteStream("", { fd: 1, autoClose: false, highWaterMark: 262144 });
let frames = 0;
const say = (letter, rest) => out.write(letter + frames++ + " " + rest + "\n");
const finish = (code) => out.write("", () => process.exit(code));
const refuse = (code, message, hint) => { say("r", JSON.stringify({ code, message, hint })); finish(0); };
const refuseFor = (error, at) => {
  const what = 'path: "' + at + '"';
  switch (error.code) {
    case "ENOENT": return refuse("file_not_found", 'path: there is no file "' + at + '" in this sandbox.');
    case "EISDIR": case "ENOTEMPTY": return refuse("invalid_request", what + " is a folder.");
    case "ENOTDIR": case "EEXIST": return refuse("invalid_request", 'path: a part of "' + at + '" is a file, not a folder.');
    case "ENAMETOOLONG": return refuse("invalid_request", "path: a name in it is too long.");
    case "ELOOP": return refuseOutside(at, "a link leads out or in a circle");
    case "EACCES": case "EPERM": return refuse("forbidden", 'path: this user may not open "' + at + '".');
    case "ENOSPC": case "EDQUOT": return refuse("provider_failed", "The disk of this sandbox is full.", "Free some space there, then write again.");
    default: return refuse("provider_failed", what + " cannot be used: " + error.message + ".");
  }
};
const refuseOutside = (at, why) => refuse("forbidden", 'path: "' + at + '" is outside of this sandbox\'s folder: ' + why + ".",
  "Use a path inside the session's working folder.");
const isInside = (at) => at === root || at.startsWith(root === "/" ? root : root + "/");
const stateFile = () => path.join(os.homedir(), ".cerver", "state.json");
const done = (value) => {
  const bytes = Buffer.from(value);
  for (let at = 0; at < bytes.length; at += 49152) say("o", bytes.subarray(at, at + 49152).toString("base64"));
  say("x", JSON.stringify({ code: 0, signal: null, alive: 0 }));
  finish(0);
};

function processes() {
  const all = [];
  for (const name of fs.readdirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    try {
      const stat = fs.readFileSync("/proc/" + pid + "/stat", "latin1");
      const field = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      if (field[0] === "Z" || field[0] === "X") continue;
      all.push({ pid, ppid: +field[1], group: +field[2], session: +field[3], born: field[19] });
    } catch {}
  }
  return all;
}
function hasMark(pid, mark) {
  try { return ("\0" + fs.readFileSync("/proc/" + pid + "/environ", "latin1")).includes("\0" + mark + "\0"); }
  catch { return false; }
}
const trySignal = (pid, signal) => { try { process.kill(pid, signal); } catch {} };
/** Ends a tree: TERM, after 2 s KILL, until two looks in a row find nothing. Gives how many are alive all the same. */
async function endTree(leader, mark) {
  const known = new Map(), told = new Set(), began = Date.now();
  for (let empty = 0; ;) {
    const all = processes();
    const isMember = (one) => known.get(one.pid) === one.born || (leader && (one.pid === leader || one.group === leader
      || one.session === leader)) || (mark && hasMark(one.pid, mark));
    const members = new Set(all.filter(isMember).map((one) => one.pid));
    for (let before = -1; before !== members.size;) {
      before = members.size;
      for (const one of all) if (members.has(one.ppid)) members.add(one.pid);
    }
    for (const one of all) if (members.has(one.pid)) known.set(one.pid, one.born);
    if (members.size === 0) { if (++empty === 2) return 0; }
    else {
      empty = 0;
      const elapsed = Date.now() - began;
      if (elapsed > 5000) return members.size;
      for (const pid of members) {
        if (elapsed >= 2000) trySignal(pid, "SIGKILL");
        else if (!told.has(pid)) { told.add(pid); trySignal(pid, "SIGTERM"); trySignal(pid, "SIGCONT"); }
      }
    }
    await new Promise((go) => setTimeout(go, 15));
  }
}

function run({ command, cwd: wanted = ".", envs = {}, stdin, limitMs }) {
  let cwd;
  try { cwd = fs.realpathSync(path.resolve(root, wanted)); } catch {}
  if (!cwd || !fs.statSync(cwd).isDirectory())
    return refuse("invalid_request", 'cwd: the folder "' + wanted + '" does not exist in this sandbox.', "Create it first, for example with mkdir -p.");
  if (!isInside(cwd))
    return refuse("forbidden", 'cwd: "' + wanted + '" is outside of this sandbox\'s folder.', "Use a folder inside the session's own.");
  let { file, args } = command, script;
  if (command.kind !== "argv") {
    const isLong = Buffer.byteLength(command.code) > 131071, isShell = command.kind === "shell";
    if (isLong) {
      script = isShell ? path.join(os.tmpdir(), ".cerver-" + key + ".sh") : path.join(cwd, ".cerver-" + key + ".mjs");
      fs.writeFileSync(script, command.code, { mode: 0o600, flag: "wx" });
    }
    file = isShell ? "/bin/sh" : process.execPath;
    args = isShell ? ["-c", isLong ? '. "' + script + '"' : command.code]
      : isLong ? [script] : ["--input-type=module", "--eval", command.code];
  }
  const { CERVER_ORDER: _, CERVER_ENVIRONMENT: given = "{}", ...own } = env;
  // Out before anything starts: without this frame nothing of the run ever ran.
  fs.writeSync(1, "h" + frames++ + " \n");
  const child = spawn(file, args, { cwd, env: { ...own, ...JSON.parse(given), ...envs, CERVER_RUN: key }, detached: true,
    stdio: [stdin === undefined ? "ignore" : "pipe", "pipe", "pipe"] });
  child.once("error", (error) => {
    if (script) fs.rmSync(script, { force: true });
    refuse("provider_failed", file + " cannot be started in this sandbox: " + error.message + ".");
  });
  if (child.pid === undefined) return;
  const heart = setInterval(() => say("h", ""), ${HEARTBEAT_MS});
  let stopping;
  const stop = () => { stopping ??= endTree(child.pid, "CERVER_RUN=" + key); };
  process.on("SIGTERM", stop);
  if (limitMs) setTimeout(stop, limitMs);
  child.stdin?.on("error", () => {});
  child.stdin?.end(stdin);
  const pipes = [child.stdout, child.stderr];
  out.on("drain", () => { for (const pipe of pipes) pipe.resume(); });
  for (const [letter, pipe] of [["o", child.stdout], ["e", child.stderr]])
    pipe.on("data", (bytes) => {
      if (!say(letter, bytes.toString("base64"))) for (const one of pipes) one.pause();
    });
  const closed = Promise.all(pipes.map((pipe) => new Promise((go) => pipe.once("close", go))));
  const within = (ms) => new Promise((go) => { const timer = setTimeout(() => go(false), ms); closed.then(() => { clearTimeout(timer); go(true); }); });
  // A slow reader is waited for; a process that threw its mark away and holds a pipe is not.
  const open = () => pipes.some((pipe) => pipe.readableFlowing && !pipe.closed);
  child.once("exit", async (code, signal) => {
    let alive = stopping ? await stopping : 0;
    let hasGroup = true;
    try { process.kill(-child.pid, 0); } catch { hasGroup = false; }
    if (!stopping && hasGroup) alive = await endTree(child.pid);
    if (!(await within(250)) && open()) alive = await (stopping ?? endTree(child.pid, "CERVER_RUN=" + key));
    for (let read = -1; !(await within(250));) {
      const now = pipes.reduce((sum, pipe) => sum + pipe.bytesRead, 0);
      if (open() && read === now) break;
      read = now;
    }
    if (script) fs.rmSync(script, { force: true });
    clearInterval(heart);
    const number = signal ? 128 + os.constants.signals[signal] : code;
    say("x", JSON.stringify({ code: number, signal, alive }));
    finish(number);
  });
}

const actions = {
  run,
  async end({ key: of }) {
    fs.writeFileSync(tombstone(of), "");
    fs.rmSync(orderFile(of), { force: true });
    const alive = await endTree(undefined, "CERVER_RUN=" + of);
    done(JSON.stringify({ alive }));
  },
  look({ path: at }) {
    const target = path.resolve(root, at);
    if (!isInside(target)) return refuseOutside(at, path.isAbsolute(at) ? "it is an absolute path to another place" : "it leads up and out");
    try {
      const real = fs.realpathSync(target);
      if (!isInside(real)) return refuseOutside(at, "a link leads out");
      const stat = fs.statSync(real);
      if (!stat.isFile()) return refuse("invalid_request", 'path: "' + at + '" is not a regular file.', "Only files can be read; list a folder with a run, for example ls.");
      done(JSON.stringify({ path: real, size: stat.size }));
    } catch (error) { refuseFor(error, at); }
  },
  place({ upload, path: at }) {
    const from = path.join(root, upload), target = path.resolve(root, at);
    const drop = (then) => { fs.rmSync(from, { force: true }); then(); };
    if (target === root) return drop(() => refuseOutside(at, "it is the sandbox's folder itself"));
    if (!isInside(target)) return drop(() => refuseOutside(at, path.isAbsolute(at) ? "it is an absolute path to another place" : "it leads up and out"));
    try {
      let folder = root;
      for (const name of path.relative(root, path.dirname(target)).split("/").filter(Boolean)) {
        try { fs.mkdirSync(path.join(folder, name)); } catch (error) { if (error.code !== "EEXIST") throw error; }
        folder = fs.realpathSync(path.join(folder, name));
        if (!isInside(folder)) return drop(() => refuseOutside(at, "a link on the way leads out"));
      }
      fs.renameSync(from, path.join(folder, path.basename(target)));
      done("{}");
    } catch (error) { drop(() => refuseFor(error, at)); }
  },
  get_state() {
    try { done(fs.readFileSync(stateFile())); }
    catch (error) { if (error.code === "ENOENT") done("{}"); else throw error; }
  },
  set_state({ state }) {
    const file = stateFile(), next = file + "." + key;
    fs.mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
    fs.writeFileSync(next, state, { mode: 0o600 });
    fs.renameSync(next, file);
    done("{}");
  },
};

const isEnded = fs.existsSync(tombstone(key));
let text = env.CERVER_ORDER;
if (text === undefined) {
  text = fs.readFileSync(orderFile(key), "utf8");
  fs.unlinkSync(orderFile(key));
}
if (isEnded) process.exit(0);
const order = JSON.parse(text);
Promise.resolve(actions[order.kind](order)).catch((error) => { console.error(error); process.exit(70); });
`;
