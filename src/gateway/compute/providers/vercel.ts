import { randomUUID } from "node:crypto";
import { posix } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Sandbox } from "@vercel/sandbox";
import { z } from "zod";
import { CerverError } from "../../../protocol/errors.js";
import { parse } from "../../../protocol/parse.js";
import { Environment, timeoutOf } from "../../../protocol/runs.js";
import {
  type CreateSandboxRequest,
  type FileContent,
  type InstallRequest,
  MAX_FILE_BYTES,
  SandboxRunRequest,
  SandboxState,
} from "../../../protocol/sandbox.js";
import type { ProviderAdapter, ProviderEnv, SandboxRecord } from "../contract.js";
import { vendorFailure } from "../vendor-failure.js";
import { type RunAtVendor, vendorAnswer, vendorStream } from "../vendor-run.js";
import { VercelAccounts, type VercelScope } from "./vercel-account.js";
import { askSupervisor, isGone, runOrder, type VercelVm } from "./vercel-run.js";
import { ENVIRONMENT_VARIABLE, type Order } from "./vercel-supervisor.js";
import { VercelRefusal, VercelWire } from "./vercel-wire.js";

const VENDOR = "Vercel Sandbox";
/** The tag by which a session's sandboxes are found. */
const SESSION_TAG = "cerver_session";
/** How long a sandbox lives when nobody says: the longest that every plan of Vercel's gives. Its own default is 5 minutes. */
const DEFAULT_LIFETIME_MS = 45 * 60_000;
/** What is left of a sleeping sandbox that nobody deletes goes after a week. */
const SNAPSHOT_LIFETIME_MS = 7 * 24 * 60 * 60_000;
/** Pauses between the attempts to remove a sandbox of which nobody knows whether it was made. */
const REMOVE_PAUSES_MS = [0, 400, 1_200, 3_000];
/** Pauses while a sandbox is busy: the vendor is still putting it to sleep. */
const BUSY_PAUSES_MS = [500, 1_000, 2_000, 4_000, 8_000, 15_000];
const MAX_FOUND = 100;
const BACKSTOP_MS = 15_000;

export interface VercelOptions {
  fetch?: typeof fetch;
  /** A runtime of the vendor's, such as `node24`; unless said, its default image, which has Node.js and Python. */
  runtime?: string;
}

/**
 * Vercel Sandbox as a provider: one sandbox is one persistent sandbox of the vendor, known by its name.
 *
 * Its disk outlives a sleep, so `suspend` and `wake` keep the files. Commands run below a supervisor (`vercel-supervisor.ts`).
 */
