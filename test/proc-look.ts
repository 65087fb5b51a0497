import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** A port that a process waits at: a listening TCP socket, or a UDP socket that is bound and not connected. */
export interface SeenPort {
  pid: number;
  protocol: "tcp" | "udp";
  address: string;
  port: number;
  /** Names the socket, so that another one at the same port is not taken for it. */
  inode: string;
}

/** What /proc says of one process. */
export interface SeenProcess {
  pid: number;
  ppid: number;
  pgid: number;
  session: number;
  /** One letter, as in proc(5): `Z` is a zombie, `T` is stopped. */
  state: string;
  /** The name of the program file, at most 15 bytes. */
  comm: string;
  /** Its arguments with blanks between them; empty for a zombie. */
  cmdline: string;
  /** When it started, in clock ticks since boot. With the pid it names one process and no later one. */
  startTime: string;
  /** What it was started with; empty when that cannot be read. */
  environ: string[];
  ports: SeenPort[];
}

/** Everything that runs on this machine, by pid. */
export type Look = Map<number, SeenProcess>;

/**
 * One look at /proc from outside, by code that shares nothing with what it judges.
 *
 * It is made without a pause and from the newest process down, so that one which forks and exits has the least time to
 * slip through.
 */
export function look(): Look {
  const seen: Look = new Map();
  const pids = readdirSync("/proc").flatMap((name) => (/^\d+$/.test(name) ? [Number(name)] : []));
  for (const pid of pids.sort((a, b) => b - a)) {
    const process = seeProcess(pid);
    if (process) seen.set(process.pid, process);
  }
  return seen;
}

/** The same with the ports, which cost a look at every descriptor of those asked for. */
export function lookAtPorts(processes: Iterable<SeenProcess>): SeenPort[] {
  const sockets = listeningSockets();
  const ports: SeenPort[] = [];
  for (const process of processes) {
    process.ports = inodesOf(process.pid).flatMap((inode) => {
      const socket = sockets.get(inode);
      return socket ? [{ ...socket, inode, pid: process.pid }] : [];
    });
    ports.push(...process.ports);
  }
  return ports;
}

/** Whether a process does something, or could: a zombie only waits to be asked how it ended. */
export function isLiving({ state }: SeenProcess): boolean {
  return state !== "Z" && state !== "X";
}

/** Whether a process was started with a `NAME=value` pair. */
export function carries(pid: number, mark: string): boolean {
  return wordsOf(pid, "environ").includes(mark);
}

/** Whether two looks saw one and the same process. */
export function isSame(one: SeenProcess | undefined, other: SeenProcess | undefined): boolean {
  return one !== undefined && one.pid === other?.pid && one.startTime === other.startTime;
}

export interface TreeOf {
  /** A `NAME=value` pair that only processes of the tree were started with. */
  mark: string;
  /** Pids that the tree wrote down. Those with a cleared environment are in `bare` as well. */
  listed: ReadonlySet<number>;
  bare: ReadonlySet<number>;
  /** Processes that were of the tree in an earlier look. */
  earlier?: Iterable<SeenProcess>;
}

/**
 * The processes of a tree: those that carry its mark, those that it wrote down, those that were of it before, and
 * whatever descends from one of them or is in its group or session.
 *
 * A pid alone is no proof, since it may be somebody else's by now: what was written down counts when it carries the
 * mark, is a zombie, or said that it cleared its environment.
 */
export function treeIn(seen: Look, { mark, listed, bare, earlier = [] }: TreeOf): SeenProcess[] {
  const tree = new Set<SeenProcess>();
  for (const process of seen.values()) {
    const { pid } = process;
    if (process.environ.includes(mark)) tree.add(process);
    else if (listed.has(pid) && (bare.has(pid) || !isLiving(process))) tree.add(process);
  }
  for (const process of earlier) {
    const now = seen.get(process.pid);
    if (isSame(now, process)) tree.add(now!);
  }
  for (let size = -1; size !== tree.size; ) {
    size = tree.size;
    const pids = new Set([...tree].map(({ pid }) => pid));
    for (const process of seen.values()) {
      if (pids.has(process.ppid) || pids.has(process.pgid) || pids.has(process.session)) tree.add(process);
    }
  }
  return [...tree].sort((a, b) => a.pid - b.pid);
}

