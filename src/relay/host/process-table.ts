import { execFile } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** One process as the system shows it. */
export interface ProcessInfo {
  pid: number;
  ppid: number;
  pgid: number;
  session: number;
  /** Z and X are dead: they only wait to be reaped by their parent. */
  state: string;
  /** Tells a process from another one that gets its pid later. Empty where the system does not say. */
  startedAt: string;
}

export const MAX_COMMAND_LENGTH = 200;

export const hasProc = process.platform === "linux";

/** Every process that is alive, without this one. */
export async function aliveProcesses(): Promise<Iterable<ProcessInfo>> {
  return hasProc ? procProcesses() : psProcesses();
}

/**
 * Reads /proc as it is asked for the next one, newest first and in one go: whoever forks while it is looked for has less time
 * to get away.
 */
function* procProcesses(): Generator<ProcessInfo> {
  const pids = readdirSync("/proc").flatMap((name) => (name >= "0" && name <= "9~" ? Number(name) : []));
  for (const pid of pids.sort((a, b) => b - a)) {
    const info = pid === process.pid ? undefined : processInfo(pid);
    if (info && isAlive(info)) yield info;
  }
}

/** What the system knows of one process (proc(5)); undefined when there is none, or no /proc. */
export function processInfo(pid: number): ProcessInfo | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The name in parentheses may hold anything; the fields begin after its last one.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return {
      pid,
      state: fields[0]!,
      ppid: Number(fields[1]),
      pgid: Number(fields[2]),
      session: Number(fields[3]),
      startedAt: fields[19]!,
    };
  } catch {
    return undefined;
  }
}

export function isAlive({ state }: ProcessInfo): boolean {
  return state !== "Z" && state !== "X";
}

/** Whether a process inherited this `NAME=value`. What belongs to others cannot be read, and is not ours. */
export function hasMark(pid: number, mark: string): boolean {
  try {
    return `\0${readFileSync(`/proc/${pid}/environ`, "latin1")}`.includes(`\0${mark}\0`);
  } catch {
    return false;
  }
}

/** The value of a variable in a process's environment. */
export function variableOf(pid: number, name: string): string | undefined {
  try {
    const environ = `\0${readFileSync(`/proc/${pid}/environ`, "latin1")}`;
    const at = environ.indexOf(`\0${name}=`);
    return at < 0 ? undefined : environ.slice(at + name.length + 2).split("\0", 1)[0];
  } catch {
    return undefined;
  }
}

/** The command line of a process, for people, so much of it; its name in brackets when it has none. */
export function commandOf(pid: number, maxLength: number = MAX_COMMAND_LENGTH): string {
  try {
    const line = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
    if (line !== "") return line.slice(0, maxLength);
    return `[${readFileSync(`/proc/${pid}/comm`, "utf8").trim()}]`;
  } catch {
    return "";
  }
}

export interface ListeningPort {
  port: number;
  protocol: "tcp" | "tcp6" | "udp" | "udp6";
  address: string;
  pid: number;
}

/** The TCP ports that these processes listen on, and the UDP ports they have bound. Empty where there is no /proc. */
export function portsOf(pids: readonly number[]): ListeningPort[] {
  if (!hasProc || pids.length === 0) return [];
  const owners = new Map<string, number>();
  for (const pid of pids) {
    let fds: string[];
    try {
      fds = readdirSync(`/proc/${pid}/fd`);
    } catch {
      continue;
    }
    for (const fd of fds) {
      try {
        const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1];
        if (inode !== undefined && !owners.has(inode)) owners.set(inode, pid);
      } catch {
        // Closed while it was looked at.
      }
    }
  }
  if (owners.size === 0) return [];
  return openPorts().flatMap(({ inode, ...port }) => {
    const pid = owners.get(inode);
    return pid === undefined ? [] : [{ ...port, pid }];
  });
}

/** Which of these ports nobody holds any more. */
export function freedOf(ports: readonly ListeningPort[]): ListeningPort[] {
  if (ports.length === 0) return [];
  const held = new Set(openPorts().map(({ protocol, address, port }) => `${protocol} ${address} ${port}`));
  return ports.filter(({ protocol, address, port }) => !held.has(`${protocol} ${address} ${port}`));
}

/** Every TCP port that is listened on and every UDP port that is bound, whoever has it. */
export function openPorts(): (Omit<ListeningPort, "pid"> & { inode: string })[] {
  return (["tcp", "tcp6", "udp", "udp6"] as const).flatMap((protocol) => {
    let text: string;
    try {
      text = readFileSync(`/proc/net/${protocol}`, "latin1");
    } catch {
      return [];
    }
    // State 0A is LISTEN; a UDP socket that is bound and not connected is in state 07.
    const wanted = protocol.startsWith("tcp") ? "0A" : "07";
    return text
      .split("\n")
      .slice(1)
      .flatMap((line) => {
        const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
        if (state !== wanted || !local || !inode) return [];
        const [address, port] = local.split(":");
        return [{ protocol, address: readAddress(address!), port: Number.parseInt(port!, 16), inode }];
      });
  });
}

/** The kernel prints addresses as 32-bit words in its own byte order. */
function readAddress(hex: string): string {
  const words = hex.match(/.{8}/g)!.map((word) => word.match(/../g)!.reverse());
  if (words.length === 1) return words[0]!.map((byte) => Number.parseInt(byte, 16)).join(".");
  const groups = words.flatMap(([a, b, c, d]) => [`${a}${b}`, `${c}${d}`]);
  return new URL(`http://[${groups.join(":")}]`).hostname.slice(1, -1);
}

/** Where there is no /proc, `ps` knows the groups; marks and ports cannot be read. */
async function psProcesses(): Promise<ProcessInfo[]> {
  const text = await new Promise<string>((resolve) => {
    execFile("ps", ["-A", "-o", "pid=,ppid=,pgid=,sess=,state="], (error, stdout) =>
      resolve(error ? "" : stdout),
    );
  });
  return text.split("\n").flatMap((line) => {
    const [pid, ppid, pgid, session, state] = line.trim().split(/\s+/);
    if (!state || state.startsWith("Z") || Number(pid) === process.pid) return [];
    return [
      {
        pid: Number(pid),
        ppid: Number(ppid),
        pgid: Number(pgid),
        session: Number(session),
        state,
        startedAt: "",
      },
    ];
  });
}