export function vercelProvider({ fetch: given = fetch, runtime }: VercelOptions = {}): ProviderAdapter {
  const accounts = new VercelAccounts();

  /** Does something with the SDK and the account's scope; what goes wrong becomes a failure with the vendor's words. */
  const withVendor = async <T>(
    doing: string,
    env: ProviderEnv,
    act: (at: Vendor) => Promise<T>,
  ): Promise<T> => {
    try {
      env.signal.throwIfAborted();
      const wire = new VercelWire(given, env.credentials.vercel_token);
      const { Sandbox } = await import("@vercel/sandbox");
      const scope = await accounts.scopeOf(env.credentials, wire, env.signal);
      return await act({ Sandbox, scope, wire, options: { ...scope, fetch: wire.fetch } });
    } catch (error) {
      throw env.signal.aborted && isAbort(error, env.signal) ? env.signal.reason : failureOf(doing, error);
    }
  };

  /** Does something in a running sandbox. A sandbox that sleeps is not woken by it. */
  const inSandbox = <T>(
    doing: string,
    { sandboxId }: SandboxRecord,
    env: ProviderEnv,
    act: (vm: VercelVm, sandbox: Sandbox, at: Vendor) => Promise<T>,
  ): Promise<T> =>
    withVendor(doing, env, async (at) => {
      try {
        const sandbox = await at.Sandbox.get({
          ...at.options,
          name: sandboxId,
          resume: false,
          signal: env.signal,
        });
        const session = sandbox.currentSession();
        if (!isAwake(session.status)) throw notRunning(sandboxId, session.status);
        return await act({ session, wire: at.wire }, sandbox, at);
      } catch (error) {
        if (isGone(error)) throw sandboxGone(sandboxId, error as VercelRefusal);
        throw error;
      }
    });

  /** Runs an order in a sandbox. The sandbox is there before anything is answered, and `cwd` is in it. */
  const run = (
    doing: string,
    record: SandboxRecord,
    order: Extract<Order, { kind: "run" }>,
    env: ProviderEnv,
    answer: (run: RunAtVendor) => Promise<Response>,
  ): Promise<Response> =>
    inSandbox(doing, record, env, (vm, sandbox) => {
      if (order.cwd !== undefined) refuseOutside("cwd", sandbox.cwd, order.cwd);
      return answer((output, signal) =>
        runOrder(vm, order, output, signal).catch((error: unknown) => {
          if (signal.aborted && isAbort(error, signal)) throw signal.reason;
          throw isGone(error)
            ? sandboxGone(record.sandboxId, error as VercelRefusal)
            : failureOf(doing, error);
        }),
      );
    });

  return {
    providerName: "vercel",

    createSandbox: (request, env) =>
      withVendor("make a sandbox", env, async (at) => {
        const name = `cerver-${randomUUID()}`;
        await create(at, name, request, runtime, env.signal);
        return recordOf(name, env);
      }),

    async runSandbox(record, request, env) {
      const order = orderOf(request);
      return run("run it", record, order, env, (atVendor) => vendorAnswer(request, env.signal, atVendor));
    },

    async runSandboxStream(record, request, env) {
      const order = orderOf(request);
      return run("run it", record, order, env, (atVendor) => vendorStream(request, env.signal, atVendor));
    },

    async installPackage(record, request, env) {
      const { run_id, timeout, package: name } = request;
      const asked = { run_id, timeout, runtime: "shell", code: `install ${name}` } as const;
      const order = { kind: "run", command: installCommand(request), limitMs: backstopOf(asked) } as const;
      return run("install it", record, order, env, (atVendor) => vendorAnswer(asked, env.signal, atVendor));
    },

    writeFile: (record, { path, content, encoding }, env) =>
      inSandbox("write a file", record, env, async (vm, sandbox) => {
        const bytes = Buffer.from(content, encoding);
        if (bytes.length > MAX_FILE_BYTES) throw tooLarge(path);
        refuseOutside("path", sandbox.cwd, path);
        const upload = `.cerver-${randomUUID()}`;
        await vm.session.writeFiles([{ path: upload, content: bytes, mode: 0o644 }], { signal: env.signal });
        await askSupervisor(vm, { kind: "place", upload, path }, env.signal);
        return Response.json({ success: true, path, size: bytes.length });
      }),

    readFile: (record, path, encoding, env) =>
      inSandbox("read a file", record, env, async (vm, sandbox) => {
        refuseOutside("path", sandbox.cwd, path);
        const told = await askSupervisor(vm, { kind: "look", path }, env.signal);
        const found = Looked.parse(parsed(String(told)));
        if (found.size > MAX_FILE_BYTES) throw tooLarge(path);
        const bytes = await vm.session
          .readFile({ path: found.path }, { signal: env.signal })
          .then((stream) => stream && upTo(MAX_FILE_BYTES, stream, path))
          .catch((error: unknown) => {
            if (error instanceof VercelRefusal && error.status === 404) return null;
            throw error;
          });
        if (bytes === null)
          throw new CerverError("file_not_found", `path: there is no file "${path}" in this sandbox.`);
        return Response.json({
          path,
          content: bytes.toString(encoding),
          encoding,
          size: bytes.length,
        } satisfies FileContent);
      }),

    getState: (record, env) =>
      inSandbox("read the state", record, env, async (vm) => {
        const text = String(await askSupervisor(vm, { kind: "get_state" }, env.signal));
        const state = SandboxState.safeParse(parsed(text));
        if (!state.success)
          throw new CerverError(
            "provider_failed",
            "The state file in the sandbox is not what was put there.",
            {
              hint: "Something in the sandbox wrote to ~/.cerver/state.json. Set the state anew.",
            },
          );
        return Response.json({ provider: "vercel", sandbox_id: record.sandboxId, state: state.data });
      }),

    setState: (record, state, env) =>
      inSandbox("keep the state", record, env, async (vm) => {
        await askSupervisor(vm, { kind: "set_state", state: JSON.stringify(state) }, env.signal);
        return Response.json({ success: true, sandbox_id: record.sandboxId });
      }),

    deleteSandbox: ({ sandboxId }, env) =>
      withVendor("delete a sandbox", env, async (at) => {
        await remove(at, sandboxId, env.signal);
        return Response.json({
          success: true,
          sandbox_id: sandboxId,
          remote_sandbox_id: sandboxId,
          provider: "vercel",
          status: "terminated",
        });
      }),

    cloud: {
      credentialNames: { required: ["vercel_token"], optional: ["vercel_team_id", "vercel_project_id"] },

      verify: (env) =>
        withVendor("look at the account's sandboxes", env, async ({ Sandbox, options }) => {
          await Sandbox.list({ ...options, limit: 1, signal: env.signal });
        }),

      find: (sessionId, env) =>
        withVendor("look for a session's sandboxes", env, async ({ Sandbox, options }) => {
          const found: SandboxRecord[] = [];
          const tags = { [SESSION_TAG]: sessionId };
          for await (const { name } of await Sandbox.list({ ...options, tags, signal: env.signal })) {
            found.push(recordOf(name, env));
            if (found.length === MAX_FOUND) break;
          }
          return found;
        }),

      portUrl: (record, port, env) =>
        inSandbox("show a port", record, env, async (_, sandbox) => {
          const ports = sandbox.routes.map((route) => route.port);
          if (!ports.includes(port))
            await sandbox.update({ ports: [...ports, port] }, { signal: env.signal });
          return sandbox.domain(port);
        }),

      suspend: ({ sandboxId }, env) =>
        withVendor("put a sandbox to sleep", env, async ({ Sandbox, options }) => {
          try {
            const sandbox = await Sandbox.get({
              ...options,
              name: sandboxId,
              resume: false,
              signal: env.signal,
            });
            if (isAwake(sandbox.status)) await stopOnce(sandbox, env.signal);
          } catch (error) {
            throw isGone(error) ? sandboxGone(sandboxId, error as VercelRefusal) : error;
          }
        }),

      wake: (record, env) =>
        withVendor("wake a sandbox", env, async ({ Sandbox, options }) => {
          for (let attempt = 0; ; attempt++) {
            try {
              await Sandbox.get({ ...options, name: record.sandboxId, resume: true, signal: env.signal });
              return record;
            } catch (error) {
              if (isGone(error)) throw sandboxGone(record.sandboxId, error as VercelRefusal);
              const pause = isFallingAsleep(error) ? BUSY_PAUSES_MS[attempt] : undefined;
              if (pause === undefined) throw error;
              await sleep(pause, undefined, { signal: env.signal });
            }
          }
        }),
    },
  };
}

