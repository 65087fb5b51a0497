import { randomUUID } from "node:crypto";
import { access, constants, rm, stat, statfs, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Finding, Probe } from "./probe.js";

const MIB = 1024 * 1024;
/** A run's journal alone may take this much. */
const LITTLE_BYTES = 1024 * MIB;
const TOO_LITTLE_BYTES = 64 * MIB;
/** More than what a file system keeps beside its records: it really has to find room. */
const TRIAL_BYTES = 64 * 1024;

/** Whether the state folder, or where it will be, can be written, and what room there is. */
export const diskProbe: Probe = {
  name: "disk",
  async run({ cli: { paths } }) {
    const folder = paths.state;
    const at = await nearestFolder(folder);
    const problem = await writeTrial(at, at === folder);
    if (problem) return unwritable(problem, folder);
    const { bavail, bsize } = await statfs(at);
    const free = bavail * bsize;
    const what = `${inWords(free)} free for ${folder}`;
    if (free >= LITTLE_BYTES) return { status: "ok", what };
    return {
      status: free < TOO_LITTLE_BYTES ? "fail" : "warn",
      what: `only ${what}`,
      fix: `Free some space there; what sessions hold: du -sh ${join(folder, "*")}`,
    };
  },
};

async function nearestFolder(path: string): Promise<string> {
  for (let folder = path; ; folder = dirname(folder)) {
    const found = await stat(folder).catch(() => undefined);
    if (found || folder === dirname(folder)) return folder;
  }
}

/** Writes a little and removes it again. In a folder that is not cerver's own, it is only asked whether it could. */
async function writeTrial(folder: string, isOwn: boolean): Promise<NodeJS.ErrnoException | undefined> {
  const file = join(folder, `.doctor-${randomUUID()}`);
  try {
    if (!(await stat(folder)).isDirectory()) return Object.assign(new Error(), { code: "ENOTDIR" });
    if (isOwn) await writeFile(file, Buffer.alloc(TRIAL_BYTES), { flag: "wx", mode: 0o600 });
    else await access(folder, constants.W_OK);
    return undefined;
  } catch (error) {
    return error as NodeJS.ErrnoException;
  } finally {
    if (isOwn) await rm(file, { force: true }).catch(() => {});
  }
}

function unwritable({ code, message }: NodeJS.ErrnoException, folder: string): Finding {
  if (code === "ENOSPC" || code === "EDQUOT")
    return { status: "fail", what: `the disk of ${folder} is full (${code})`, fix: "Free some space there." };
  return {
    status: "fail",
    what: `${folder} cannot be written (${code ?? message})`,
    fix: "Make it writable for this user, or name another place with XDG_STATE_HOME.",
  };
}

function inWords(bytes: number): string {
  return bytes >= 10 * 1024 * MIB
    ? `${Math.floor(bytes / MIB / 1024)} GiB`
    : `${Math.floor(bytes / MIB)} MiB`;
}
