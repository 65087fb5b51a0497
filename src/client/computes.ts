import { Compute, ComputeList, RegisteredCompute as Registered } from "../protocol/computes.js";
import { at, type GatewayHttp } from "./http.js";
import type * as wire from "./wire.js";

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
  };
}
