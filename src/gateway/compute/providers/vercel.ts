import { randomUUID } from "node:crypto";
import type { Sandbox } from "@vercel/sandbox";
import { CerverError } from "../../../protocol/errors.js";
import { installProgram } from "../../../protocol/packages.js";
import { parse } from "../../../protocol/parse.js";
import { timeoutOf } from "../../../protocol/runs.js";
import { type FileContent, SandboxRunRequest } from "../../../protocol/sandbox.js";
import type { ProviderAdapter, ProviderEnv, SandboxRecord } from "../contract.js";
import { type RunAtVendor, vendorAnswer, vendorStream } from "../vendor-run.js";
import { VercelAccounts } from "./vercel-account.js";
import { failureOf, isAbort, notRunning, sandboxGone, VENDOR } from "./vercel-failure.js";
import { readVercelFile, readVercelState, refuseOutside, writeVercelFile } from "./vercel-files.js";
import { askSupervisor, isGone, runOrder, type VercelVm } from "./vercel-run.js";
import {
  createVercel,
  isAwake,
  removeVercel,
  SESSION_TAG,
  stopVercel,
  type Vendor,
  wakeVercel,
} from "./vercel-sandboxes.js";
import type { Order } from "./vercel-supervisor.js";
import { type VercelRefusal, VercelWire } from "./vercel-wire.js";

/** A session's sandboxes are told up to here. */
const MAX_FOUND = 100;
/** How much later than its limit a run is ended by its own supervisor, in milliseconds. */
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
      return await act({ Sandbox, wire, options: { ...scope, fetch: wire.fetch } });
    } catch (error) {
      throw env.signal.aborted && isAbort(error, env.signal) ? env.signal.reason : failureOf(doing, error);
    }
  };

  /** Does something in a running sandbox. A sandbox that sleeps is not woken by it. */
  const inSandbox = <T>(
    doing: string,
    { sandboxId }: SandboxRecord,
    env: ProviderEnv,
    act: (vm: VercelVm, sandbox: Sandbox) => Promise<T>,
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
        return await act({ session, wire: at.wire }, sandbox);
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
      return answer((output, signal, begun) =>
        runOrder(vm, order, output, signal, begun).catch((error: unknown) => {
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
        await createVercel(at, name, request, runtime, env.signal);
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
      const command = { kind: "argv", ...installProgram(request) } as const;
      const order = { kind: "run", command, limitMs: backstopOf(asked) } as const;
      return run("install it", record, order, env, (atVendor) => vendorAnswer(asked, env.signal, atVendor));
    },

    writeFile: (record, request, env) =>
      inSandbox("write a file", record, env, async (vm, sandbox) => {
        const size = await writeVercelFile(vm, sandbox.cwd, request, env.signal);
        return Response.json({ success: true, path: request.path, size });
      }),

    readFile: (record, path, encoding, env) =>
      inSandbox("read a file", record, env, async (vm, sandbox) => {
        const bytes = await readVercelFile(vm, sandbox.cwd, path, env.signal);
        const file = { path, content: bytes.toString(encoding), encoding, size: bytes.length };
        return Response.json(file satisfies FileContent);
      }),

    getState: (record, env) =>
      inSandbox("read the state", record, env, async (vm) => {
        const state = await readVercelState(vm, env.signal);
        return Response.json({ provider: "vercel", sandbox_id: record.sandboxId, state });
      }),

    setState: (record, state, env) =>
      inSandbox("keep the state", record, env, async (vm) => {
        await askSupervisor(vm, { kind: "set_state", state: JSON.stringify(state) }, env.signal);
        return Response.json({ success: true, sandbox_id: record.sandboxId });
      }),

    deleteSandbox: ({ sandboxId }, env) =>
      withVendor("delete a sandbox", env, async (at) => {
        await removeVercel(at, sandboxId, env.signal);
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
            if (isAwake(sandbox.status)) await stopVercel(sandbox, env.signal);
          } catch (error) {
            throw isGone(error) ? sandboxGone(sandboxId, error as VercelRefusal) : error;
          }
        }),

      wake: (record, env) =>
        withVendor("wake a sandbox", env, async (at) => {
          await wakeVercel(at, record.sandboxId, env.signal).catch((error: unknown) => {
            throw isGone(error) ? sandboxGone(record.sandboxId, error as VercelRefusal) : error;
          });
          return record;
        }),
    },
  };
}

function recordOf(sandboxId: string, { computeId }: ProviderEnv): SandboxRecord {
  return { sandboxId, computeId, provider: "vercel" };
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
