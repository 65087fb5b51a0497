import { execFile } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

/** How often a dying tree is looked at. */
const LOOK_INTERVAL_MS = 15;
/** How long KILL may take to be seen: a process in an uninterruptible wait dies when that wait ends. */
const KILL_WAIT_MS = 3_000;

/** What belongs together: a process group, and whatever carries the mark in its environment. */
export interface ProcessTree {
  /** The process group, whose leader is the run's own process. */
  pgid?: number | undefined;
  /** A `NAME=value` pair that children inherit, for those that left the group. */
  mark?: string | undefined;
}

/** Whether anything of the group is there, zombies included. Costs one system call. */
export function groupExists(pgid: number): boolean {
  try {
    process.kill(-pgid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/**
 * Ends a tree: TERM, then after the grace period KILL, until two looks in a row find nothing.
 *
 * Returns the pids that are still there, which is empty unless the system itself holds a process.
 */
export async function endTree(tree: ProcessTree, graceMs: number): Promise<number[]> {
  const termUntil = Date.now() + graceMs;
  const killUntil = termUntil + KILL_WAIT_MS;
  let termed = false;
  let empty = 0;
  for (;;) {
    const alive = await membersOf(tree);
    if (alive.length === 0) {
      if (++empty === 2) return [];
      await sleep(LOOK_INTERVAL_MS);
      continue;
    }
    empty = 0;
    const now = Date.now();
    if (now >= killUntil) return alive;
    if (now >= termUntil) signalAll(tree, alive, "SIGKILL");
    else if (!termed) {
      termed = true;
      signalAll(tree, alive, "SIGTERM");
      // A stopped process gets its TERM when it goes on.
      signalAll(tree, alive, "SIGCONT");
    }
    await sleep(LOOK_INTERVAL_MS);
  }
}

/** The pids of a tree that are alive: zombies are not, they only wait to be reaped by whoever is their parent. */
export async function membersOf({ pgid, mark }: ProcessTree): Promise<number[]> {
  if (mark === undefined && (pgid === undefined || !groupExists(pgid))) return [];
  return process.platform === "linux" ? linuxMembers(pgid, mark) : psMembers(pgid);
}

/**
 * Ends what an earlier process of ours left running: everything whose environment has the variable with a value that is
 * `ours`. Where there is no /proc, nothing can be found.
 */
export async function endLeftBehind(
  variable: string,
  ours: (value: string) => boolean,
  graceMs: number,
): Promise<void> {
  if (process.platform !== "linux") return;
  const found = new Set<string>();
  for (const pid of await allPids()) {
    const environ = await readFile(`/proc/${pid}/environ`, "latin1").catch(() => "");
    const at = `\0${environ}`.indexOf(`\0${variable}=`);
    if (at < 0) continue;
    const value = environ.slice(at + variable.length + 1).split("\0", 1)[0]!;
    if (ours(value)) found.add(value);
  }
  await Promise.all([...found].map((value) => endTree({ mark: `${variable}=${value}` }, graceMs)));
}

async function allPids(): Promise<number[]> {
  return (await readdir("/proc")).filter((name) => name >= "0" && name <= "9~").map(Number);
}

function signalAll({ pgid }: ProcessTree, pids: readonly number[], signal: NodeJS.Signals): void {
  // The group at once first, so that nobody in it can fork between two signals.
  if (pgid !== undefined) trySignal(-pgid, signal);
  for (const pid of pids) trySignal(pid, signal);
}

function trySignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // Gone already, or not ours to end.
  }
}

async function linuxMembers(pgid: number | undefined, mark: string | undefined): Promise<number[]> {
  const pids = await allPids();
  const found = await Promise.all(pids.map((pid) => isMember(pid, pgid, mark)));
  return pids.filter((_, index) => found[index]);
}

async function isMember(pid: number, pgid: number | undefined, mark: string | undefined): Promise<boolean> {
  if (pid === process.pid) return false;
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "latin1");
    // The name in parentheses may hold anything; the fields begin after its last one (proc(5)).
    const [state, , group] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (state === "Z" || state === "X") return false;
    if (pgid !== undefined && Number(group) === pgid) return true;
    if (mark === undefined) return false;
    const environ = await readFile(`/proc/${pid}/environ`);
    return environ.includes(`${mark}\0`);
  } catch {
    // It ended while it was looked at, or belongs to somebody else.
    return false;
  }
}

/** Where there is no /proc, `ps` knows the groups; marks cannot be read. */
async function psMembers(pgid: number | undefined): Promise<number[]> {
  if (pgid === undefined) return [];
  const text = await new Promise<string>((resolve) => {
    execFile("ps", ["-A", "-o", "pid=,pgid=,state="], (error, stdout) => resolve(error ? "" : stdout));
  });
  return text.split("\n").flatMap((line) => {
    const [pid, group, state] = line.trim().split(/\s+/);
    return Number(group) === pgid && !state?.startsWith("Z") ? [Number(pid)] : [];
  });
}
