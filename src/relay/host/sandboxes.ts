import { readdir, readFile, realpath, rename, writeFile } from "node:fs/promises";
import { join, resolve, sep } from "node:path";
import { z } from "zod";
import { CerverError } from "../../protocol/errors.js";
import { newId } from "../../protocol/ids.js";
import type { CreateSandboxRequest } from "../../protocol/sandbox.js";
import { sessionVariables } from "../../protocol/session-variables.js";
import { parseJson } from "../../util/parse-json.js";
import { makePrivateFolder } from "../../util/private-folder.js";
import { runEnvironment } from "./environment.js";
import { removeTree } from "./remove-tree.js";
import { SANDBOX_MARK } from "./run.js";
import type { StagingPlace } from "./staging.js";

/** How many sandboxes a relay keeps. */
const MAX_SANDBOXES = 10_000;
/** How many deleted ones are remembered, so that a create which arrives after its own delete makes nothing. */
const MAX_DELETED = 1_000;

/** What is remembered of a sandbox between two starts of the relay. */
const StoredSandbox = z.object({
  id: z.string().regex(/^sbx_[0-9a-f]{32}$/),
  sessionId: z.string().nullable(),
  /** The folder runs work in. */
  folder: z.string(),
  /** Whether the folder is ours to delete. */
  ownFolder: z.boolean(),
  env: z.record(z.string(), z.string()),
  metadata: z.record(z.string(), z.unknown()),
  state: z.record(z.string(), z.unknown()),
  createdAt: z.string(),
});
type StoredSandbox = z.infer<typeof StoredSandbox>;

export interface SandboxesOptions {
  /** A folder of ours. */
  stateDir: string;
  /** What runs inherit from the host. */
  hostEnv: Record<string, string>;
  /** Folders outside of ours that sessions may choose to work in. */
  allowDirs: readonly string[];
}

/** One session's place on this machine: its folder, its environment, its state. */
export class Sandbox {
  readonly stored: StoredSandbox;
  /** What every run in it starts from. */
  readonly env: Record<string, string>;

  constructor(stored: StoredSandbox, { hostEnv }: SandboxesOptions) {
    this.stored = stored;
    this.env = runEnvironment(hostEnv, stored.env, undefined, {
      PWD: stored.folder,
      [SANDBOX_MARK]: stored.id,
      ...(stored.sessionId && { CERVER_SESSION_ID: stored.sessionId }),
    });
  }

  get id(): string {
    return this.stored.id;
  }

  get folder(): string {
    return this.stored.folder;
  }

  /** The working folder of a run: the sandbox's own, or one inside it. */
  async workingFolder(cwd: string | undefined): Promise<string> {
    if (cwd === undefined) return this.folder;
    const wanted = await realpath(resolve(this.folder, cwd)).catch(() => {
      throw new CerverError("invalid_request", `cwd: the folder "${cwd}" does not exist in this sandbox.`, {
        hint: "Create it first, for example with mkdir -p.",
      });
    });
    if (isInside(this.folder, wanted)) return wanted;
    throw new CerverError("forbidden", `cwd: "${cwd}" is outside of this sandbox's folder.`, {
      hint: "Use a folder inside the session's own, or start the relay with --allow-dir and set metadata.working_dir.",
    });
  }
}

/** The sandboxes of this machine, remembered on disk so that a relay that starts again still has them. */
export class Sandboxes {
  readonly #options: SandboxesOptions;
  readonly #root: string;
  readonly #sandboxes = new Map<string, Sandbox>();
  /** Those that are just being made: whoever deletes one waits for it. */
  readonly #making = new Map<string, Promise<Sandbox>>();
  readonly #deleted = new Set<string>();

  private constructor(options: SandboxesOptions) {
    this.#options = options;
    this.#root = join(options.stateDir, "sandboxes");
  }

