import { createHash, type Hash } from "node:crypto";
import { constants } from "node:fs";
import { chmod, copyFile, mkdir, open, rename, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CerverError } from "../../protocol/errors.js";
import {
  type AppliedTree,
  type FileEntry,
  MAX_NAMED_FILES,
  MAX_PACK_BLOBS,
  MAX_PACK_BYTES,
  type MissingBlobs,
  type TreeEntry,
  type WrittenBlobs,
} from "../../protocol/tree.js";
import { Bounded, eachOf } from "../../util/each-of.js";
import { Turns } from "../../util/turns.js";
import { type BlobCache, copyVerified } from "./blob-cache.js";
import type { Manifest } from "./manifest.js";
import { decodePack, type PackedBlob } from "./pack.js";
import { emptyFolder, namesIn, removeTree, setFolderMode } from "./remove-tree.js";
import { Staging, type StagingPlace } from "./staging.js";
import { readTree, type Tree } from "./tree.js";
import { treeHash } from "./tree-hash.js";

interface IncomingOptions {
  place: StagingPlace;
  manifest: Manifest;
  /** The hash of what is in the folder, if that may be replaced. */
  replaces: string | undefined;
  cache: BlobCache;
  maxBytes: number;
  /** When a folder's content may be swapped: two sandboxes may have one folder, or one inside of the other's. */
  swaps: Turns;
}

/** A content, and the files that have it. */
interface Wanted {
  size: number;
  files: FileEntry[];
}

/** A content up to this size is checked in memory, and written while the next one is read. */
const SMALL_BYTES = 64 * 1024;
const FILES_AT_ONCE = 8;

/**
 * A tree on its way into a sandbox's folder.
 *
 * Its files come into a private place first, each under its verified hash. When all are there the tree is put together
 * in that place and moved into the folder as a whole; until then nothing in the folder changes.
 */
export class IncomingTree {
  readonly hash: string;
  readonly #options: IncomingOptions;
  readonly #staging: Staging;
  readonly #wanted = new Map<string, Wanted>();
  /** Contents that are here, and where. */
  readonly #here = new Map<string, string>();
  /** Contents that came with other bytes. */
  readonly #wrong = new Set<string>();
  #alreadyThere = false;
  #replacesSomething = false;
  #applied = false;
  /** A pack that is ending must not write into what the next one removes. */
  readonly #turns = new Turns();

  private constructor(options: IncomingOptions) {
    this.#options = options;
    this.#staging = new Staging(options.place);
    this.hash = options.manifest.hash;
    for (const entry of options.manifest.entries) {
      if (entry.kind !== "file") continue;
      const known = this.#wanted.get(entry.sha256);
      if (known) known.files.push(entry);
      else this.#wanted.set(entry.sha256, { size: entry.size, files: [entry] });
    }
  }