interface Vendor {
  Sandbox: typeof Sandbox;
  scope: VercelScope;
  wire: VercelWire;
  options: VercelScope & { fetch: typeof fetch };
}

function recordOf(sandboxId: string, { computeId }: ProviderEnv): SandboxRecord {
  return { sandboxId, computeId, provider: "vercel" };
}

/**
 * Makes a sandbox under a name of ours. It is never given up half way: a request that is aborted would leave a sandbox
 * that nobody knows. When the caller is gone or the answer is lost, the name is enough to remove what was made.
 */
async function create(
  at: Vendor,
  name: string,
  { timeout_ms, metadata }: CreateSandboxRequest,
  runtime: string | undefined,
  signal: AbortSignal,
): Promise<void> {
  const session = metadata.cerver_session_id;
  const envs = environmentOf(metadata.env);
  try {
    await at.Sandbox.create({
      ...at.options,
      name,
      persistent: true,
      timeout: timeout_ms ?? DEFAULT_LIFETIME_MS,
      snapshotExpiration: SNAPSHOT_LIFETIME_MS,
      keepLastSnapshots: { count: 1 },
      ...(runtime !== undefined && { runtime }),
      ...(envs && { env: { [ENVIRONMENT_VARIABLE]: JSON.stringify(envs) } }),
      ...(typeof session === "string" && { tags: { [SESSION_TAG]: session } }),
    });
  } catch (error) {
    const isNotMade = error instanceof VercelRefusal && error.status !== undefined && error.status < 500;
    if (!isNotMade) await removeUnknown(at, name, error);
    throw error;
  }
  if (!signal.aborted) return;
  await removeUnknown(at, name, signal.reason);
  throw signal.reason;
}