  static async open(options: SandboxesOptions): Promise<Sandboxes> {
    const sandboxes = new Sandboxes(options);
    await makePrivateFolder(sandboxes.#root);
    await sandboxes.#load();
    return sandboxes;
  }

  get size(): number {
    return this.#sandboxes.size;
  }

  [Symbol.iterator](): IterableIterator<Sandbox> {
    return this.#sandboxes.values();
  }

  /**
   * Makes a sandbox. One of the id that is asked for is there once, however often it is asked for. `prepare` is a part of
   * making it.
   */
  create(request: CreateSandboxRequest, prepare?: (sandbox: Sandbox) => Promise<void>): Promise<Sandbox> {
    const id = request.sandbox_id ?? newId("sbx");
    const there = this.#sandboxes.get(id);
    const making = this.#making.get(id);
    if (making ?? there) return making ?? Promise.resolve(there!);
    if (this.#deleted.has(id)) return Promise.reject(deletedAlready(id));
    const made = this.#make(id, request, prepare).finally(() => this.#making.delete(id));
    this.#making.set(id, made);
    return made;
  }

  /** Resolves when nothing of this id is being made any more. */
  async settled(id: string): Promise<void> {
    await this.#making.get(id)?.catch(() => {});
  }

  async #make(
    id: string,
    { metadata }: CreateSandboxRequest,
    prepare: ((sandbox: Sandbox) => Promise<void>) | undefined,
  ): Promise<Sandbox> {
    if (this.#sandboxes.size >= MAX_SANDBOXES) {
      throw new CerverError(
        "relay_full",
        `This compute keeps ${MAX_SANDBOXES} sandboxes, as many as it takes.`,
        {
          hint: "End sessions that are no longer needed: DELETE /v2/sessions/SESSION_ID.",
          details: { retry_after_ms: 60_000 },
        },
      );
    }
    const own = join(this.#root, id, "work");
    const allowed = await this.#allowedFolder(metadata.working_dir);
    await makePrivateFolder(own);
    const { env: _, ...kept } = metadata;
    const stored: StoredSandbox = {
      id,
      sessionId: typeof metadata.cerver_session_id === "string" ? metadata.cerver_session_id : null,
      folder: allowed ?? (await realpath(own)),
      ownFolder: allowed === undefined,
      env: sessionVariables(metadata),
      metadata: kept,
      state: {},
      createdAt: new Date().toISOString(),
    };
    await this.#store(stored);
    const sandbox = this.#add(stored);
    await prepare?.(sandbox);
    return sandbox;
  }

  get(id: string): Sandbox {
    const sandbox = this.#sandboxes.get(id);
    if (sandbox) return sandbox;
    throw new CerverError("sandbox_not_found", `This machine has no sandbox ${id}.`, {
      hint: "It was deleted, or belongs to another machine. Create a new session.",
    });
  }

  async setState(sandbox: Sandbox, state: Record<string, unknown>): Promise<void> {
    sandbox.stored.state = state;
    await this.#store(sandbox.stored);
  }

  /** Forgets a sandbox whose runs have ended, and removes its folder, unless the folder is the user's. */
  async delete(id: string): Promise<void> {
    this.#deleted.add(id);
    if (this.#deleted.size > MAX_DELETED) this.#deleted.delete(this.#deleted.values().next().value!);
    if (!this.#sandboxes.delete(id)) return;
    // A child that died a moment ago may have written a moment before.
    await removeTree(join(this.#root, id));
  }

  /** The places for what is on its way into a sandbox's folder. */
  stagingPlace({ id, folder, stored }: Sandbox): StagingPlace {
    const own = join(this.#root, id);
    return { folder, parent: stored.ownFolder ? own : folder, record: join(own, "move.json") };
  }

  async #allowedFolder(wanted: unknown): Promise<string | undefined> {
    if (typeof wanted !== "string" || wanted === "") return undefined;
    const folder = await realpath(wanted).catch(() => undefined);
    for (const allowed of this.#options.allowDirs) {
      const root = await realpath(allowed).catch(() => undefined);
      if (folder !== undefined && root !== undefined && isInside(root, folder)) return folder;
    }
    throw new CerverError(
      "forbidden",
      `metadata.working_dir: this relay does not let sessions work in "${wanted}".`,
      {
        hint: `Start the relay with --allow-dir for a folder that holds it, or leave working_dir out.`,
      },
    );
  }

  #add(stored: StoredSandbox): Sandbox {
    const sandbox = new Sandbox(stored, this.#options);
    this.#sandboxes.set(stored.id, sandbox);
    return sandbox;
  }

  async #store(stored: StoredSandbox): Promise<void> {
    const file = join(this.#root, stored.id, "sandbox.json");
    await writeFile(`${file}.new`, JSON.stringify(stored), { mode: 0o600 });
    await rename(`${file}.new`, file);
  }

  async #load(): Promise<void> {
    for (const name of await readdir(this.#root)) {
      const text = await readFile(join(this.#root, name, "sandbox.json"), "utf8").catch(() => undefined);
      if (text === undefined) continue;
      const stored = StoredSandbox.safeParse(parseJson(text));
      if (stored.success && stored.data.id === name) this.#add(stored.data);
    }
  }
}

function deletedAlready(id: string): CerverError {
  return new CerverError("conflict", `Sandbox ${id} was deleted already, so it is not made again.`, {
    hint: "Ask for one with another id, or leave sandbox_id out.",
  });
}

/** Whether a path is a folder or something in it. Both have to be real paths. */
export function isInside(folder: string, path: string): boolean {
  return path === folder || path.startsWith(folder.endsWith(sep) ? folder : folder + sep);
}
