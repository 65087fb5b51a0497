import { CerverError } from "../../../protocol/errors.js";
import { CreatedSandbox, PROVIDER_PATH } from "../../../protocol/sandbox.js";
import { withKnownBody } from "../../../tunnel/known-body.js";
import { INLINE_BODY_BYTES } from "../../../tunnel/wire.js";
import type { CerverInterface, ProviderEnv, SandboxRecord } from "../contract.js";
import { fromPublicRun, fromPublicRunStream, isPublicRelay } from "./public-relay.js";

/** Reaches one compute: through the tunnel hub, or straight to `P69_BASE_URL`. */
export type ComputeFetch = (computeId: string, request: Request) => Promise<Response>;

/**
 * Your own machine as a provider.
 *
 * The relay over there serves the compute API, so every method is one request to it, and its response is handed on
 * as it is. A public relay's answers are put into our words first.
 */
export function p69Provider(fetchCompute: ComputeFetch): CerverInterface {
  const send = (computeId: string, method: string, path: string, env: ProviderEnv, body?: unknown) => {
    const bytes = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    const request = new Request(`http://compute${PROVIDER_PATH}/sandboxes${path}`, {
      method,
      signal: env.signal,
      ...(bytes && { headers: { "content-type": "application/json" }, body: bytes }),
    });
    // A small body travels in one message with its head.
    if (bytes && bytes.length <= INLINE_BODY_BYTES) withKnownBody(request, bytes);
    return fetchCompute(computeId, request);
  };
  const call = (record: SandboxRecord, method: string, path: string, env: ProviderEnv, body?: unknown) =>
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
  };
}
