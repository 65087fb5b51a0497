import type { GatewayClient } from "../client/gateway-client.js";
import type { Scope } from "../protocol/scopes.js";
import type { Secrets } from "../secrets/secrets.js";

/** What tools and resources reach the world through. Both fail per call, with words, never at start. */
export interface McpDeps {
  client(): Promise<GatewayClient>;
  /** Absent at a gateway: it has no secrets of its users'. */
  secrets?(): Secrets;
  /** What the caller's token may do; undefined when nobody can say, and then every call finds out for itself. */
  scopes?: ReadonlySet<Scope> | undefined;
  /** The folder that the server was started in, when it runs on its caller's machine. */
  cwd?: string | undefined;
}

/** Whether what needs `run` is shown: a token that may only read is for the memory alone. */
export function mayRun({ scopes }: Pick<McpDeps, "scopes">): boolean {
  return scopes === undefined || scopes.has("run") || scopes.has("admin");
}