  /** Begins one: looks at the folder, and takes what this machine has already. */
  static async begin(options: IncomingOptions, signal: AbortSignal): Promise<IncomingTree> {
    const incoming = new IncomingTree(options);
    const before = await incoming.#before(signal);
    if (incoming.#alreadyThere) return incoming;
    await incoming.#staging.make();
    await mkdir(join(incoming.#staging.path, "blobs"), { mode: 0o700 });
    await incoming.#takeKnown(before, signal);
    return incoming;
  }

  get isApplied(): boolean {
    return this.#applied || this.#alreadyThere;
  }

  /** What is still to come, the next pack of it. */
  missing(): MissingBlobs {
    const blobs: MissingBlobs["blobs"] = [];
    let missing = 0;
    let bytes = 0;
    let packed = 0;
    for (const [sha256, { size }] of this.#alreadyThere ? [] : this.#wanted) {
      if (this.#here.has(sha256) || this.#wrong.has(sha256)) continue;
      missing++;
      bytes += size;
      const fits = blobs.length < MAX_PACK_BLOBS && packed + size <= MAX_PACK_BYTES;
      if (!fits && blobs.length > 0) continue;
      blobs.push({ sha256, size });
      packed += size;
    }
    const changed = [...this.#wrong]
      .slice(0, MAX_NAMED_FILES)
      .map((sha256) => this.#wanted.get(sha256)!.files[0]!.path);
    return { tree_hash: this.hash, missing, missing_bytes: bytes, blobs, changed };
  }

  /** Takes a pack. Contents that are not what their hash says are dropped, and named by {@link missing}. */
  write(pack: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<WrittenBlobs> {
    return this.#turns.take(async () => {
      const answer = { stored: 0, wrong: 0 };
      const writing = new Bounded(FILES_AT_ONCE);
      try {
        for await (const blob of decodePack(pack)) {
          signal.throwIfAborted();
          if (await this.#receive(blob, writing)) answer.stored++;
          else answer.wrong++;
        }
        await writing.done();
        return answer;
      } catch (error) {
        await writing.done().catch(() => {});
        throw diskError(error);
      }
    });
  }

  /** Puts the tree into the folder. When it fails, the folder is as it was before. */
  apply(signal: AbortSignal): Promise<{ answer: AppliedTree; tree: Tree }> {
    return this.#turns.take(async () => {
      const tree = await (this.#alreadyThere || this.#applied
        ? this.#lookAgain(signal)
        : this.#applyNow(signal));
      return {
        answer: { tree_hash: tree.hash, entries: tree.entries.length, files: tree.files, bytes: tree.bytes },
        tree,
      };
    });
  }

  /** Forgets it: what came and was not put into the folder is removed. */
  forget(): Promise<void> {
    return this.#turns.take(() => this.#staging.remove());
  }

  /** {@link forget}, and if it was put into an empty folder and nothing changed there since, empties that again. */
  async discard(signal: AbortSignal): Promise<void> {
    await this.forget();
    const { place, swaps } = this.#options;
    await this.#turns.take(async () => {
      if (!this.#applied || this.#replacesSomething) return;
      await swaps.take(async () => {
        if ((await this.#look(signal)).hash === this.hash) await emptyFolder(place.folder);
      });
      this.#applied = false;
    });
  }

  /** What is in the folder now, if that may be replaced. */
  async #before(signal: AbortSignal): Promise<Tree | undefined> {
    const { place, manifest, replaces } = this.#options;
    if ((await namesIn(place.folder)).length === 0) return undefined;
    const tree = await this.#look(signal);
    this.#alreadyThere = tree.hash === manifest.hash && tree.leftBehind.count === 0;
    this.#replacesSomething = !this.#alreadyThere;
    if (this.#alreadyThere || (tree.hash === replaces && tree.leftBehind.count === 0)) return tree;
    throw new CerverError("conflict", "The folder that the files are to come into is not empty.", {
      hint: "Carry it into a new sandbox, or say with `replaces` which tree may be replaced: the tree_hash of what is there now.",
      details: { tree_hash: tree.hash, entries: tree.entries.length },
    });
  }

  async #takeKnown(before: Tree | undefined, signal: AbortSignal): Promise<void> {
    const { place, cache } = this.#options;
    const known = new Map<string, string>();
    for (const entry of before?.entries ?? []) if (entry.kind === "file") known.set(entry.sha256, entry.path);
    await eachOf(this.#wanted.keys(), FILES_AT_ONCE, async (sha256) => {
      signal.throwIfAborted();
      const target = this.#blob(sha256);
      const path = known.get(sha256);
      const taken =
        (path !== undefined && (await copyVerified(join(place.folder, path), target, sha256))) ||
        (await cache.take(sha256, target));
      if (taken) this.#here.set(sha256, target);
    });
  }

  /** Takes one content out of a pack. False when its bytes are others. */
  async #receive({ sha256, chunks }: PackedBlob, writing: Bounded): Promise<boolean> {
    const wanted = this.#wanted.get(sha256);
    if (!wanted) {
      throw new CerverError("invalid_request", "A content was sent that the manifest does not name.", {
        hint: "Send what the answer of the manifest names as missing.",
      });
    }
    const bytes = withinSize(chunks, wanted);
    const path = this.#blob(sha256);
    const isKnown = this.#alreadyThere || this.#here.has(sha256);
    const hash = createHash("sha256");
    if (isKnown) {
      for await (const _ of bytes);
      return true;
    }
    if (wanted.size > SMALL_BYTES) {
      await writePart(`${path}.part`, bytes, hash);
      if (hash.digest("hex") === sha256) {
        await rename(`${path}.part`, path);
        this.#here.set(sha256, path);
        return true;
      }
      await rm(`${path}.part`);
    } else {
      const content = await gathered(bytes);
      if (hash.update(content).digest("hex") === sha256) {
        this.#here.set(sha256, path);
        await writing.add(async () => {
          await writeFile(path, content, { mode: 0o600, flag: "wx" }).catch((error) => {
            this.#here.delete(sha256);
            throw error;
          });
        });
        return true;
      }
    }
    this.#wrong.add(sha256);
    return false;
  }

  #blob(sha256: string): string {
    return join(this.#staging.path, "blobs", sha256);
  }

  /** Where the tree is put together. */
  get #root(): string {
    return join(this.#staging.path, "tree");
  }

  async #applyNow(signal: AbortSignal): Promise<Tree> {
    this.#refuseIncomplete();
    await this.#putTogether(signal);
    const tree = await this.#options.swaps.take(async () => {
      await this.#before(signal);
      return this.#moveIn(signal);
    });
    this.#applied = true;
    await this.#staging.remove();
    return tree;
  }

