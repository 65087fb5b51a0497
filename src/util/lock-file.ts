import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { link, readFile, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { makePrivateFolder } from "./private-folder.js";
import { VERSION } from "./version.js";

/** Who holds a lock. */
export interface LockHolder {
  pid: number;
  /** When it was taken, as an ISO time. */
  since: string;
  /** What the holder says of itself, such as the address it serves. */
  note: string;
  /** The holder's version of cerver. */
  version?: string;
}

interface StoredHolder extends LockHolder {
  /** Tells a holder from another process that got the same pid later. */
  started: string | null;
}

export interface Lock {
  /** Changes what others read about the holder. */
  note(text: string): Promise<void>;
  release(): Promise<void>;
}

/**
 * Takes a lock file for this process, or tells who holds it.
 *
 * The lock of a process that is gone is taken over, so a crash never leaves anything locked.
 */
export async function takeLock(path: string, note: string): Promise<Lock | LockHolder> {
  await makePrivateFolder(dirname(path));
  const mine: StoredHolder = {
    pid: process.pid,
    since: new Date().toISOString(),
    note,
    version: VERSION,
    started: startOf(process.pid),
  };
  for (let attempt = 0; ; attempt++) {
    if (await place(path, mine)) {
      return {
        note: (text) => writeFile(path, JSON.stringify({ ...mine, note: text }), { mode: 0o600 }),
        release: () => rm(path, { force: true }),
      };
    }
    const holder = await read(path);
    if (holder && isAlive(holder)) return holder;
    if (attempt === 3) return holder ?? { pid: 0, since: "unknown", note: "" };
    await rm(path, { force: true });
  }
}

/** Who holds a lock file now; undefined when nobody who is alive does. */
export async function lockHolder(path: string): Promise<LockHolder | undefined> {
  const holder = await read(path);
  return holder && isAlive(holder) ? holder : undefined;
}

/** Whether what {@link takeLock} returned is a lock. */
export function isLock(result: Lock | LockHolder): result is Lock {
  return "release" in result;
}

/** Puts the file there whole, unless one is there: a link appears with its content or not at all. */
async function place(path: string, holder: StoredHolder): Promise<boolean> {
  const temporary = `${path}.${randomUUID()}`;
  await writeFile(temporary, JSON.stringify(holder), { mode: 0o600, flag: "wx" });
  try {
    await link(temporary, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  } finally {
    await rm(temporary, { force: true });
  }
}

async function read(path: string): Promise<StoredHolder | undefined> {
  try {
    const holder = JSON.parse(await readFile(path, "utf8")) as StoredHolder;
    return Number.isInteger(holder.pid) ? holder : undefined;
  } catch {
    return undefined;
  }
}

function isAlive({ pid, started }: StoredHolder): boolean {
  if (pid === process.pid) return started === startOf(pid);
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EPERM") return false;
  }
  return started === null || started === startOf(pid);
}

/** When a process started, in clock ticks since boot (proc(5), field 22); null where there is no /proc. */
function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? null;
  } catch {
    return null;
  }
}
