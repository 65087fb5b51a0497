import { setTimeout as sleep } from "node:timers/promises";
import { CerverError } from "../../../protocol/errors.js";
import { newId } from "../../../protocol/ids.js";
import { installProgram } from "../../../protocol/packages.js";
import { parse } from "../../../protocol/parse.js";
import { type CreateSandboxRequest, SandboxRunRequest } from "../../../protocol/sandbox.js";
import { sessionVariables } from "../../../protocol/session-variables.js";
import type { ProviderAdapter, ProviderEnv, SandboxRecord } from "../contract.js";
import { vendorAnswer, vendorStream } from "../vendor-run.js";
import { type E2bAccess, E2bAccount, type E2bOptions, type E2bSdk, LostAnswer } from "./e2b-account.js";
import { E2B, e2bFailure, saidBy } from "./e2b-failure.js";
import { E2bFiles } from "./e2b-files.js";
import { type Explain, orderOf, runInE2b } from "./e2b-run.js";
import { WORK_FOLDER } from "./e2b-scripts.js";

/** What every sandbox at E2B is a part of, for whoever picks a compute. */
const COMPUTE_ID = "provider_e2b";
/** How long a sandbox lives when nobody says: the longest that every plan of E2B's allows. */
const DEFAULT_LIFETIME_MS = 3_600_000;
/** How long a create is waited for when its caller has left: until then it cannot be undone. */
const LEFT_CREATE_WAIT_MS = 20_000;
/** When a sandbox is looked for whose create was lost, in milliseconds after the look before. */
const LOST_LOOKS_MS = [0, 1_000, 3_000];
/** How long undoing may take. */
const CLEANUP_MS = 30_000;

/** What a sandbox is tagged with at the vendor. */
const SESSION_TAG = "cerver_session_id";
const CREATE_TAG = "cerver_create_id";
const LIFETIME_TAG = "cerver_lifetime_seconds";

