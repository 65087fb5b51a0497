import { constants } from "node:fs";
import { chmod, lstat, open, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { isStagingName } from "./staging-name.js";

/** Removes a folder with all that is in it, also where folders are not writable, as those of Go's module cache. */
export async function removeTree(path: string): Promise<void> {
  const options = { recursive: true, force: true, maxRetries: 3, retryDelay: 50 };
  try {
    await rm(path, options);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "EACCES" && code !== "EPERM") throw error;
    await makeWritable(path);
    await rm(path, options);
  }
}

/** Removes what is in a folder, but for what is staged there, and leaves the folder. */
export async function emptyFolder(path: string): Promise<void> {
  for (const name of await namesIn(path)) await removeTree(join(path, name));
}

/** The names in a folder, but for what is staged there. */
export async function namesIn(path: string): Promise<string[]> {
  return (await readdir(path)).filter((name) => !isStagingName(name));
}

/** Moves something to a place on the same disk where nothing is. A folder that is not writable stays so. */
export async function moveEntry(from: string, to: string): Promise<void> {
  const found = await lstat(from);
  const locked = found.isDirectory() && (found.mode & 0o200) === 0;
  if (locked) await setFolderMode(from, (found.mode & 0o777) | 0o700);
  await rename(from, to);
  if (locked) await setFolderMode(to, found.mode & 0o777);
}

/** Sets the mode of a folder; a link in its place is not followed. */
export async function setFolderMode(path: string, mode: number): Promise<void> {
  const folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    await folder.chmod(mode);
  } finally {
    await folder.close();
  }
}

async function makeWritable(path: string): Promise<void> {
  if (!(await lstat(path)).isDirectory()) return;
  await chmod(path, 0o700);
  for (const entry of await readdir(path, { withFileTypes: true })) {
    if (entry.isDirectory()) await makeWritable(join(path, entry.name));
  }
}