/** The variables of every run, from `metadata.env`. */
function environmentOf(env: unknown): Record<string, string> | undefined {
  if (env === undefined || env === null) return undefined;
  const result = Environment.safeParse(env);
  if (result.success) return result.data;
  throw new CerverError("invalid_request", "metadata.env: has to be an object of variable names and texts.");
}

/** Removes a sandbox that may be there, or may still be about to be. */
async function removeUnknown(at: Vendor, name: string, cause: unknown): Promise<void> {
  let failure: unknown;
  for (const pause of REMOVE_PAUSES_MS) {
    await sleep(pause);
    try {
      if (await remove(at, name, new AbortController().signal)) return;
      failure = undefined;
    } catch (error) {
      failure = error;
    }
  }
  if (failure === undefined) return;
  throw new CerverError(
    "provider_failed",
    `${VENDOR} may have made a sandbox whose making was given up, and it could not be removed: ${wordsOf(failure)}.`,
    {
      hint: `Look for "${name}" in the project's sandboxes. It stops by itself when its time is over.`,
      details: { vendor: VENDOR, sandbox_id: name },
      cause,
    },
  );
}

/** Deletes a sandbox with its snapshots, and ends what runs in it. Tells whether it was there. */
async function remove({ Sandbox, options }: Vendor, name: string, signal: AbortSignal): Promise<boolean> {
  for (let attempt = 0; ; attempt++) {
    try {
      const sandbox = await Sandbox.get({ ...options, name, resume: false, signal });
      // One that the vendor will not delete while it runs is stopped; one that is stopping is waited for.
      if (attempt > 0 && sandbox.status === "running") await stopOnce(sandbox, signal);
      await sandbox.delete({ deleteOrphanSnapshots: true, signal });
      return true;
    } catch (error) {
      if (isGone(error)) return attempt > 0;
      const isBusy = error instanceof VercelRefusal && (error.status === 409 || error.status === 422);
      const pause = isBusy ? BUSY_PAUSES_MS[attempt] : undefined;
      if (pause === undefined) throw error;
      await sleep(pause, undefined, { signal });
    }
  }
}

/** Stops a sandbox, unless it has stopped by itself meanwhile. */
async function stopOnce(sandbox: Sandbox, signal: AbortSignal): Promise<void> {
  await sandbox.stop({ signal }).catch((error: unknown) => {
    if (!(error instanceof VercelRefusal) || error.status !== 410) throw error;
  });
}

/** Refuses what nobody knows, by its name, and what cannot be served here. */
function orderOf(request: SandboxRunRequest): Extract<Order, { kind: "run" }> {
  const { runtime, code, cwd, envs, stdin, background, stdin_open } = parse(SandboxRunRequest, request);
  if (background)
    throw new CerverError("unsupported", `${VENDOR} runs cannot be given background here.`, {
      hint: "Stream the run, or let a compute of your own run it in the background.",
    });
  if (stdin_open)
    throw new CerverError("unsupported", `${VENDOR} runs cannot be given stdin_open here.`, {
      hint: "Give the whole input as stdin.",
    });
  return { kind: "run", command: { kind: runtime, code }, cwd, envs, stdin, limitMs: backstopOf(request) };
}

/** When the sandbox ends a run by itself: after its own time, and what a gateway needs to do it. */
function backstopOf(request: Parameters<typeof timeoutOf>[0]): number {
  return timeoutOf(request) * 1000 + BACKSTOP_MS;
}

/** What the supervisor says of a file: where it really is, and its bytes. */
const Looked = z.object({ path: z.string(), size: z.number() });

/** A name, with a scope and a version, tag or range of plain characters (npm's package.json documentation, "name"). */
const NPM_PACKAGE =
  /^(?:@[a-z0-9~-][a-z0-9._~-]*\/)?[a-z0-9~-][a-z0-9._~-]*(?:@[A-Za-z0-9^~][A-Za-z0-9._+~^-]*)?$/;
