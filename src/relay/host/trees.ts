import { CerverError } from "../../protocol/errors.js";
import type { AppliedTree, FileEntry, MissingBlobs, WrittenBlobs } from "../../protocol/tree.js";
import type { Logger } from "../../util/logger.js";
import { Turns } from "../../util/turns.js";
import { BlobCache } from "./blob-cache.js";
import { IncomingTree } from "./incoming-tree.js";
import { decodeManifest, encodeManifest } from "./manifest.js";
import { encodePack } from "./pack.js";
import type { Sandbox, Sandboxes } from "./sandboxes.js";
import { Staging } from "./staging.js";
import { chunksOf, openInside, readTree, type Tree } from "./tree.js";

/** How long a move that nobody goes on with is remembered, in milliseconds. */
const IDLE_MS = 15 * 60_000;
/** Folders that may be on their way at once, each way; a manifest takes tens of megabytes at most. */
const MAX_TREES = 8;

export interface TreesOptions {
  sandboxes: Sandboxes;
  /** A folder of ours. */
  stateDir: string;
  /** How much a folder that is carried may hold, in bytes. */
  maxBytes: number;
  logger: Logger;
  idleMs?: number;
}

/** A folder whose manifest was given out: the only files that can be read by their hash. */
interface Outgoing {
  refused: number;
  blobs: ReadonlyMap<string, FileEntry>;
}

interface Incoming {
  carry: string;
  tree: IncomingTree;
}

/** The sandboxes' folders as wholes: on their way to another machine, and from one. */
export class Trees {
  readonly #options: TreesOptions;
  readonly #cache: BlobCache;
  readonly #outgoing: Remembered<Outgoing>;
  readonly #incoming: Remembered<Incoming>;
  readonly #swaps = new Turns();
  readonly #closing = new AbortController();
  #keeping: Promise<void> = Promise.resolve();

  private constructor(options: TreesOptions) {
    this.#options = options;
    this.#cache = new BlobCache(options.stateDir);
    const idleMs = options.idleMs ?? IDLE_MS;
    this.#outgoing = new Remembered({ idleMs, mayGo: () => true, drop: async () => {} });
    this.#incoming = new Remembered({
      idleMs,
      mayGo: ({ tree }) => tree.isApplied,
      drop: ({ tree }) => tree.forget(),
    });
  }

  /** Also undoes what an earlier relay of this machine had half done when it was cut off. */
  static async open(options: TreesOptions): Promise<Trees> {
    const trees = new Trees(options);
    for (const sandbox of options.sandboxes) {
      await Staging.recover(options.sandboxes.stagingPlace(sandbox)).catch((error) =>
        options.logger.warn(
          { err: error, sandbox_id: sandbox.id },
          "a move that was cut off cannot be undone",
        ),
      );
    }
    return trees;
  }

  /** The manifest of a sandbox's folder, as `ManifestHead` describes it. */
  async manifest(
    { id, folder }: Sandbox,
    options: { leaveSecrets: boolean; skipIgnored: boolean; busy: boolean },
    signal: AbortSignal,
  ): Promise<ReadableStream<Uint8Array>> {
    const tree = await readTree(folder, {
      maxBytes: this.#options.maxBytes,
      signal,
      secrets: options.leaveSecrets ? "leave" : "refuse",
      skipIgnored: options.skipIgnored,
    });
    await this.#outgoing.set(id, { refused: tree.refused.count, blobs: blobsOf(tree) });
    return ReadableStream.from(encodeManifest(tree, options.busy));
  }

  /** A pack of contents that the last manifest names. */
  read({ id, folder }: Sandbox, hashes: readonly string[], signal: AbortSignal): ReadableStream<Uint8Array> {
    const outgoing = this.#outgoing.get(id);
    if (!outgoing) {
      throw new CerverError(
        "conflict",
        "The folder's manifest has not been asked for, or was forgotten since.",
        {
          hint: "Ask for it with `GET .../tree`, then for what it names.",
        },
      );
    }
    if (outgoing.refused > 0) {
      throw new CerverError(
        "conflict",
        `${outgoing.refused} files of the folder are secrets that git ignores.`,
        {
          hint: "Ask for the manifest with leave_secrets=1 to leave them behind.",
        },
      );
    }
    const files = hashes.map((sha256) => {
      const file = outgoing.blobs.get(sha256);
      if (file) return file;
      throw new CerverError(
        "file_not_found",
        "A content was asked for that the folder's manifest does not name.",
        {
          hint: "Ask for the manifest again: the folder was read anew.",
        },
      );
    });
    const touch = () => this.#outgoing.get(id);
    return ReadableStream.from(
      encodePack(
        files.map((file) => ({ sha256: file.sha256, chunks: contentOf(folder, file, signal, touch) })),
      ),
    );
  }

  /** Begins to take a folder: says what of it is missing here. */
  async expect(
    sandbox: Sandbox,
    carry: string,
    { body, replaces }: { body: AsyncIterable<Uint8Array>; replaces: string | undefined },
    signal: AbortSignal,
  ): Promise<MissingBlobs> {
    const { maxBytes } = this.#options;
    await this.#incoming.delete(sandbox.id);
    const manifest = await decodeManifest(body, maxBytes);
    const place = this.#options.sandboxes.stagingPlace(sandbox);
    await Staging.recover(place);
    try {
      const options = { place, manifest, replaces, cache: this.#cache, maxBytes, swaps: this.#swaps };
      const tree = await IncomingTree.begin(options, signal);
      await this.#incoming.set(sandbox.id, { carry, tree });
      return tree.missing();
    } catch (error) {
      await Staging.recover(place);
      throw error;
    }
  }

  missing({ id }: Sandbox, carry: string): MissingBlobs {
    return this.#expected(id, carry).missing();
  }

  write(
    { id }: Sandbox,
    carry: string,
    pack: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<WrittenBlobs> {
    const touch = () => this.#incoming.get(id);
    return this.#expected(id, carry).write(touching(pack, touch), signal);
  }

  async apply({ id, folder }: Sandbox, carry: string, signal: AbortSignal): Promise<AppliedTree> {
    const { answer, tree } = await this.#expected(id, carry).apply(signal);
    this.#keep(folder, tree);
    return answer;
  }

  /** Ends a carrying that failed; one that is unknown needs no end. */
  async discard({ id }: Sandbox, carry: string, signal: AbortSignal): Promise<void> {
    const incoming = this.#incoming.get(id);
    if (incoming?.carry !== carry) return;
    await incoming.tree.discard(signal);
    await this.#incoming.delete(id);
  }

  /** For a sandbox that is deleted. */
  async forget(id: string): Promise<void> {
    await this.#outgoing.delete(id);
    await this.#incoming.delete(id);
  }

  /** Resolves when what came last is in the cache. */
  async idle(): Promise<void> {
    await this.#keeping;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#outgoing.clear();
    await this.#incoming.clear();
    await this.#keeping;
  }

  #expected(id: string, carry: string): IncomingTree {
    const incoming = this.#incoming.get(id);
    if (incoming?.carry === carry) return incoming.tree;
    throw new CerverError("conflict", "This machine does not expect these files, or no longer.", {
      hint: "The relay was restarted, or another move took this one's place. Start the move again.",
    });
  }

  /** Fills the cache afterwards, so that nobody waits for it. */
  #keep(folder: string, tree: Tree): void {
    const files = [...blobsOf(tree).values()].map(({ sha256, size, path }) => ({
      sha256,
      size,
      path: `${folder}/${path}`,
    }));
    this.#keeping = this.#keeping
      .then(() => this.#cache.keep(files, this.#closing.signal))
      .catch((error) =>
        this.#options.logger.warn({ err: error }, "carried files cannot be kept for the next time"),
      );
  }
}