/** E2B as a provider, on its own SDK, which is loaded when it is first used. */
export function e2bProvider(options: E2bOptions = {}): ProviderAdapter {
  const account = async ({ credentials }: ProviderEnv) =>
    new E2bAccount(await loadSdk(), credentials, options);

  /** A sandbox that is there, from its id alone. */
  async function open({ sandboxId }: SandboxRecord, env: ProviderEnv) {
    env.signal.throwIfAborted();
    const at = await account(env);
    const explain: Explain = (error, doing) => at.explain(error, doing, sandboxId);
    const sandbox = await at.open(sandboxId, env.signal);
    return { sandbox, explain, files: new E2bFiles(sandbox, explain, env.signal) };
  }

  /** What a run is, once all that it asks for is known to be possible. */
  async function prepare(record: SandboxRecord, given: SandboxRunRequest, env: ProviderEnv) {
    const asked = parse(SandboxRunRequest, given);
    refuseUnsupported(asked);
    const request = { ...asked, run_id: asked.run_id ?? newId("run") };
    const { sandbox, explain, files } = await open(record, env);
    const cwd = request.cwd === undefined ? WORK_FOLDER : await files.place(request.cwd, "cwd");
    return { request, run: runInE2b(sandbox, orderOf(request, cwd), explain) };
  }

  return {
    providerName: "e2b",

    async createSandbox(request, env) {
      const body = bodyOf(request, options.template ?? "base");
      env.signal.throwIfAborted();
      const at = await account(env);
      const access = await createOrUndo(at, body, env.signal);
      const { sandboxID: sandboxId } = access;
      const record: SandboxRecord = { sandboxId, computeId: COMPUTE_ID, provider: "e2b" };
      try {
        await at.enter(access).files.makeDir(WORK_FOLDER, { signal: env.signal });
        env.signal.throwIfAborted();
        return record;
      } catch (error) {
        const explained = await at.explain(error, "make the sandbox's working folder", sandboxId);
        await undo(at, sandboxId);
        env.signal.throwIfAborted();
        throw explained;
      }
    },

    async runSandbox(record, given, env) {
      const { request, run } = await prepare(record, given, env);
      return vendorAnswer(request, env.signal, run);
    },

    async runSandboxStream(record, given, env) {
      const { request, run } = await prepare(record, given, env);
      return vendorStream(request, env.signal, run);
    },

    async installPackage(record, { timeout, run_id = newId("run"), ...install }, env) {
      const program = installProgram(install);
      const { sandbox, explain } = await open(record, env);
      const command = { kind: "argv", ...program } as const;
      const run = runInE2b(sandbox, { command, cwd: WORK_FOLDER, runId: run_id }, explain);
      return vendorAnswer({ code: "", runtime: "shell", timeout, run_id }, env.signal, run);
    },

    async writeFile(record, request, env) {
      const { files } = await open(record, env);
      return Response.json({ success: true, ...(await files.write(request)) });
    },

    async readFile(record, path, encoding, env) {
      if (path === "") throw new CerverError("invalid_request", "path: say which file to read.");
      const { files } = await open(record, env);
      return Response.json(await files.read(path, encoding));
    },

    async getState(record, env) {
      const { files } = await open(record, env);
      return Response.json({ provider: "e2b", sandbox_id: record.sandboxId, state: await files.state() });
    },

    async setState(record, state, env) {
      const { files } = await open(record, env);
      await files.setState(state);
      return Response.json({ success: true, sandbox_id: record.sandboxId });
    },

    async deleteSandbox({ sandboxId }, env) {
      await (await account(env)).kill(sandboxId, env.signal);
      return Response.json({
        success: true,
        sandbox_id: sandboxId,
        remote_sandbox_id: sandboxId,
        provider: "e2b",
        status: "terminated",
      });
    },

    cloud: {
      credentialNames: { required: ["e2b_api_key"], optional: ["e2b_domain"] },

      verify: async (env) => (await account(env)).ping(env.signal),

      async find(sessionId, env) {
        const ids = await (await account(env)).find(SESSION_TAG, sessionId, env.signal);
        return ids.map((sandboxId) => ({ sandboxId, computeId: COMPUTE_ID, provider: "e2b" }));
      },

      async portUrl(record, port, env) {
        const { sandbox } = await open(record, env);
        return `https://${sandbox.getHost(port)}`;
      },

      suspend: async ({ sandboxId }, env) => (await account(env)).pause(sandboxId, env.signal),

      async wake(record, env) {
        const at = await account(env);
        const { metadata } = await at.detail(record.sandboxId, env.signal);
        const seconds = Number(metadata?.[LIFETIME_TAG]) || DEFAULT_LIFETIME_MS / 1000;
        await at.connect(record.sandboxId, seconds, env.signal);
        return record;
      },
    },
  };
}

/** The package is CommonJS: Node gives its names, a bundle only what it exports as one. */
async function loadSdk(): Promise<E2bSdk> {
  const loaded = await import("e2b");
  return "ConnectionConfig" in loaded ? loaded : (loaded as { default: E2bSdk }).default;
}

function bodyOf({ timeout_ms = DEFAULT_LIFETIME_MS, metadata }: CreateSandboxRequest, templateID: string) {
  if (typeof metadata.working_dir === "string" && metadata.working_dir !== "") {
    throw new CerverError("unsupported", "metadata.working_dir: a sandbox at E2B has a folder of its own.", {
      hint: "Leave it out, or use one of your own machines.",
    });
  }
  const timeout = Math.ceil(timeout_ms / 1000);
  const session = metadata[SESSION_TAG];
  return {
    templateID,
    timeout,
    envVars: sessionVariables(metadata),
    // Only what finds it again: the rest of a session's metadata is no business of the vendor's.
    metadata: {
      [CREATE_TAG]: newId("req"),
      [LIFETIME_TAG]: String(timeout),
      ...(typeof session === "string" && { [SESSION_TAG]: session }),
    } as Record<string, string>,
  };
}