/** A name, with extras and an exact version (PEP 508, names; PEP 440, versions). */
const PIP_PACKAGE =
  /^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?(?:\[[A-Za-z0-9,._-]+\])?(?:==[A-Za-z0-9.!+*-]+)?$/;

/** Installs one package into the working folder. The name stands alone as an argument: it is never an option or a path. */
function installCommand({ package: name, manager }: InstallRequest) {
  const valid = manager === "npm" ? NPM_PACKAGE : PIP_PACKAGE;
  if (!valid.test(name) || name.startsWith("-")) {
    throw new CerverError("invalid_request", `package: "${name}" is not the name of a ${manager} package.`, {
      hint:
        manager === "npm"
          ? "For example left-pad or @types/node@20."
          : "For example requests or requests==2.32.0.",
    });
  }
  const [file, ...args] =
    manager === "npm"
      ? ["npm", "install", "--no-audit", "--no-fund", "--", name]
      : ["python3", "-m", "pip", "install", "--target", ".python", "--", name];
  return { kind: "argv" as const, file: file!, args };
}

/** What the text of a path tells already; links are looked at in the sandbox. */
function refuseOutside(field: "path" | "cwd", root: string, path: string): void {
  const target = posix.resolve(root, path);
  const why = path.includes("\0")
    ? "it holds a NUL character"
    : target === root || target.startsWith(`${root}/`)
      ? undefined
      : posix.isAbsolute(path)
        ? "it is an absolute path to another place"
        : "it leads up and out";
  if (why === undefined) return;
  const shown = path.replaceAll("\0", "\\0");
  throw new CerverError("forbidden", `${field}: "${shown}" is outside of this sandbox's folder: ${why}.`, {
    hint: `Use a ${field === "cwd" ? "folder" : "path"} inside the session's own.`,
  });
}

/** The whole of a stream, with a bound that holds even if the file grows meanwhile. */
async function upTo(max: number, stream: NodeJS.ReadableStream, path: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream) {
    size += chunk.length;
    if (size > max) throw tooLarge(path);
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}

function tooLarge(path: string): CerverError {
  return new CerverError("too_large", `path: "${path}" is larger than ${MAX_FILE_BYTES / 1024 / 1024} MiB.`, {
    hint: "Split it, or move it with a run, for example with curl.",
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isAwake(status: Sandbox["status"]): boolean {
  return status === "running" || status === "pending";
}

function isFallingAsleep(error: unknown): boolean {
  return (
    error instanceof VercelRefusal &&
    error.status === 422 &&
    (error.code === "sandbox_stopping" || error.code === "sandbox_snapshotting")
  );
}

function sandboxGone(sandboxId: string, { status, code, message }: VercelRefusal): CerverError {
  return new CerverError(
    "sandbox_not_found",
    `${VENDOR} has no sandbox "${sandboxId}" any more: ${message}.`,
    {
      hint: "It was deleted, or its time is over. Create a new session.",
      details: { vendor: VENDOR, vendor_status: status, ...(code !== undefined && { vendor_code: code }) },
    },
  );
}

function notRunning(sandboxId: string, status: string): CerverError {
  return new CerverError(
    "sandbox_not_found",
    `The sandbox "${sandboxId}" is not running at Vercel: it is ${status}.`,
    {
      hint: "It was put to sleep, or its time is over. Wake it, or create a new session.",
      details: { vendor: VENDOR, vendor_code: status },
    },
  );
}

/** Whether an error only says that the signal was aborted. */
function isAbort(error: unknown, signal: AbortSignal): boolean {
  if (error === signal.reason) return true;
  return error instanceof Error && error.name === "AbortError" && !(error instanceof VercelRefusal);
}

function failureOf(doing: string, error: unknown): CerverError {
  if (error instanceof CerverError) return error;
  const { status, code, retryAfterMs } =
    error instanceof VercelRefusal ? error : ({} as Partial<VercelRefusal>);
  return vendorFailure({
    vendor: VENDOR,
    doing,
    status,
    code,
    message: wordsOf(error),
    retryAfterMs,
    cause: error,
  });
}

function wordsOf(error: unknown): string {
  const words = error instanceof Error ? error.message : String(error);
  return words.slice(0, 500) || "it does not say why";
}
