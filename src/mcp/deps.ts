import type { GatewayClient } from "../client/gateway-client.js";
import type { Secrets } from "../secrets/secrets.js";

/** What the tools reach the world through. Both fail per call, with words, never at start. */
export interface McpDeps {
  client(): Promise<GatewayClient>;
  secrets(): Secrets;
  version: string;
}
