import { readdirSync, readFileSync } from "node:fs";

/** The fields of /proc/PID/stat after the program's name: state, parent, group, session and so on. */
export function statOf(pid: number): string[] | undefined {
  try {
    return readFileSync(`/proc/${pid}/stat`, "latin1")
      .replace(/^.*\) /s, "")
      .split(" ");
  } catch {
    return undefined;
  }
}

export function isAlive(pid: number): boolean {
  return !["Z", undefined].includes(statOf(pid)?.[0]);
}

export function childrenOf(ppid: number): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => statOf(pid)?.[1] === String(ppid));
}

/** The launcher that a process started. */
export function launcherOf(ppid: number): number {
  const found = childrenOf(ppid).filter((pid) =>
    readFileSync(`/proc/${pid}/cmdline`, "latin1").startsWith("cerver-launcher"),
  );
  if (found.length !== 1) throw new Error(`Process ${ppid} has ${found.length} launchers.`);
  return found[0]!;
}
