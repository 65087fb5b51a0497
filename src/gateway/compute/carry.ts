import { CerverError } from "../../protocol/errors.js";
import { newId } from "../../protocol/ids.js";
import { parse } from "../../protocol/parse.js";
import { type LeftBehind, MAX_MANIFEST_LINE_BYTES, ManifestHead } from "../../protocol/tree.js";
import {
  type FolderCarrier,
  type FolderOptions,
  type MachineEnv,
  type ProviderAdapter,
  registeredName,
  type SandboxRecord,
} from "./contract.js";

/** How long the receiver's cleaning up is waited for when a carrying failed, in milliseconds. */
const DISCARD_MS = 10_000;

/** One side of a carrying: a sandbox, and how to reach it. */
export interface CarryEnd {
  adapter: ProviderAdapter;
  record: SandboxRecord;
  /** The carrying ends when either side's signal aborts. */
  env: MachineEnv;
}

export interface CarryOptions extends FolderOptions {
  /** The `tree_hash` of what is in the receiver's folder and may be replaced. It has to be empty otherwise. */
  replaces?: string;
  /** Told after each pack. `bytes_left` is what is known to be missing then. */
  onProgress?: (progress: { bytes_sent: number; bytes_left: number }) => void;
}

/** What a carrying did. */
export interface CarryReport {
  /** Of what is in the receiver's folder now. It is the sender's. */
  tree_hash: string;
  entries: number;
  files: number;
  bytes_total: number;
  /** What travelled as contents; the rest was there already. */
  bytes_sent: number;
  /** What stayed, and why; the first hundred of them, and how many there are. */
  left_behind: LeftBehind[];
  left_behind_count: number;
  /** Secrets among them that would have refused the move. */
  refused: string[];
}

/**
 * Carries a sandbox's working folder into another one's. Contents stream through this process, and only those that the
 * other side misses.
 *
 * Throws `unsupported` when one side cannot; `conflict` when runs are under way, when the receiver's folder is not
 * empty, when files go on changing, and, unless `leaveSecrets`, when git ignores files in it that look like secrets:
 * `error.details.refused` names them. After a failure the receiver's folder is as it was; the sender's always is.
 */
export async function carryFolder(from: CarryEnd, to: CarryEnd, options: CarryOptions): Promise<CarryReport> {
  const signal = AbortSignal.any([from.env.signal, to.env.signal]);
  signal.throwIfAborted();
  const carry = new Carry(reach(from, signal), reach(to, signal), options);
  try {
    return await carry.run();
  } catch (error) {
    await carry.cleanUp();
    throw signal.aborted ? signal.reason : error;
  }
}

interface ReachedEnd {
  folder: FolderCarrier;
  record: SandboxRecord;
  env: MachineEnv;
}

function reach({ adapter, record, env }: CarryEnd, signal: AbortSignal): ReachedEnd {
  if (adapter.folder) return { folder: adapter.folder, record, env: { ...env, signal } };
  throw new CerverError(
    "unsupported",
    `A working folder cannot be carried to or from ${registeredName(adapter)}.`,
    {
      hint: "Computes of your own that run `cerver relay` can. Elsewhere move what is needed with runs, for example with git.",
    },
  );
}

/** One carrying under way. */
class Carry {
  readonly #id = newId("carry");
  readonly #from: ReachedEnd;
  readonly #to: ReachedEnd;
  readonly #options: CarryOptions;
  #begun = false;
  #sent = 0;

  constructor(from: ReachedEnd, to: ReachedEnd, options: CarryOptions) {
    this.#from = from;
    this.#to = to;
    this.#options = options;
  }

  async run(): Promise<CarryReport> {
    let changed: string[] = [];
    // A file that changed between manifest and reading has another content now: a second manifest has it.
    for (let attempt = 0; attempt < 2; attempt++) {
      const head = await this.#begin();
      changed = await this.#sendMissing();
      if (changed.length === 0) return this.#finish(head);
    }
    throw new CerverError("conflict", `Files changed while they were carried: ${listed(changed)}.`, {
      hint: "Something is working in the folder. End it, then try again.",
      details: { changed },
    });
  }