  async #lookAgain(signal: AbortSignal): Promise<Tree> {
    const tree = await this.#look(signal);
    if (tree.hash === this.hash) return tree;
    throw new CerverError("conflict", "The folder changed since the files came into it.", {
      hint: "Something is working in it. End its runs, then carry it again.",
    });
  }

  #refuseIncomplete(): void {
    const missing = this.#wanted.size - this.#here.size;
    if (missing === 0) return;
    throw new CerverError("conflict", `${missing} contents of the folder have not come yet.`, {
      hint: "Send what `GET .../tree/incoming/:carry` names, then apply again.",
    });
  }

  /** Makes the tree in the private place. Every folder on the way is one that was made here. */
  async #putTogether(signal: AbortSignal): Promise<void> {
    const { manifest } = this.#options;
    const root = this.#root;
    await removeTree(root);
    await mkdir(root, { mode: 0o700 });
    try {
      for (const { kind, path } of manifest.entries) {
        if (kind === "dir") await mkdir(join(root, path), { mode: 0o700 });
      }
      await eachOf(this.#wanted, FILES_AT_ONCE, async ([sha256, { files }]) => {
        signal.throwIfAborted();
        await this.#place(root, sha256, files);
      });
      for (const entry of manifest.entries) {
        if (entry.kind === "symlink") await symlink(entry.target, join(root, entry.path));
      }
      // Last, and from below: a folder may say that nothing can be written into it.
      for (const entry of manifest.entries.toReversed()) {
        if (entry.kind === "dir") await setFolderMode(join(root, entry.path), entry.mode);
      }
    } catch (error) {
      throw diskError(error);
    }
  }

  /** Makes the files of one content: copies of it, and at last the content itself. */
  async #place(root: string, sha256: string, files: readonly FileEntry[]): Promise<void> {
    const blob = this.#here.get(sha256)!;
    for (const [index, { path: name, mode, mtime_ms }] of files.entries()) {
      const path = join(root, name);
      if (index < files.length - 1) {
        await copyFile(blob, path, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
      } else {
        this.#here.delete(sha256);
        await rename(blob, path);
      }
      await chmod(path, mode);
      if (mtime_ms !== undefined) await utimes(path, new Date(), new Date(mtime_ms));
    }
  }

  /** Swaps the folder's content for the tree, or leaves it as it was. */
  async #moveIn(signal: AbortSignal): Promise<Tree> {
    const { manifest } = this.#options;
    try {
      await this.#staging.takeOut();
      await this.#staging.bringIn(this.#root);
      const now = await this.#look(signal);
      if (now.hash !== manifest.hash) throw differs(manifest, now);
      signal.throwIfAborted();
      await this.#staging.settle();
      return now;
    } catch (error) {
      await this.#staging.undo();
      throw diskError(error);
    }
  }

  #look(signal: AbortSignal): Promise<Tree> {
    const { place, maxBytes } = this.#options;
    return readTree(place.folder, { maxBytes, signal, secrets: "carry" });
  }
}

function differs({ entries }: Manifest, now: Tree): CerverError {
  const same = (entry: TreeEntry, other: TreeEntry | undefined) =>
    other !== undefined && treeHash([entry]) === treeHash([other]);
  const name = (entries.find((entry, index) => !same(entry, now.entries[index])) ?? now.entries.at(-1))?.path;
  return new CerverError(
    "conflict",
    `This machine cannot hold the folder as it was: "${name}" is not the same here.`,
    {
      hint: "Its file system may change names or modes. The folder was left as it was before.",
    },
  );
}

/** A content's bytes, while they are no more than it can have. */
async function* withinSize(
  chunks: AsyncIterable<Uint8Array>,
  { size, files }: Wanted,
): AsyncGenerator<Uint8Array> {
  let came = 0;
  for await (const chunk of chunks) {
    came += chunk.length;
    if (came > size + 1) {
      throw new CerverError("invalid_request", `More bytes came for "${files[0]!.path}" than it has.`);
    }
    yield chunk;
  }
}

async function gathered(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return Buffer.concat(parts);
}

async function writePart(path: string, chunks: AsyncIterable<Uint8Array>, hash: Hash): Promise<void> {
  const file = await open(
    path,
    constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW,
    0o600,
  );
  try {
    for await (const chunk of chunks) {
      hash.update(chunk);
      await file.writeFile(chunk);
    }
  } finally {
    await file.close();
  }
}

function diskError(error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new CerverError("provider_failed", "The disk of the receiving machine is full.", {
      hint: "Free some space there, then carry the folder again. Nothing of it was kept.",
      cause: error,
    });
  }
  if (code === "EEXIST" || code === "ENAMETOOLONG" || code === "EINVAL" || code === "EILSEQ") {
    return new CerverError(
      "conflict",
      "The receiving machine's file system cannot hold one of the names, or takes two for one.",
      {
        hint: "Rename it, or carry the folder to another machine. Nothing of it was kept.",
        cause: error,
      },
    );
  }
  return error;
}
