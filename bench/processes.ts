import { existsSync, readdirSync, readFileSync } from "node:fs";

/** Whether this system says in files what its processes use. */
export const HAS_PROC = existsSync("/proc/self/schedstat");

export interface FoundProcess {
  pid: number;
  parent: number;
  command: string;
}

/** The processes whose environment or arguments hold `mark`. */
export function processesWith(mark: string): FoundProcess[] {
  if (!HAS_PROC) return [];
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      const pid = Number(name);
      const command = read(pid, "cmdline").replaceAll("\0", " ").trim();
      // One that has ended and waits for its parent has neither.
      if (command === "" || !(command.includes(mark) || read(pid, "environ").includes(mark))) return [];
      return [{ pid, parent: Number(/^PPid:\s+(\d+)/m.exec(read(pid, "status"))?.[1]), command }];
    });
}

/** Resident memory in MB (10^6 bytes); 0 when the process is gone. */
export function residentMb(pid: number): number {
  return (Number(/^VmRSS:\s+(\d+)/m.exec(read(pid, "status"))?.[1] ?? 0) * 1024) / 1e6;
}

/** Processor time so far in milliseconds, of all threads that live; exact, where `stat` counts in steps of 10 ms. */
export function processorMs(pid: number): number {
  return (
    tasks(pid).reduce((sum, task) => sum + Number(read(pid, `task/${task}/schedstat`).split(" ")[0]), 0) / 1e6
  );
}

/** Bytes that a process has handed to write calls. */
export function writtenBytes(pid: number): number {
  return Number(/^wchar: (\d+)/m.exec(read(pid, "io"))?.[1] ?? 0);
}

function tasks(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
}

/** Processes end while one looks at them, and those of others cannot be read: neither has anything to tell. */
function read(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "latin1");
  } catch {
    return "";
  }
}
