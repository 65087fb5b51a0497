import { createHash } from "node:crypto";
import { constants, type Dirent } from "node:fs";
import { type FileHandle, lstat, open, readdir, readlink, realpath } from "node:fs/promises";
import { join } from "node:path";
import { CerverError } from "../../protocol/errors.js";
import {
  type FileEntry,
  type LeftBehind,
  type LeftBehindReason,
  MAX_NAMED_FILES,
  MAX_TREE_ENTRIES,
  MAX_TREE_PATH_BYTES,
  type TreeEntry,
} from "../../protocol/tree.js";
import { eachOf } from "../../util/each-of.js";
import { refuseOutside } from "./files.js";
import { isIgnored, parseIgnoreFile, type RuleFile } from "./gitignore.js";
import { looksSecret } from "./secret-files.js";
import { isStagingName } from "./staging-name.js";
import { byteText, treeHash } from "./tree-hash.js";

const FILES_AT_ONCE = 8;
const READ_BYTES = 256 * 1024;
const MAX_RULE_FILE_BYTES = 1024 * 1024;

/** What is in a folder. */
export interface Tree {
  hash: string;
  /** Sorted by the bytes of their paths, so a folder comes before what is in it. */
  entries: TreeEntry[];
  files: number;
  bytes: number;
  /** Files that git ignores and that look like secrets, unless they are to be left behind. */
  refused: { paths: string[]; count: number };
  leftBehind: { files: LeftBehind[]; count: number };
}

export interface TreeOptions {
  maxBytes: number;
  maxEntries?: number;
  signal?: AbortSignal;
  /** What git ignores is looked at: `leave` names ignored secrets as left behind, `refuse` as refused. */
  secrets: "refuse" | "leave" | "carry";
  skipIgnored?: boolean;
}

/** Reads a folder, whose path has to be real. Links are never followed. */
export async function readTree(root: string, options: TreeOptions): Promise<Tree> {
  const walk = new Walk(root, options);
  await walk.folder("", [], { ignored: false, inGit: false });
  await eachOf(walk.files, FILES_AT_ONCE, (file) => walk.hash(file));
  return walk.tree();
}

/**
 * Opens a file of a folder for reading. What was opened is what is checked: a link that something puts in its way, or
 * in the way of a folder above it, is not followed out.
 */
