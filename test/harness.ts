import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openMcpEndpoint } from "../src/cli/mcp-endpoint.js";
import { GatewayClient } from "../src/client/gateway-client.js";
import { type GatewayConfigInput, gatewayConfig } from "../src/gateway/config.js";
import { type Gateway, type GatewayDeps, startGateway } from "../src/gateway/start.js";
import { openCredentialStore } from "../src/login/credential-store.js";
import type { Scope } from "../src/protocol/scopes.js";
import type { CreateSessionRequest } from "../src/protocol/sessions.js";
import { type RelayConfig, relayConfig } from "../src/relay/config.js";
import type { ConnectionState } from "../src/relay/connection.js";
import { type Relay, startRelay } from "../src/relay/start.js";
import { type Logger, silentLogger } from "../src/util/logger.js";

/** A gateway and, unless told otherwise, a relay of this machine: real sockets, real processes, a real database file. */
export interface Cerver {
  gateway: Gateway;
  relay: Relay | undefined;
  /** What the relay said of its link, in order. */
  states: ConnectionState[];
  /** A folder for whatever the test needs; removed at the end. */
  folder: string;
  token: string;
  client: GatewayClient;
  clientWith(scopes: Scope[]): Promise<GatewayClient>;
  /** Calls the API as `curl` would. */
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Response>;
  attachRelay(config?: Partial<RelayConfig>): Promise<Relay>;
  /** A session on the relay. */
  session(request?: CreateSessionRequest): Promise<string>;
  stop(): Promise<void>;
}

export interface StartCerverOptions {
  gateway?: GatewayConfigInput;
  relay?: Partial<RelayConfig> | false;
  env?: Record<string, string | undefined>;
  deps?: GatewayDeps;
  relayLogger?: Logger;
}

export async function startCerver(options: StartCerverOptions = {}): Promise<Cerver> {
  const folder = await mkdtemp(join(tmpdir(), "cerver-test-"));
  const env = { ...process.env, ...options.env };
  const gateway = await startGateway(
    gatewayConfig({ port: 0, dataDir: join(folder, "data"), ...options.gateway }, { HOME: folder }),
    { logger: silentLogger, mcp: openMcpEndpoint, ...options.deps },
  );
  const token = await gateway.createToken({ label: "test", scopes: ["admin"] });
  const client = new GatewayClient({ gatewayUrl: gateway.url, token });
  const relays: Relay[] = [];
  const states: ConnectionState[] = [];

  const cerver: Cerver = {
    gateway,
    relay: undefined,
    states,
    folder,
    token,
    client,
    clientWith: async (scopes) =>
      new GatewayClient({ gatewayUrl: gateway.url, token: await gateway.createToken({ label: "", scopes }) }),
    call: (method, path, body, headers = {}) =>
      fetch(gateway.url + path, {
        method,
        headers: {
          authorization: `Bearer ${token}`,
          ...(body !== undefined && { "content-type": "application/json" }),
          ...headers,
        },
        ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
      }),
    attachRelay: async (config = {}) => {
      const name = config.name ?? "test-host";
      const relay = await startRelay(
        relayConfig(
          {
            gatewayUrl: gateway.url,
            token,
            stateDir: join(folder, `state-${name}`),
            configDir: join(folder, `config-${name}`),
            graceMs: 300,
            ...config,
            name,
          },
          env,
        ),
        {
          credentials: openCredentialStore({
            configDir: join(folder, `config-${name}`),
            env: { CERVER_CREDENTIALS: "file" },
          }),
          openBrowser: async () => false,
          hasDisplay: false,
          say: () => {},
          onState: (state) => states.push(state),
          logger: options.relayLogger ?? silentLogger,
        },
      );
      relays.push(relay);
      return relay;
    },
    session: async (request = {}) => (await client.createSession(request)).session_id,
    stop: async () => {
      await Promise.all(relays.map((relay) => relay.stop()));
      await gateway.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
  if (options.relay !== false) cerver.relay = await cerver.attachRelay(options.relay ?? {});
  return cerver;
}

/** Whether a process is there and not merely waiting to be reaped. */
export async function isAlive(pid: number): Promise<boolean> {
  const { readFile } = await import("node:fs/promises");
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "latin1");
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2));
  } catch {
    return false;
  }
}
