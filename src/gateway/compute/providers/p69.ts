import type { z } from "zod";
import { CerverError } from "../../../protocol/errors.js";
import { PORT_ANSWER_HEADER, PortList, relayPortPath } from "../../../protocol/ports.js";
import {
  CreatedSandbox,
  KEPT_RUNS_PATH,
  KeptRun,
  LookupAnswer,
  PROVIDER_PATH,
} from "../../../protocol/sandbox.js";
import { INLINE_BODY_BYTES, type SmallCall } from "../../../tunnel/wire.js";
import { withKnownBody } from "../../../util/known-body.js";
import type {
  DurableRuns,
  MachineEnv,
  PortForwarding,
  PortRequest,
  ProviderAdapter,
  SandboxRecord,
} from "../contract.js";
import { relayFolder } from "./p69-folder.js";
import { fromPublicRun, fromPublicRunStream, isPublicRelay } from "./public-relay.js";

/** Reaches one compute: through the tunnel hub, or straight to `P69_BASE_URL`. */
export type ComputeFetch = (computeId: string, request: Request) => Promise<Response>;

/** The same for a JSON body that is small and at hand, where there is a shorter way for it. */
export type ComputeCall = (computeId: string, call: SmallCall) => Promise<Response>;

/**
 * Your own machine as a provider.
 *
 * The relay over there serves the compute API, so every method is one request to it, and its response is handed on
 * as it is. A public relay's answers are put into our words first.
 */
export function p69Provider(fetchCompute: ComputeFetch, callCompute?: ComputeCall): ProviderAdapter {
  const ask = (computeId: string, method: string, path: string, env: MachineEnv, bytes?: Uint8Array) => {
    if (callCompute && bytes && bytes.length <= INLINE_BODY_BYTES)
      return callCompute(computeId, { method, path, body: bytes, signal: env.signal });
    const request = new Request(`http://compute${path}`, {
      method,
      signal: env.signal,
      ...(bytes && {
        headers: { "content-type": "application/json" },
        body: bytes as Uint8Array<ArrayBuffer>,
      }),
    });
    // A small body travels in one message with its head.
    if (bytes && bytes.length <= INLINE_BODY_BYTES) withKnownBody(request, bytes);
    return fetchCompute(computeId, request);
  };
  const send = (computeId: string, method: string, path: string, env: MachineEnv, body?: unknown) =>
    ask(
      computeId,
      method,
      `${PROVIDER_PATH}/sandboxes${path}`,
      env,
      body === undefined ? undefined : Buffer.from(JSON.stringify(body)),
    );
  const call = (record: SandboxRecord, method: string, path: string, env: MachineEnv, body?: unknown) =>
    send(record.computeId, method, `/${encodeURIComponent(record.sandboxId)}${path}`, env, body);

  return {
    providerName: "p69",

    async createSandbox(request, env) {
      const response = await send(env.computeId, "POST", "", env, request);
      const body: unknown = await response.json().catch(() => undefined);
      if (!response.ok) throw CerverError.fromBody(response.status, body);
      const created = CreatedSandbox.safeParse(body);
      if (!created.success) {
        throw new CerverError("provider_failed", "The relay did not say which sandbox it made.", {
          hint: "Update the relay on that machine, then try again.",
        });
      }
      return { sandboxId: created.data.sandbox_id, computeId: env.computeId, provider: "p69" };
    },

    async runSandbox(record, request, env) {
      const response = await call(record, "POST", "/run", env, request);
      return isPublicRelay(response) ? fromPublicRun(response, request) : response;
    },

    async runSandboxStream(record, request, env) {
      const response = await call(record, "POST", "/run/stream", env, request);
      return isPublicRelay(response) ? fromPublicRunStream(response, request) : response;
    },

    async installPackage(record, request, env) {
      return call(record, "POST", "/install", env, request);
    },

    writeFile: (record, request, env) => call(record, "PUT", "/files", env, request),

    readFile: (record, path, encoding, env) =>
      call(record, "GET", `/files?${new URLSearchParams({ path, encoding })}`, env),

    getState: (record, env) => call(record, "GET", "/state", env),

    setState: (record, state, env) => call(record, "PUT", "/state", env, state),

    deleteSandbox: (record, env) => call(record, "DELETE", "", env),

    durable: durableRuns(ask, call),
    folder: relayFolder(fetchCompute),
    ports: portForwarding(fetchCompute, (record, env) => call(record, "GET", "/ports", env)),
  };
}