export async function openInside(root: string, path: string): Promise<FileHandle> {
  const full = join(root, path);
  const file = await open(full, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    await refuseOutside(file, full, root, path);
    if (!(await file.stat()).isFile())
      throw Object.assign(new Error("not a regular file"), { code: "ENOENT" });
    return file;
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** The bytes of an open file in pieces. A piece is good until the next one is asked for. */
export async function* chunksOf(file: FileHandle, chunkBytes = READ_BYTES): AsyncGenerator<Uint8Array> {
  const buffer = Buffer.allocUnsafe(Math.min(chunkBytes, (await file.stat()).size + 1));
  for (;;) {
    const { bytesRead } = await file.read(buffer, 0, buffer.length, null);
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
  }
}

interface Place {
  /** A folder above is ignored, and so is all that is in it. */
  ignored: boolean;
  /** Inside of a `.git`, to which no rules apply. */
  inGit: boolean;
}

/** One reading of a folder. */
class Walk {
  readonly files: FileEntry[] = [];
  readonly #root: string;
  readonly #options: TreeOptions;
  readonly #found: { key: string; entry: TreeEntry }[] = [];
  readonly #dropped = new Set<TreeEntry>();
  readonly #refused: { paths: string[]; count: number } = { paths: [], count: 0 };
  readonly #leftBehind: { files: LeftBehind[]; count: number } = { files: [], count: 0 };
  #seen = 0;
  #bytes = 0;

  constructor(root: string, options: TreeOptions) {
    this.#root = root;
    this.#options = options;
  }

  /** `at` is the folder's path, empty for the root. */
  async folder(at: string, above: readonly RuleFile[], place: Place): Promise<void> {
    const names = await this.#list(at);
    if (!names) return;
    const rules =
      this.#options.secrets === "carry" || place.inGit ? above : await this.#rules(at, names, above);
    for (const entry of names) {
      this.#options.signal?.throwIfAborted();
      if (at === "" && isStagingName(entry.name.toString())) continue;
      await this.#one(at, entry.name, rules, place);
    }
  }

  /** Fills in a file's size and hash, by its bytes. */
  async hash(entry: FileEntry): Promise<void> {
    this.#options.signal?.throwIfAborted();
    const file = await openInside(this.#root, entry.path).catch((error) => this.#drop(entry, error));
    if (!file) return;
    try {
      const hash = createHash("sha256");
      let size = 0;
      for await (const chunk of chunksOf(file)) {
        this.#options.signal?.throwIfAborted();
        size += chunk.length;
        this.#count(chunk.length);
        hash.update(chunk);
      }
      const { mode, mtimeMs } = await file.stat();
      entry.mode = mode & 0o777;
      entry.mtime_ms = Math.max(0, Math.round(mtimeMs));
      entry.size = size;
      entry.sha256 = hash.digest("hex");
    } finally {
      await file.close();
    }
  }

  tree(): Tree {
    const entries = this.#found
      .filter(({ entry }) => !this.#dropped.has(entry))
      .sort((a, b) => (a.key < b.key ? -1 : 1))
      .map(({ entry }) => entry);
    return {
      hash: treeHash(entries),
      entries,
      files: this.files.length - this.#dropped.size,
      bytes: this.#bytes,
      refused: this.#refused,
      leftBehind: this.#leftBehind,
    };
  }

  async #one(at: string, nameBytes: Buffer, rules: readonly RuleFile[], place: Place): Promise<void> {
    const { maxEntries = MAX_TREE_ENTRIES } = this.#options;
    if (++this.#seen > maxEntries) throw tooManyEntries(maxEntries);
    const name = nameBytes.toString("utf8");
    const path = at === "" ? name : `${at}/${name}`;
    if (!Buffer.from(name, "utf8").equals(nameBytes)) return this.#leave(path, "name_not_utf8");
    if (Buffer.byteLength(path) > MAX_TREE_PATH_BYTES) return this.#leave(path, "path_too_long");
    const stat = await lstat(join(this.#root, path)).catch((error) => this.#unreadable(path, error));
    if (!stat) return;

    const inGit = place.inGit || name === ".git";
    const ignored = !inGit && (place.ignored || isIgnored(rules, byteText(path), stat.isDirectory()));
    if (ignored && (await this.#staysBehind(path, stat.isDirectory()))) return;
    if (stat.isDirectory()) {
      this.#add({ path, kind: "dir", mode: stat.mode & 0o777 });
      return this.folder(path, rules, { ignored, inGit });
    }
    if (stat.isFile()) {
      const entry: FileEntry = { path, kind: "file", mode: 0, size: stat.size, sha256: "" };
      this.files.push(entry);
      return this.#add(entry);
    }
    if (stat.isSymbolicLink()) return this.#link(path);
    this.#leave(path, stat.isSocket() ? "socket" : stat.isFIFO() ? "fifo" : "device");
  }

  /** Whether something that git ignores is not carried. */
  async #staysBehind(path: string, isFolder: boolean): Promise<boolean> {
    const { secrets, skipIgnored } = this.#options;
    const secret = !isFolder && (await looksSecret(path, () => this.#text(path)));
    if (secret && secrets === "refuse" && !skipIgnored) {
      this.#refused.count++;
      if (this.#refused.paths.length < MAX_NAMED_FILES) this.#refused.paths.push(path);
    } else if (secret || skipIgnored) {
      this.#leave(isFolder ? `${path}/` : path, secret ? "secret" : "ignored");
    }
    return secret || (skipIgnored ?? false);
  }

  async #link(path: string): Promise<void> {
    const bytes = await readlink(join(this.#root, path), { encoding: "buffer" }).catch((error) =>
      this.#unreadable(path, error),
    );
    if (!bytes) return;
    const target = bytes.toString("utf8");
    if (!Buffer.from(target, "utf8").equals(bytes)) return this.#leave(path, "name_not_utf8");
    this.#add({ path, kind: "symlink", target });
  }

  /** The names in a folder, unless a link took its place. */
  async #list(at: string): Promise<Dirent<Buffer>[] | undefined> {
    const full = join(this.#root, at);
    try {
      const names = await readdir(full, { withFileTypes: true, encoding: "buffer" });
      return (await realpath(full)) === full ? names : undefined;
    } catch (error) {
      this.#unreadable(`${at}/`, error);
      return undefined;
    }
  }

  async #rules(
    at: string,
    names: Dirent<Buffer>[],
    above: readonly RuleFile[],
  ): Promise<readonly RuleFile[]> {
    const own = new Set(names.map(({ name }) => name.toString("latin1")));
    const below = (path: string) => (at === "" ? path : `${at}/${path}`);
    const base = at === "" ? "" : `${byteText(at)}/`;
    const rules = [...above];
    for (const [name, path] of [
      [".git", ".git/info/exclude"],
      [".gitignore", ".gitignore"],
    ] as const) {
      if (!own.has(name)) continue;
      const file = parseIgnoreFile(await this.#beginning(below(path)), base, rules);
      if (file.rules.length > 0) rules.push(file);
    }
    return rules;
  }

  async #text(path: string): Promise<string> {
    return (await this.#beginning(path)).toString("utf8");
  }

  /** The beginning of a small file; nothing when there is none. */
  async #beginning(path: string): Promise<Buffer> {
    const file = await openInside(this.#root, path).catch(() => undefined);
    if (!file) return Buffer.alloc(0);
    try {
      const size = Math.min((await file.stat()).size, MAX_RULE_FILE_BYTES);
      const { buffer, bytesRead } = await file.read(Buffer.alloc(size), 0, size, 0);
      return buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  }

  #add(entry: TreeEntry): void {
    this.#found.push({ key: byteText(entry.path), entry });
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes > this.#options.maxBytes) throw tooManyBytes(this.#options.maxBytes);
  }

  #leave(path: string, reason: LeftBehindReason): void {
    this.#leftBehind.count++;
    if (this.#leftBehind.files.length < MAX_NAMED_FILES) this.#leftBehind.files.push({ path, reason });
  }

  /** A file that went away, or that this user may not read, while or before it was hashed. */
  #drop(entry: FileEntry, error: unknown): undefined {
    this.#dropped.add(entry);
    return this.#unreadable(entry.path, error);
  }

  #unreadable(path: string, error: unknown): undefined {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ELOOP" || code === "ENOTDIR" || code === "ENXIO") return;
    if (code !== "EACCES" && code !== "EPERM" && code !== "forbidden") throw error;
    this.#leave(path, "unreadable");
  }
}

function tooManyEntries(max: number): CerverError {
  return new CerverError(
    "too_large",
    `The folder holds more than ${max} files and folders, as many as are carried.`,
    {
      hint: "Leave what git ignores behind (skip_ignored), or remove what is not needed.",
    },
  );
}

export function tooManyBytes(max: number): CerverError {
  return new CerverError(
    "too_large",
    `The folder holds more than ${Math.floor(max / 1024 / 1024)} MiB, as much as is carried.`,
    {
      hint: "Leave what git ignores behind (skip_ignored), or start the relays of both machines with a larger --max-folder.",
    },
  );
}
