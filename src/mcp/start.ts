import { StdioServerTransport, serveStdio } from "@modelcontextprotocol/server/stdio";
import { GatewayClient } from "../client/gateway-client.js";
import type { GatewayChoice } from "../login/gateway-choice.js";
import { CerverError } from "../protocol/errors.js";
import type { Scope } from "../protocol/scopes.js";
import { openSecrets, type Secrets } from "../secrets/secrets.js";
import type { Env } from "../util/paths.js";
import { VERSION } from "../util/version.js";
import type { RequestId } from "./handshake.js";
import { createMcpServer } from "./server.js";

export interface McpConfig {
  /** Which gateway to read from. Asked at each call until there is a token, so that a login takes effect at once. */
  choose(): Promise<GatewayChoice>;
  env: Env;
  process: Pick<NodeJS.Process, "stdin" | "stdout" | "stderr" | "on" | "cwd">;
  /** The request that has its answer already. */
  answered: RequestId | undefined;
}

/** How long the first list of tools waits to hear what the token may do. */
const SCOPES_TIMEOUT_MS = 2_000;

/** Serves MCP on stdin and stdout until stdin ends. What is said to people goes to stderr. */
export async function startMcp({ choose, env, process, answered }: McpConfig): Promise<void> {
  let connected: GatewayClient | undefined;
  const client = async () => {
    connected ??= await connect(choose);
    return connected;
  };
  let secrets: Secrets | undefined;
  let scopes: Promise<ReadonlySet<Scope> | undefined> | undefined;
  const serve = async () => {
    scopes ??= scopesOf(client);
    return createMcpServer({
      client,
      secrets: () => {
        secrets ??= openSecrets(env);
        return secrets;
      },
      scopes: await scopes,
      cwd: process.cwd(),
    });
  };
  const server = serveStdio(serve, {
    transport: new AnsweredTransport(process.stdin, process.stdout, answered),
    onerror: (error) => process.stderr.write(`cerver mcp: ${error.message}\n`),
  });
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => void server.close());
}

/** stdin and stdout, of which the first request may have been answered before. */
class AnsweredTransport extends StdioServerTransport {
  #answered: RequestId | undefined;
  readonly #stdin: NodeJS.ReadStream;

  constructor(stdin: NodeJS.ReadStream, stdout: NodeJS.WriteStream, answered: RequestId | undefined) {
    super(stdin, stdout);
    this.#stdin = stdin;
    this.#answered = answered;
  }

  override async start(): Promise<void> {
    await super.start();
    this.#stdin.resume();
  }

  override async send(message: Parameters<StdioServerTransport["send"]>[0]): Promise<void> {
    if (
      this.#answered !== undefined &&
      "id" in message &&
      message.id === this.#answered &&
      !("method" in message)
    ) {
      this.#answered = undefined;
      return;
    }
    await super.send(message);
  }
}

/** What the token may do; undefined when the gateway cannot say. */
async function scopesOf(client: () => Promise<GatewayClient>): Promise<ReadonlySet<Scope> | undefined> {
  try {
    const { scopes } = await (await client()).whoami(AbortSignal.timeout(SCOPES_TIMEOUT_MS));
    return scopes && new Set(scopes as Scope[]);
  } catch {
    return undefined;
  }
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
