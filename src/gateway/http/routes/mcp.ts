import { isIP } from "node:net";
import type { HttpBindings } from "@hono/node-server";
import { type Context, Hono } from "hono";
import { CerverError } from "../../../protocol/errors.js";
import type { ApiTokens } from "../../account/api-tokens.js";
import type { BrowserSignins } from "../../account/browser-signins.js";
import { type AccountVariables, principalOfHeaders } from "../auth.js";
import { isLoopback } from "../local-only.js";
import type { McpEndpoint } from "../mcp-endpoint.js";

export interface McpRoutesDeps {
  /** The endpoint; undefined on a gateway that was started without one. */
  mcp: (() => Promise<McpEndpoint>) | undefined;
  tokens: ApiTokens;
  signins: BrowserSignins;
  publicUrl: () => string;
  localAccountId?: string | undefined;
}

/** `/mcp`: the Model Context Protocol over Streamable HTTP, for whoever has a token. A page's sign-in does not count here. */
export function mcpRoutes({ mcp, publicUrl, ...auth }: McpRoutesDeps) {
  const routes = new Hono<{ Variables: AccountVariables }>();
  if (mcp === undefined) return routes;
  return routes.all("/mcp", async (c) => {
    refuseForeignHost(c, publicUrl());
    refuseForeignOrigin(c, publicUrl());
    const { cookie: _, ...headers } = (c.env as HttpBindings).incoming.headers;
    const principal = await principalOfHeaders(headers, auth, c.req.method).catch((error: unknown) => {
      // Tells a client where a token is to be had (RFC 9728, section 5.1).
      c.header(
        "WWW-Authenticate",
        `Bearer resource_metadata="${publicUrl()}/.well-known/oauth-protected-resource/mcp"`,
      );
      throw error;
    });
    const token = headers.authorization?.replace(/^Bearer +/i, "");
    const { tokenId, accountId, scopes } = principal;
    return (await mcp()).fetch(c.req.raw, { id: tokenId ?? accountId, token, scopes });
  });
}

/** A page that rebinds its own name to this address still sends that name as Host. */
function refuseForeignHost(c: Context, publicUrl: string): void {
  const host = c.req.header("host") ?? "";
  const name = host.replace(/:\d{1,5}$/, "").replace(/^\[(.*)\]$/, "$1");
  if (isLoopback(host) || isIP(name) !== 0 || host === new URL(publicUrl).host) return;
  throw new CerverError("forbidden", `MCP is served at ${publicUrl}/mcp, not under the name "${host}".`, {
    hint: "Use that address, or start the gateway with --public-url and the name that you use.",
  });
}

function refuseForeignOrigin(c: Context, publicUrl: string): void {
  const origin = c.req.header("origin");
  if (origin === undefined || origin === new URL(publicUrl).origin) return;
  if (URL.canParse(origin) && isLoopback(new URL(origin).host) && isLoopback(c.req.header("host") ?? ""))
    return;
  throw new CerverError("forbidden", `Pages of "${origin}" may not call this gateway's MCP endpoint.`, {
    hint: "Connect with an MCP client, not from a web page.",
  });
}