/**
 * Those of a tree that are left: what is alive, and zombies whose parent is of the tree and alive. Other zombies wait
 * for a parent that nobody here can hurry.
 */
export function survivorsOf(tree: readonly SeenProcess[]): SeenProcess[] {
  const living = new Set(tree.filter(isLiving).map(({ pid }) => pid));
  return tree.filter(({ pid, ppid }) => living.has(pid) || living.has(ppid));
}

/** A process in a line, for the message of a test that fails. */
export function inWords({ pid, ppid, pgid, session, state, comm, cmdline }: SeenProcess): string {
  return `${pid} ${state} parent ${ppid} group ${pgid} session ${session}: ${cmdline || `[${comm}]`}`;
}

function seeProcess(pid: number): SeenProcess | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The name may hold blanks and parentheses; the fields begin after its last one (proc(5)).
    const end = stat.lastIndexOf(")");
    const fields = stat.slice(end + 2).split(" ");
    const seen: SeenProcess = {
      pid,
      ppid: Number(fields[1]),
      pgid: Number(fields[2]),
      session: Number(fields[3]),
      state: fields[0]!,
      comm: stat.slice(stat.indexOf("(") + 1, end),
      cmdline: "",
      startTime: fields[19]!,
      environ: [],
      ports: [],
    };
    // Zombies have neither, and there may be thousands of them.
    if (!isLiving(seen)) return seen;
    return { ...seen, cmdline: wordsOf(pid, "cmdline").join(" "), environ: wordsOf(pid, "environ") };
  } catch {
    // It ended while it was looked at.
    return undefined;
  }
}

function wordsOf(pid: number, file: "cmdline" | "environ"): string[] {
  try {
    const text = readFileSync(`/proc/${pid}/${file}`, "utf8");
    return text === "" ? [] : text.replace(/\0$/, "").split("\0");
  } catch {
    // It ended while it was looked at, or is somebody else's.
    return [];
  }
}

function inodesOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? [];
      } catch {
        return [];
      }
    });
  } catch {
    return [];
  }
}

/** TCP_LISTEN, and TCP_CLOSE, which is the state of a UDP socket that is not connected (net/tcp_states.h). */
const WAITING = { tcp: "0A", udp: "07" } as const;

function listeningSockets(): Map<string, Omit<SeenPort, "pid" | "inode">> {
  const sockets = new Map<string, Omit<SeenPort, "pid" | "inode">>();
  for (const protocol of ["tcp", "udp"] as const) {
    for (const file of [protocol, `${protocol}6`]) {
      for (const line of netTable(file)) {
        const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
        if (state !== WAITING[protocol] || inode === "0") continue;
        const [address, port] = local!.split(":");
        sockets.set(inode!, { protocol, address: addressOf(address!), port: Number.parseInt(port!, 16) });
      }
    }
  }
  return sockets;
}

function netTable(file: string): string[] {
  try {
    return readFileSync(`/proc/net/${file}`, "latin1").trimEnd().split("\n").slice(1);
  } catch {
    // A kernel without IPv6 has no such table.
    return [];
  }
}

/** The tables hold addresses as 32-bit words in the byte order of the machine, which is little-endian. */
function addressOf(hex: string): string {
  const bytes = (hex.match(/.{8}/g) ?? []).flatMap((word) => [...Buffer.from(word, "hex").reverse()]);
  if (bytes.length === 4) return bytes.join(".");
  const groups = Array.from({ length: 8 }, (_, i) => (bytes[2 * i]! * 256 + bytes[2 * i + 1]!).toString(16));
  return new URL(`http://[${groups.join(":")}]`).hostname.slice(1, -1);
}
