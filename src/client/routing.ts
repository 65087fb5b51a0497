import { ReplayReport, RoutingExplained } from "../protocol/routing.js";
import type { GatewayHttp } from "./http.js";
import type * as wire from "./wire.js";

/** What the router would say. Nothing is made. */
export interface RoutingCalls {
  /** Where a create would go now, and why. */
  explainRouting(body?: wire.CreateSessionRequest): Promise<wire.RoutingExplained>;
  /** What another policy would have chosen and cost. `since` is a time such as `24h` or `7d`. */
  replayRouting(policy: Exclude<wire.RoutingMode, "pinned">, since?: string): Promise<wire.ReplayReport>;
}

export function routingCalls(http: GatewayHttp): RoutingCalls {
  return {
    explainRouting: (body = {}) => http.json("POST", "/v2/routing/explain", RoutingExplained, { body }),
    replayRouting: (policy, since) =>
      http.json("GET", "/v2/routing/replay", ReplayReport, { query: { policy, since } }),
  };
}
