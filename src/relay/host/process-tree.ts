import { setTimeout as sleep } from "node:timers/promises";
import type { KillReceipt } from "../../protocol/runs.js";
import type { Cgroup } from "./cgroup.js";
import {
  aliveProcesses,
  commandOf,
  freedOf,
  hasMark,
  hasProc,
  isAlive,
  type ListeningPort,
  type ProcessInfo,
  portsOf,
  processInfo,
  variableOf,
} from "./process-table.js";

/** Whoever shows a command cuts it, after secrets have been taken out of it: a cut one would not be known any more. */
const WHOLE_COMMAND_LENGTH = 65_536;

/** How often a dying tree is looked at. */
const LOOK_INTERVAL_MS = 15;
/** How long KILL may take to be seen: a process in an uninterruptible wait dies when that wait ends. */
const KILL_WAIT_MS = 3_000;
/** How often a port that is still held is looked at again: somebody outside of the tree may hold it, too. */
const PORT_LOOKS = 10;
/** More processes than this are counted, not listed. */
const MAX_LISTED = 500;

/** What belongs together. */
export interface ProcessTree {
  /** The first process, which leads its session and its process group. */
  pid?: number | undefined;
  /** A `NAME=value` pair that children inherit, for those that left the group. */
  mark?: string | undefined;
  /** The kernel's own list of them. */
  cgroup?: Cgroup | undefined;
}

type Member = ProcessInfo & { why: string };