/** The ports of our relay's sandboxes: requests to them go through the tunnel like any other. */
function portForwarding(
  fetchCompute: ComputeFetch,
  list: (record: SandboxRecord, env: MachineEnv) => Promise<Response>,
): PortForwarding {
  const pass = async (
    { computeId, sandboxId }: SandboxRecord,
    kind: "ports" | "sockets",
    port: number,
    { method, path, headers, body }: PortRequest,
    { signal }: MachineEnv,
  ) => {
    const init = { method, headers, body, signal, duplex: "half" as const };
    const response = await fetchCompute(
      computeId,
      new Request(`http://compute${relayPortPath(sandboxId, kind, port)}${path}`, init),
    );
    const from = response.headers.get(PORT_ANSWER_HEADER);
    // Without it this is the relay's own word, and not that of the server behind it.
    if (from === null)
      throw CerverError.fromBody(response.status, await response.json().catch(() => undefined));
    response.headers.delete(PORT_ANSWER_HEADER);
    return { accepted: from === "upgraded", response };
  };
  return {
    async list(record, env) {
      return (await read(PortList, await list(record, env))).ports;
    },
    forward: async (record, port, request, env) => (await pass(record, "ports", port, request, env)).response,
    socket: (record, port, request, env) =>
      pass(record, "sockets", port, { ...request, method: "POST" }, env),
  };
}

/** The runs that our relay keeps, which a public relay does not have. */
function durableRuns(
  ask: (
    computeId: string,
    method: string,
    path: string,
    env: MachineEnv,
    bytes?: Uint8Array,
  ) => Promise<Response>,
  call: (
    record: SandboxRecord,
    method: string,
    path: string,
    env: MachineEnv,
    body: unknown,
  ) => Promise<Response>,
): DurableRuns {
  const at = (runId: string, rest: string) => `${KEPT_RUNS_PATH}/${encodeURIComponent(runId)}${rest}`;
  return {
    async start(record, request, env) {
      return read(KeptRun, await call(record, "POST", "/runs", env, request));
    },
    async lookup(run_ids, env) {
      const body = Buffer.from(JSON.stringify({ run_ids }));
      return (
        await read(LookupAnswer, await ask(env.computeId, "POST", `${KEPT_RUNS_PATH}/lookup`, env, body))
      ).runs;
    },
    answer: ({ computeId, runId }, env) => ask(computeId, "GET", at(runId, "/answer"), env),
    stream: ({ computeId, runId }, { stdout, stderr }, env) =>
      ask(computeId, "GET", at(runId, `/stream?stdout_offset=${stdout}&stderr_offset=${stderr}`), env),
    output: ({ computeId, runId }, { stream, from, until }, env) =>
      ask(
        computeId,
        "GET",
        at(runId, `/output?stream=${stream}&from=${from}${until === undefined ? "" : `&until=${until}`}`),
        env,
      ),
    stdin: ({ computeId, runId }, { bytes, offset, close }, env) =>
      ask(
        computeId,
        "POST",
        at(runId, `/stdin?close=${close ? 1 : 0}${offset === undefined ? "" : `&offset=${offset}`}`),
        env,
        bytes,
      ),
    async cancel({ computeId, runId }, env) {
      return read(KeptRun, await ask(computeId, "POST", at(runId, "/cancel"), env));
    },
    ends: (env) => ask(env.computeId, "GET", `${KEPT_RUNS_PATH}/ends`, env),
  };
}

async function read<S extends z.ZodType>(schema: S, response: Response): Promise<z.output<S>> {
  const body: unknown = await response.json().catch(() => undefined);
  if (!response.ok) throw CerverError.fromBody(response.status, body);
  const answer = schema.safeParse(body);
  if (answer.success) return answer.data;
  throw new CerverError("provider_failed", "The relay's answer about its runs is not understood.", {
    hint: "Update the relay on that machine, then try again.",
  });
}
