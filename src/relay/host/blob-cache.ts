import { createHash, randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { copyFile, open, readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { Bounded } from "../../util/each-of.js";
import { makePrivateFolder } from "../../util/private-folder.js";
import { chunksOf } from "./tree.js";

/** How much is kept, in bytes, and how large one file of it may be. */
const MAX_CACHE_BYTES = 512 * 1024 * 1024;
const MAX_CACHED_FILE_BYTES = 64 * 1024 * 1024;
const MAX_CACHED_FILES = 50_000;
const COPIES_AT_ONCE = 4;

/**
 * Contents of files that were carried to this machine, named by their SHA-256, so that a folder that comes again does
 * not have to travel again. What was used longest ago goes first.
 */
export class BlobCache {
  readonly #folder: string;

  constructor(stateDir: string) {
    this.#folder = join(stateDir, "carried");
  }

  /** Copies a content to a path where nothing is. False when it is not here, or no longer what its name says. */
  async take(sha256: string, path: string): Promise<boolean> {
    const cached = join(this.#folder, sha256);
    if (!(await copyVerified(cached, path, sha256))) {
      await rm(cached, { force: true });
      return false;
    }
    const now = new Date();
    await utimes(cached, now, now).catch(() => {});
    return true;
  }

  /** Keeps copies of files that were verified a moment ago. A cache that cannot be written is no failure. */
  async keep(
    files: Iterable<{ sha256: string; size: number; path: string }>,
    signal: AbortSignal,
  ): Promise<void> {
    await makePrivateFolder(this.#folder);
    const here = new Set(await readdir(this.#folder));
    let room = MAX_CACHE_BYTES;
    let places = MAX_CACHED_FILES;
    const copying = new Bounded(COPIES_AT_ONCE);
    for (const { sha256, size, path } of files) {
      if (signal.aborted) break;
      if (here.has(sha256) || size === 0 || size > MAX_CACHED_FILE_BYTES) continue;
      room -= size;
      if (room < 0 || --places < 0) break;
      here.add(sha256);
      await copying.add(() => this.#copy(path, sha256));
    }
    await copying.done();
    await this.#trim();
  }

  async #copy(path: string, sha256: string): Promise<void> {
    const temporary = join(this.#folder, `.${randomUUID()}`);
    try {
      // Where the file system can, a copy shares its blocks until one of both changes.
      await copyFile(path, temporary, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
      await rename(temporary, join(this.#folder, sha256));
    } catch {
      await rm(temporary, { force: true });
    }
  }

  async #trim(): Promise<void> {
    const files = [];
    for (const name of await readdir(this.#folder)) {
      const path = join(this.#folder, name);
      const found = await stat(path).catch(() => undefined);
      if (found) files.push({ path, size: found.size, usedAt: found.mtimeMs });
    }
    files.sort((a, b) => b.usedAt - a.usedAt);
    let bytes = 0;
    for (const [index, { path, size }] of files.entries()) {
      bytes += size;
      if (bytes > MAX_CACHE_BYTES || index >= MAX_CACHED_FILES) await rm(path, { force: true });
    }
  }
}

/** Copies a file if its bytes are those of this hash, and says whether they are. What is at the target must be nothing. */
export async function copyVerified(from: string, to: string, sha256: string): Promise<boolean> {
  const source = await open(from, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    () => undefined,
  );
  if (!source) return false;
  try {
    if (!(await source.stat()).isFile()) return false;
    const target = await open(to, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
    const hash = createHash("sha256");
    try {
      for await (const chunk of chunksOf(source)) {
        hash.update(chunk);
        await target.writeFile(chunk);
      }
    } finally {
      await target.close();
    }
    if (hash.digest("hex") === sha256) return true;
    await rm(to, { force: true });
    return false;
  } finally {
    await source.close();
  }
}
