import type { Scope } from "../../protocol/scopes.js";

/** Who calls: the same `id` is the same token, whose key may have been renewed. Without one, the account of a gateway without tokens. */
export interface McpCaller {
  id: string;
  token: string | undefined;
  scopes: ReadonlySet<Scope>;
}

/** What serves `/mcp`. The gateway has none of its own: whoever starts it brings one. */
export interface McpEndpoint {
  fetch(request: Request, caller: McpCaller): Promise<Response>;
  close(): Promise<void>;
}

/** Opens it, at the first request. Its tools speak to `gatewayUrl`, as every client does. */
export type OpenMcpEndpoint = (options: { gatewayUrl: string }) => Promise<McpEndpoint>;
