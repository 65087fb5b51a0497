import { readdir, readFile, realpath, rename, rm, writeFile } from "node:fs/promises";
import { join, resolve, sep } from "node:path";
import { z } from "zod";
import { CerverError } from "../../protocol/errors.js";
import { newId } from "../../protocol/ids.js";
import { Environment } from "../../protocol/runs.js";
import type { CreateSandboxRequest } from "../../protocol/sandbox.js";
import { makePrivateFolder } from "../../util/private-folder.js";
import { runEnvironment } from "./environment.js";
import { endLeftBehind, endTree } from "./process-tree.js";
import { adoptRun, RUN_MARK, type Run, type RunSpec, startRun } from "./run.js";
import { RunSlots } from "./run-slots.js";
import { WaitingShells } from "./waiting-shells.js";

/** How many sandboxes a relay keeps. */
const MAX_SANDBOXES = 10_000;
const SANDBOX_MARK = "CERVER_SANDBOX_ID";

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
  maxRuns: number;
  graceMs: number;
}

/** One session's place on this machine: its folder, its environment, its state, its runs. */
export class Sandbox {
  readonly runs = new Set<Run>();
  readonly stored: StoredSandbox;
  readonly #options: SandboxesOptions;
  readonly #slots: RunSlots;
  readonly #scratchDir: string;
  readonly #baseEnv: Record<string, string>;
  readonly #shells: WaitingShells;
  #deleted = false;

