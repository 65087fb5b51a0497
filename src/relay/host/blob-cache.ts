import { createHash, randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { copyFile, lstat, open, readdir, rename, rm, utimes } from "node:fs/promises";
import { join } from "node:path";
import { Bounded, eachOf } from "../../util/each-of.js";
import { makePrivateFolder } from "../../util/private-folder.js";
import { removeTree } from "./remove-tree.js";
import { chunksOf } from "./tree.js";

/** How much is kept, in bytes, and how large one file of it may be. */
const MAX_CACHE_BYTES = 512 * 1024 * 1024;
const MAX_CACHED_FILE_BYTES = 64 * 1024 * 1024;
const MAX_CACHED_FILES = 50_000;
const FILES_AT_ONCE = 4;

/**
 * Contents of files that were carried to this machine, named by their SHA-256, so that a folder that comes again does
 * not have to travel again. What was used longest ago goes first.
 */
export class BlobCache {
  readonly #folder: string;
  #index: Promise<Map<string, number>> | undefined;
  #bytes = 0;

  constructor(stateDir: string) {
    this.#folder = join(stateDir, "carried");
  }

  /**
   * Copies a content to a path where nothing is. False when it is not here or no longer what its name says, and when
   * that cannot be found out: then it travels, and what is wrong with the cache is said by {@link keep}.
   */
  take(sha256: string, path: string): Promise<boolean> {
    return this.#take(sha256, path).catch(() => false);
  }

  async #take(sha256: string, path: string): Promise<boolean> {
    const index = await this.#known();
    const size = index.get(sha256);
    if (size === undefined) return false;
    const cached = join(this.#folder, sha256);
    if (!(await copyVerified(cached, path, sha256))) {
      await this.#remove(index, sha256);
      return false;
    }
    index.delete(sha256);
    index.set(sha256, size);
    const now = new Date();
    await utimes(cached, now, now).catch(() => {});
    return true;
  }

  /** Keeps copies of files that were verified a moment ago. */
  async keep(
    files: Iterable<{ sha256: string; size: number; path: string }>,
    signal: AbortSignal,
  ): Promise<void> {
    const index = await this.#known();
    const copying = new Bounded(FILES_AT_ONCE);
    let room = MAX_CACHE_BYTES;
    for (const { sha256, size, path } of files) {
      if (signal.aborted) break;
      if (index.has(sha256) || size === 0 || size > MAX_CACHED_FILE_BYTES) continue;
      // More than fits would only push out what came a moment before.
      room -= size;
      if (room < 0) break;
      await copying.add(async () => {
        if (!(await this.#copy(path, sha256))) return;
        index.set(sha256, size);
        this.#bytes += size;
      });
    }
    await copying.done();
    for (const sha256 of index.keys()) {
      if (this.#bytes <= MAX_CACHE_BYTES && index.size <= MAX_CACHED_FILES) break;
      await this.#remove(index, sha256);
    }
  }

  /** What is here, and how large: what was used last is last. */
  #known(): Promise<Map<string, number>> {
    this.#index ??= this.#read().catch((error) => {
      this.#index = undefined;
      throw error;
    });
    return this.#index;
  }

  async #read(): Promise<Map<string, number>> {
    await makePrivateFolder(this.#folder);
    const found: { sha256: string; size: number; usedAt: number }[] = [];
    await eachOf(await readdir(this.#folder), FILES_AT_ONCE, async (name) => {
      const path = join(this.#folder, name);
      const entry = await lstat(path);
      // A copy that was cut off has another name.
      if (!/^[0-9a-f]{64}$/.test(name) || !entry.isFile()) return removeTree(path);
      found.push({ sha256: name, size: entry.size, usedAt: entry.mtimeMs });
    });
    found.sort((a, b) => a.usedAt - b.usedAt);
    this.#bytes = found.reduce((sum, { size }) => sum + size, 0);
    return new Map(found.map(({ sha256, size }) => [sha256, size]));
  }

  async #remove(index: Map<string, number>, sha256: string): Promise<void> {
    this.#bytes -= index.get(sha256) ?? 0;
    index.delete(sha256);
    await removeTree(join(this.#folder, sha256));
  }

  /** False when it cannot be kept, which is no failure of anything. */
  async #copy(path: string, sha256: string): Promise<boolean> {
    const temporary = join(this.#folder, `.${randomUUID()}`);
    try {
      // Where the file system can, a copy shares its blocks until one of both changes.
      await copyFile(path, temporary, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
      await rename(temporary, join(this.#folder, sha256));
      return true;
    } catch {
      await rm(temporary, { force: true });
      return false;
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
    let isRight = false;
    try {
      for await (const chunk of chunksOf(source)) {
        hash.update(chunk);
        await target.writeFile(chunk);
      }
      isRight = hash.digest("hex") === sha256;
    } finally {
      await target.close();
      if (!isRight) await rm(to, { force: true });
    }
    return isRight;
  } finally {
    await source.close();
  }
}