/** Whether anything of a process group is there, zombies included. Costs one system call. */
export function groupExists(pgid: number): boolean {
  try {
    process.kill(-pgid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/**
 * Ends a tree: TERM, then after the grace period KILL, until two looks in a row find nothing. Returns what was found,
 * what was done, and what is there now: nothing, unless the system itself holds a process.
 */
export async function endTree(tree: ProcessTree, graceMs: number): Promise<KillReceipt> {
  const began = performance.now();
  const ending = new Ending(tree, began);
  let empty = 0;
  for (;;) {
    const alive = await ending.look();
    if (alive.length === 0) {
      // The kernel's list needs no second look: whoever is in it cannot leave it unseen.
      const isKernels = tree.cgroup && !tree.mark;
      if (isKernels || ++empty === ending.looksNeeded) return ending.receipt([]);
      await sleep(ending.lookIntervalMs);
      continue;
    }
    empty = 0;
    const elapsed = performance.now() - began;
    if (elapsed >= graceMs + KILL_WAIT_MS) return ending.receipt(alive);
    ending.signal(elapsed >= graceMs ? "SIGKILL" : "SIGTERM", alive);
    await sleep(ending.lookIntervalMs);
  }
}

/** The pids of a tree that are alive: zombies are not, they only wait to be reaped by whoever is their parent. */
export async function membersOf(tree: ProcessTree): Promise<number[]> {
  return (await new Ending(tree, performance.now()).look()).map(({ pid }) => pid);
}

/**
 * Ends whatever carries a variable whose value names something that is over. Where there is no /proc, nothing can be found.
 */
export async function endEscaped(
  variable: string,
  isOver: (value: string) => boolean,
  graceMs: number,
): Promise<void> {
  if (!hasProc) return;
  const found = new Set<string>();
  for (const { pid } of await aliveProcesses()) {
    const value = variableOf(pid, variable);
    if (value !== undefined && isOver(value)) found.add(value);
  }
  await Promise.all([...found].map((value) => endTree({ mark: `${variable}=${value}` }, graceMs)));
}

/** One ending of one tree, from the first look to the receipt. */
class Ending {
  readonly #tree: ProcessTree;
  readonly #began: number;
  readonly #found = new Map<string, KillReceipt["found"][number]>();
  #foundTotal = 0;
  readonly #signals: KillReceipt["signals"] = [];
  readonly #signalled = new Set<string>();
  #ports: ListeningPort[] = [];
  /** Looks that found processes which were not there when the first signal went out. */
  #births = 0;
  #kills = false;
  /** Members of earlier looks: one that was a member stays one, whoever its parent is by now. */
  readonly #known = new Map<number, string>();

  constructor(tree: ProcessTree, began: number) {
    this.#tree = tree;
    this.#began = began;
  }

  /** A tree that forks while it dies can be between two processes whenever it is looked at. */
  get #isForking(): boolean {
    return this.#births >= 2;
  }

  /** How many looks in a row have to find nothing. */
  get looksNeeded(): number {
    return this.#isForking ? 12 : 2;
  }

  get lookIntervalMs(): number {
    return this.#isForking ? 1 : LOOK_INTERVAL_MS;
  }

  async look(): Promise<Member[]> {
    const members = await this.#members();
    const fresh = members.filter((member) => !this.#found.has(keyOf(member)));
    for (const member of fresh) {
      this.#known.set(member.pid, member.startedAt);
      this.#foundTotal++;
      if (this.#found.size >= MAX_LISTED) continue;
      const { pid, ppid, why } = member;
      this.#found.set(keyOf(member), { pid, ppid, command: commandOf(pid, WHOLE_COMMAND_LENGTH), why });
    }
    if (fresh.length > 0 && this.#signals.length > 0) this.#births++;
    if (fresh.length > 0) this.#ports.push(...this.#newPorts(fresh));
    return members;
  }

  #newPorts(members: readonly Member[]): ListeningPort[] {
    const known = new Set(this.#ports.map(({ protocol, port }) => `${protocol} ${port}`));
    return portsOf(members.map(({ pid }) => pid)).filter(
      ({ protocol, port }) => !known.has(`${protocol} ${port}`),
    );
  }

  async #members(): Promise<Member[]> {
    const { pid: leader, mark, cgroup } = this.#tree;
    const members = new Map<number, Member>();
    for (const pid of cgroup?.members() ?? []) {
      const info = processInfo(pid);
      if (info && isAlive(info))
        members.set(pid, { ...info, why: pid === leader ? LEADER : "it is in the run's control group" });
    }
    // A run that was put into its group before it began has nobody outside of it.
    if (cgroup && mark === undefined) return [...members.values()];
    if (mark === undefined && leader !== undefined && !groupExists(leader) && this.#known.size === 0)
      return [];
    const all: ProcessInfo[] = [];
    for (const info of await aliveProcesses()) {
      all.push(info);
      const why = members.has(info.pid) ? undefined : this.#why(info, leader, mark);
      if (!why) continue;
      members.set(info.pid, { ...info, why });
      // On sight: by the end of a look it would have forked again.
      if (this.#kills) trySignal(info.pid, "SIGKILL");
    }
    if (hasProc) addDescendants(members, all);
    return [...members.values()];
  }

  #why(info: ProcessInfo, leader: number | undefined, mark: string | undefined): string | undefined {
    if (info.pid === leader) return LEADER;
    if (leader !== undefined && info.pgid === leader) return "it is in the run's process group";
    if (leader !== undefined && info.session === leader) return "it is in the run's session";
    if (this.#known.get(info.pid) === info.startedAt && info.startedAt !== "")
      return "it was in the run's tree";
    if (mark !== undefined && hasMark(info.pid, mark)) return "it carries the run's mark";
    return undefined;
  }

  signal(signal: "SIGTERM" | "SIGKILL", members: readonly Member[]): void {
    const { pid: leader, cgroup } = this.#tree;
    const fresh =
      signal === "SIGKILL"
        ? members
        : members.filter((one) => !this.#signalled.has(`${signal} ${keyOf(one)}`));
    if (fresh.length === 0) return;
    // At once first, so that nobody can fork between two signals.
    if (signal === "SIGKILL") {
      this.#kills = true;
      cgroup?.kill();
    }
    if (leader !== undefined && fresh.some(({ pgid }) => pgid === leader)) trySignal(-leader, signal);
    for (const { pid, pgid } of fresh) {
      if (signal === "SIGKILL" || pgid !== leader) trySignal(pid, signal);
      // A stopped process gets its TERM when it goes on.
      if (signal === "SIGTERM") trySignal(pid, "SIGCONT");
    }
    const named = fresh.filter((one) => !this.#signalled.has(`${signal} ${keyOf(one)}`));
    for (const one of named) this.#signalled.add(`${signal} ${keyOf(one)}`);
    if (named.length === 0 || this.#signals.length >= MAX_LISTED) return;
    const pids = named.slice(0, MAX_LISTED).map(({ pid }) => pid);
    this.#signals.push({ signal, pids, at_ms: this.#elapsed() });
  }

  async receipt(alive: readonly Member[]): Promise<KillReceipt> {
    return {
      method: this.#tree.cgroup?.isPlaced
        ? "cgroup"
        : this.#tree.mark !== undefined && hasProc
          ? "mark"
          : "group",
      found: [...this.#found.values()],
      found_total: this.#foundTotal,
      signals: this.#signals,
      alive: alive.map(({ pid, ppid, state }) => ({
        pid,
        ppid,
        command: commandOf(pid, WHOLE_COMMAND_LENGTH),
        why: stillThere(state),
      })),
      ports_freed: await this.#freed(),
      duration_ms: this.#elapsed(),
    };
  }

  /** The system closes the sockets of a dead process a moment after it counts as dead. */
  async #freed(): Promise<ListeningPort[]> {
    for (let attempt = 0; ; attempt++) {
      const freed = freedOf(this.#ports);
      if (freed.length === this.#ports.length || attempt === PORT_LOOKS) return freed;
      await sleep(LOOK_INTERVAL_MS);
    }
  }

  #elapsed(): number {
    return Math.round(performance.now() - this.#began);
  }
}

const LEADER = "it is the run's own process";

function keyOf({ pid, startedAt }: ProcessInfo): string {
  return `${pid} ${startedAt}`;
}

/** A child of a member is a member, whatever it threw away. */
function addDescendants(members: Map<number, Member>, all: readonly ProcessInfo[]): void {
  for (let before = -1; before !== members.size; ) {
    before = members.size;
    for (const info of all) {
      if (members.has(info.pid) || !members.has(info.ppid)) continue;
      members.set(info.pid, { ...info, why: `it is a child of ${info.ppid}` });
    }
  }
}

function stillThere(state: string): string {
  if (state === "D") return "it waits inside the system, which does not let it be ended until that is over";
  return "it was sent KILL and is not gone yet; another user may own it";
}

function trySignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // Gone already, or not ours to end.
  }
}
