import type { GatewayClient } from "../client/gateway-client.js";
import type { SecretBackend } from "../secrets/secret-backend.js";

/** What the tools reach the world through. Both fail per call, with words, never at start. */
export interface McpDeps {
  client(): Promise<GatewayClient>;
  secrets(): SecretBackend;
  version: string;
}
