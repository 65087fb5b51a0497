import { StdioServerTransport, serveStdio } from "@modelcontextprotocol/server/stdio";
import { GatewayClient } from "../client/gateway-client.js";
import type { GatewayChoice } from "../login/gateway-choice.js";
import { CerverError } from "../protocol/errors.js";
import { openSecretBackend } from "../secrets/secret-backend.js";
import type { Env } from "../util/paths.js";
import { VERSION } from "../util/version.js";
import { createMcpServer } from "./server.js";

export interface McpConfig {
  /** Which gateway to read from. Asked at each call until there is a token, so that a login takes effect at once. */
  choose(): Promise<GatewayChoice>;
  env: Env;
  process: Pick<NodeJS.Process, "stdin" | "stdout" | "stderr" | "on" | "cwd">;
}

/** Serves MCP on stdin and stdout until stdin ends. What is said to people goes to stderr. */
export async function startMcp({ choose, env, process }: McpConfig): Promise<void> {
  let client: GatewayClient | undefined;
  const deps = {
    client: async () => {
      client ??= await connect(choose);
      return client;
    },
    secrets: () => openSecretBackend(env),
    cwd: process.cwd(),
  };
  const server = serveStdio(() => createMcpServer(deps), {
    transport: new StdioServerTransport(process.stdin, process.stdout),
    onerror: (error) => process.stderr.write(`cerver mcp: ${error.message}\n`),
  });
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => void server.close());
}

async function connect(choose: McpConfig["choose"]): Promise<GatewayClient> {
  const { gatewayUrl, token, tokenWithheld } = await choose();
  if (token !== undefined)
    return new GatewayClient({ gatewayUrl, token, userAgent: `cerver-mcp/${VERSION}` });
  throw new CerverError("unauthenticated", `cerver has no token for the gateway ${gatewayUrl}.`, {
    hint:
      tokenWithheld ??
      'Set CERVER_API_TOKEN under "env" in the MCP client\'s configuration of cerver, or run `cerver login` on this machine.',
  });
}
