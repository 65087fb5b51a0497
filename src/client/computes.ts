import { Compute, ComputeList, RegisteredCompute as Registered } from "../protocol/computes.js";
import { at, type GatewayHttp } from "./http.js";
import type * as wire from "./wire.js";

/** As long as the gateway waits for a compute, and a little more. */
const EXEC_TIMEOUT_MS = 190_000;

/** `relay_token` is there once: a credential for this compute alone. Older gateways send none. */
export interface RegisteredCompute {
  compute_id: string;
  owner_id?: string | undefined;
  relay_token?: string | undefined;
}

/** Hosts that sessions run on. */
export interface ComputeCalls {
  computes(): Promise<wire.Compute[]>;
  compute(id: string): Promise<wire.Compute>;
  /** Attaches a host. */
  registerCompute(body: wire.RegisterComputeRequest): Promise<RegisteredCompute>;
  heartbeat(id: string, body: wire.HeartbeatRequest, signal?: AbortSignal): Promise<void>;
  deleteCompute(id: string): Promise<void>;
  /** Passes one request on to the compute's own surface; gives the body of its answer. */
  execOnCompute(id: string, body: wire.ComputeExecRequest, signal?: AbortSignal): Promise<unknown>;
}

export function computeCalls(http: GatewayHttp): ComputeCalls {
  return {
    computes: async () => (await http.json("GET", "/v2/computes", ComputeList)).computes,
    compute: (id) => http.json("GET", at`/v2/computes/${id}`, Compute),
    registerCompute: (body) => http.json("POST", "/v2/computes/register", Registered, { body }),
    async heartbeat(id, body, signal) {
      await http.raw("POST", at`/v2/computes/${id}/heartbeat`, { body, signal });
    },
    async deleteCompute(id) {
      await http.raw("DELETE", at`/v2/computes/${id}`);
    },
    execOnCompute: (id, body, signal) =>
      http.raw("POST", at`/v2/computes/${id}/exec`, { body, signal, timeoutMs: EXEC_TIMEOUT_MS }),
  };
}