interface RememberedOptions<T> {
  idleMs: number;
  /** Whether a thing may go when there are too many. */
  mayGo(thing: T): boolean;
  drop(thing: T): Promise<void>;
}

/** Things by sandbox, each for as long as somebody asks for it now and then. */
class Remembered<T> {
  readonly #options: RememberedOptions<T>;
  /** What was asked for last is last. */
  readonly #things = new Map<string, { thing: T; timer: NodeJS.Timeout }>();

  constructor(options: RememberedOptions<T>) {
    this.#options = options;
  }

  get(id: string): T | undefined {
    const found = this.#things.get(id);
    if (!found) return undefined;
    found.timer.refresh();
    this.#things.delete(id);
    this.#things.set(id, found);
    return found.thing;
  }

  async set(id: string, thing: T): Promise<void> {
    await this.delete(id);
    if (this.#things.size >= MAX_TREES) await this.#makeRoom();
    const timer = setTimeout(() => void this.delete(id), this.#options.idleMs).unref();
    this.#things.set(id, { thing, timer });
  }

  async #makeRoom(): Promise<void> {
    for (const [id, { thing }] of this.#things) if (this.#options.mayGo(thing)) return this.delete(id);
    throw new CerverError(
      "relay_full",
      `This machine takes ${MAX_TREES} folders at once, and not one more.`,
      {
        hint: "Try again when one of the moves is done.",
        details: { retry_after_ms: 10_000 },
      },
    );
  }

  async delete(id: string): Promise<void> {
    const found = this.#things.get(id);
    if (!found) return;
    this.#things.delete(id);
    clearTimeout(found.timer);
    await this.#options.drop(found.thing).catch(() => {});
  }

  async clear(): Promise<void> {
    await Promise.all([...this.#things.keys()].map((id) => this.delete(id)));
  }
}

function blobsOf({ entries }: Tree): Map<string, FileEntry> {
  const blobs = new Map<string, FileEntry>();
  for (const entry of entries) if (entry.kind === "file") blobs.set(entry.sha256, entry);
  return blobs;
}

/** A pack may take longer than a move may be idle: each piece of it shows that somebody goes on with it. */
async function* touching(pack: AsyncIterable<Uint8Array>, touch: () => void): AsyncGenerator<Uint8Array> {
  for await (const chunk of pack) {
    touch();
    yield chunk;
  }
}

/** A file's bytes; none when it is gone. A byte more than it had tells the receiver that it grew. */
async function* contentOf(
  folder: string,
  { path, size }: FileEntry,
  signal: AbortSignal,
  touch: () => void,
): AsyncGenerator<Uint8Array> {
  signal.throwIfAborted();
  touch();
  const file = await openInside(folder, path).catch(() => undefined);
  if (!file) return;
  try {
    let left = size + 1;
    for await (const chunk of chunksOf(file)) {
      signal.throwIfAborted();
      touch();
      yield chunk.subarray(0, left);
      left -= Math.min(left, chunk.length);
      if (left === 0) return;
    }
  } finally {
    await file.close();
  }
}