  constructor(
    stored: StoredSandbox,
    options: SandboxesOptions,
    slots: RunSlots,
    scratchDir: string,
    counter: { waiting: number },
  ) {
    this.stored = stored;
    this.#options = options;
    this.#slots = slots;
    this.#scratchDir = scratchDir;
    this.#baseEnv = runEnvironment(options.hostEnv, stored.env, undefined, {
      PWD: stored.folder,
      [SANDBOX_MARK]: stored.id,
      ...(stored.sessionId && { CERVER_SESSION_ID: stored.sessionId }),
    });
    this.#shells = new WaitingShells({ folder: stored.folder, env: this.#baseEnv, scratchDir, counter });
  }

  /** How many shells wait for runs. */
  get waitingShells(): number {
    return this.#shells.size;
  }

  /** Gets ready for runs that are expected soon. */
  warmUp(): void {
    this.#shells.refill();
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

  /** Starts a run, if the relay has room for one more. */
  async start(
    spec: Pick<RunSpec, "runId" | "command" | "stdin" | "timeoutMs"> & {
      cwd?: string | undefined;
      envs?: Record<string, string> | undefined;
    },
  ): Promise<Run> {
    const release = this.#slots.take();
    try {
      const cwd = spec.cwd === undefined ? this.folder : await this.workingFolder(spec.cwd);
      const full: RunSpec = {
        ...spec,
        cwd,
        env: {},
        graceMs: this.#options.graceMs,
        scratchDir: this.#scratchDir,
      };
      const run =
        this.#wake(full, spec.envs) ??
        (await startRun({ ...full, env: this.#runEnv(spec.runId, cwd, spec.envs) }));
      this.runs.add(run);
      run.ended.finally(() => {
        this.runs.delete(run);
        release();
      });
      // Starting a process holds this one up: first the answer, which follows the closing of the pipes, then the refill.
      run.closed.then(() => this.#shells.refill());
      // Deleted while the process was starting: it must not outlive its sandbox.
      if (this.#deleted) run.cancel();
      return run;
    } catch (error) {
      release();
      throw error;
    }
  }

  /** A run in a shell that waits already, if this run can be served by one. */
  #wake(spec: RunSpec, envs: Record<string, string> | undefined): Run | undefined {
    if (spec.command.kind !== "shell" || spec.stdin !== undefined || spec.cwd !== this.folder)
      return undefined;
    const woken = this.#shells.wake(spec.runId, spec.command.code, { ...envs, [RUN_MARK]: spec.runId });
    return woken && adoptRun(spec, woken);
  }

  #runEnv(runId: string, cwd: string, envs: Record<string, string> | undefined): Record<string, string> {
    // The marks win over whatever a run sets: they are how its processes are found.
    const { [SANDBOX_MARK]: mark, CERVER_SESSION_ID: session } = this.#baseEnv;
    return {
      ...this.#baseEnv,
      PWD: cwd,
      ...envs,
      [SANDBOX_MARK]: mark!,
      ...(session && { CERVER_SESSION_ID: session }),
      [RUN_MARK]: runId,
    };
  }

  /** Ends the shells that wait for runs. */
  rest(): void {
    this.#shells.end();
  }

  /** Ends every run, and what escaped from one. */
  async end(): Promise<void> {
    this.#deleted = true;
    this.#shells.end();
    for (const run of this.runs) run.cancel();
    await Promise.all([...this.runs].map((run) => run.ended));
    await endTree({ mark: `${SANDBOX_MARK}=${this.id}` }, this.#options.graceMs);
  }
}

/** The sandboxes of this machine, remembered on disk so that a relay that starts again still has them. */
export class Sandboxes {
  readonly slots: RunSlots;
  readonly #options: SandboxesOptions;
  readonly #root: string;
  readonly #scratchDir: string;
  readonly #sandboxes = new Map<string, Sandbox>();
  readonly #counter = { waiting: 0 };

  private constructor(options: SandboxesOptions) {
    this.#options = options;
    this.#root = join(options.stateDir, "sandboxes");
    this.#scratchDir = join(options.stateDir, "scratch");
    this.slots = new RunSlots(options.maxRuns);
  }

  static async open(options: SandboxesOptions): Promise<Sandboxes> {
    const sandboxes = new Sandboxes(options);
    await makePrivateFolder(sandboxes.#root);
    await rm(sandboxes.#scratchDir, { recursive: true, force: true });
    await makePrivateFolder(sandboxes.#scratchDir);
    await sandboxes.#load();
    // A relay that was killed could not end its runs: this one does, before it takes new ones.
    await endLeftBehind(SANDBOX_MARK, (id) => sandboxes.#sandboxes.has(id), options.graceMs);
    return sandboxes;
  }

  get size(): number {
    return this.#sandboxes.size;
  }

  async create(request: CreateSandboxRequest): Promise<Sandbox> {
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
    const { metadata } = request;
    const id = newId("sbx");
    const own = join(this.#root, id, "work");
    const allowed = await this.#allowedFolder(metadata.working_dir);
    await makePrivateFolder(own);
    const { env: _, ...kept } = metadata;
    const stored: StoredSandbox = {
      id,
      sessionId: typeof metadata.cerver_session_id === "string" ? metadata.cerver_session_id : null,
      folder: allowed ?? (await realpath(own)),
      ownFolder: allowed === undefined,
      env: environmentOf(metadata.env),
      metadata: kept,
      state: {},
      createdAt: new Date().toISOString(),
    };
    await this.#store(stored);
    const sandbox = this.#add(stored);
    sandbox.warmUp();
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

  /** Ends a sandbox and removes its folder, unless the folder is the user's. An unknown one is gone already. */
  async delete(id: string): Promise<void> {
    const sandbox = this.#sandboxes.get(id);
    if (!sandbox) return;
    this.#sandboxes.delete(id);
    await sandbox.end();
    // A child that died a moment ago may have written a moment before.
    await rm(join(this.#root, id), { recursive: true, force: true, maxRetries: 3, retryDelay: 50 });
  }

  /** Ends every run of every sandbox. The folders stay. */
  async endRuns(): Promise<void> {
    await Promise.all(
      [...this.#sandboxes.values()].map((sandbox) =>
        sandbox.runs.size > 0 ? sandbox.end() : sandbox.rest(),
      ),
    );
  }

  /** Runs under way. */
  get liveRuns(): number {
    return this.slots.taken;
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
    const sandbox = new Sandbox(stored, this.#options, this.slots, this.#scratchDir, this.#counter);
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

/** Whether a path is a folder or something in it. Both have to be real paths. */
export function isInside(folder: string, path: string): boolean {
  return path === folder || path.startsWith(folder.endsWith(sep) ? folder : folder + sep);
}

function environmentOf(env: unknown): Record<string, string> {
  if (env === undefined || env === null) return {};
  const result = Environment.safeParse(env);
  if (result.success) return result.data;
  throw new CerverError("invalid_request", "metadata.env: has to be an object of variable names and texts.");
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