function refuseUnsupported({ background, stdin_open }: SandboxRunRequest): void {
  const option = background ? "background" : stdin_open ? "stdin_open" : undefined;
  if (option === undefined) return;
  throw new CerverError("unsupported", `${option}: a run at E2B ends with the request that started it.`, {
    hint:
      option === "background"
        ? "Stream it instead, or use one of your own machines."
        : "Give the whole input as stdin, or use one of your own machines.",
  });
}

/**
 * Makes a sandbox, or none. The create itself is not aborted with its caller: what was asked of the vendor can only be
 * undone once it is there.
 */
async function createOrUndo(
  at: E2bAccount,
  body: ReturnType<typeof bodyOf>,
  caller: AbortSignal,
): Promise<E2bAccess> {
  const limit = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const onAbort = () => {
    timer = setTimeout(() => limit.abort(), LEFT_CREATE_WAIT_MS);
  };
  caller.addEventListener("abort", onAbort, { once: true });
  try {
    const access = await at.create(body, limit.signal);
    if (!caller.aborted) return access;
    await undo(at, access.sandboxID);
  } catch (error) {
    if (!(error instanceof LostAnswer)) throw error;
    const ended = await endLost(at, body.metadata[CREATE_TAG]!, error.cause);
    if (!caller.aborted) throw lostCreate(error.cause, ended);
  } finally {
    clearTimeout(timer);
    caller.removeEventListener("abort", onAbort);
  }
  throw caller.reason;
}

/**
 * Looks for what a lost create may have made, and ends it. Gives the ids. When the vendor itself says that it failed, one
 * look has to do: whoever asked wants to go elsewhere.
 */
async function endLost(at: E2bAccount, createId: string, cause: unknown): Promise<string[]> {
  const signal = AbortSignal.timeout(CLEANUP_MS);
  const hasAnswered = cause instanceof CerverError;
  let failure: unknown;
  for (const wait of hasAnswered ? [0] : LOST_LOOKS_MS) {
    await sleep(wait);
    try {
      const ids = await at.find(CREATE_TAG, createId, signal);
      for (const id of ids) await at.kill(id, signal);
      failure = undefined;
      // One create makes one sandbox.
      if (ids.length > 0) return ids;
    } catch (error) {
      failure = error;
    }
  }
  if (failure && !hasAnswered)
    throw leftBehind(`a sandbox whose metadata has ${CREATE_TAG}=${createId}`, failure);
  return [];
}

function lostCreate(cause: unknown, ended: string[]): CerverError {
  if (cause instanceof CerverError) return cause;
  const { message } = saidBy(cause);
  const failure = e2bFailure(
    { doing: "make a sandbox", message: `its answer was lost (${message})`, cause },
    "",
  );
  return new CerverError(failure.code, failure.message, {
    hint:
      ended.length > 0
        ? "What it had made was found and deleted. Try again."
        : (failure.hint ?? "Try again."),
    details: { ...failure.details, deleted_sandboxes: ended },
    cause,
  });
}

/** Ends a sandbox that nobody gets. */
async function undo(at: E2bAccount, sandboxId: string): Promise<void> {
  await at.kill(sandboxId, AbortSignal.timeout(CLEANUP_MS)).catch((error: unknown) => {
    throw leftBehind(`the sandbox ${sandboxId}`, error);
  });
}

/** A sandbox may be there that nobody uses: it is named, since it could not be deleted. */
function leftBehind(which: string, error: unknown): CerverError {
  const why = error instanceof Error ? error.message.replace(/\.$/, "") : "nobody knows why";
  return new CerverError(
    "provider_failed",
    `E2B may still have ${which}: it could not be deleted (${why}).`,
    {
      hint: "Delete it in E2B's dashboard, or wait until its lifetime is over.",
      details: { vendor: E2B, left_behind: which },
      cause: error,
    },
  );
}