  /** Removes at the receiver what came. A receiver that cannot be reached removes it by itself. */
  async cleanUp(): Promise<void> {
    if (!this.#begun) return;
    const { folder, record, env } = this.#to;
    const signal = AbortSignal.timeout(DISCARD_MS);
    await folder.discard(record, this.#id, { ...env, signal }).catch(() => {});
  }

  async #begin(): Promise<ManifestHead> {
    const { folder, record, env } = this.#from;
    const { leaveSecrets, skipIgnored, replaces } = this.#options;
    const manifest = await folder.manifest(record, { leaveSecrets, skipIgnored }, env);
    const { line, whole } = await withFirstLine(manifest);
    try {
      const head = headOf(line);
      refuseUnfit(head);
      this.#begun = true;
      await this.#to.folder.expect(this.#to.record, this.#id, { manifest: whole, replaces }, this.#to.env);
      return head;
    } finally {
      await endUnread(whole);
    }
  }

  /** Sends pack after pack until nothing is missing, and tells which files came with other bytes. */
  async #sendMissing(): Promise<string[]> {
    const { folder, record, env } = this.#to;
    for (;;) {
      const { blobs, missing_bytes, changed } = await folder.missing(record, this.#id, env);
      this.#options.onProgress?.({ bytes_sent: this.#sent, bytes_left: missing_bytes });
      if (blobs.length === 0) return changed;
      const hashes = blobs.map(({ sha256 }) => sha256);
      const pack = await this.#from.folder.read(this.#from.record, hashes, this.#from.env);
      const { stored, wrong } = await folder
        .write(record, this.#id, pack, env)
        .finally(() => endUnread(pack));
      if (stored + wrong < blobs.length) throw incomplete();
      this.#sent += blobs.reduce((sum, { size }) => sum + size, 0);
    }
  }

  async #finish(head: ManifestHead): Promise<CarryReport> {
    const { folder, record, env } = this.#to;
    const applied = await folder.apply(record, this.#id, env);
    env.signal.throwIfAborted();
    if (applied.tree_hash !== head.tree_hash) {
      throw new CerverError("provider_failed", "The folder that came is not the one that was sent.", {
        hint: "Nothing of it was kept. Try again; if it stays so, update both relays.",
      });
    }
    return {
      tree_hash: applied.tree_hash,
      entries: applied.entries,
      files: applied.files,
      bytes_total: applied.bytes,
      bytes_sent: this.#sent,
      left_behind: head.left_behind,
      left_behind_count: head.left_behind_count,
      refused: head.left_behind.filter(({ reason }) => reason === "secret").map(({ path }) => path),
    };
  }
}

function headOf(line: string): ManifestHead {
  try {
    return parse(ManifestHead, JSON.parse(line));
  } catch {
    throw new CerverError("provider_failed", "The compute's manifest of the folder is not understood.", {
      hint: "Update the relay on that machine, then try again.",
    });
  }
}

function refuseUnfit({ busy, refused, refused_count }: ManifestHead): void {
  if (busy) {
    throw new CerverError(
      "conflict",
      "Runs are under way in the folder, so it may change while it is carried.",
      {
        hint: "Cancel them or wait for their end, then try again.",
      },
    );
  }
  if (refused_count > 0) {
    const more = refused_count > refused.length ? ` and ${refused_count - refused.length} more` : "";
    throw new CerverError("conflict", `Secrets that git ignores would travel: ${listed(refused)}${more}.`, {
      hint: "Say leave_secrets to leave them behind, and give them to the session over there some other way.",
      details: { refused, refused_count },
    });
  }
}

/** The first line of a stream, and the whole stream. */
async function withFirstLine(stream: ReadableStream<Uint8Array>) {
  const reader = stream.getReader();
  const chunks: Uint8Array[] = [];
  let size = 0;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw incomplete();
    chunks.push(value);
    size += value.length;
    if (value.includes(10)) break;
    if (size > MAX_MANIFEST_LINE_BYTES) {
      await reader.cancel().catch(() => {});
      throw incomplete();
    }
  }
  const begin = Buffer.concat(chunks);
  const whole = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(begin),
    pull: async (controller) => {
      const { value, done } = await reader.read();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  });
  return { line: begin.subarray(0, begin.indexOf(10)).toString("utf8"), whole };
}

/** Tells a stream's source that nobody goes on reading it: it may hold a file open. */
async function endUnread(stream: ReadableStream<Uint8Array>): Promise<void> {
  if (!stream.locked) await stream.cancel().catch(() => {});
}

function incomplete(): CerverError {
  return new CerverError("provider_failed", "The compute gave less of the folder than it has.", {
    hint: "Try again; if it stays so, look at that machine's disk and update its relay.",
  });
}

function listed(names: readonly string[]): string {
  const shown = names.slice(0, 5).join(", ");
  return names.length > 5 ? `${shown} and ${names.length - 5} more` : shown;
}
