import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { getRequestListener } from "@hono/node-server";
import { CerverError } from "../protocol/errors.js";
import type { Scope } from "../protocol/scopes.js";
import { Channel } from "../tunnel/channel.js";
import type { FrameSocket } from "../tunnel/frame-socket.js";
import { TunnelHub } from "../tunnel/hub.js";
import { socketPair } from "../tunnel/socket-pair.js";
import { createLogger, type Logger } from "../util/logger.js";
import { VERSION } from "../util/version.js";
import { Accounts } from "./account/accounts.js";
import { ApiTokens } from "./account/api-tokens.js";
import { BrowserSignins } from "./account/browser-signins.js";
import { ClientDocuments } from "./account/client-documents.js";
import { DeviceCodes } from "./account/device-codes.js";
import { MasterKey } from "./account/master-key.js";
import { OAuthClients } from "./account/oauth-clients.js";
import { OAuthGrants } from "./account/oauth-grants.js";
import { ProviderCredentials } from "./account/provider-credentials.js";
import { SigninLinks } from "./account/signin-links.js";
import { CATALOG } from "./compute/catalog.js";
import { CloudProviders, credentialed } from "./compute/cloud-providers.js";
import { Computes } from "./compute/computes.js";
import type { ProviderAdapter } from "./compute/contract.js";
import { DirectCompute } from "./compute/direct-compute.js";
import { cloudflareProvider } from "./compute/providers/cloudflare.js";
import { e2bProvider } from "./compute/providers/e2b.js";
import { p69Provider } from "./compute/providers/p69.js";
import { vercelProvider } from "./compute/providers/vercel.js";
import { providerRegistry } from "./compute/registry.js";
import { openRehearsals, type Rehearsal } from "./compute/rehearsals.js";
import { Sandboxes } from "./compute/sandboxes.js";
import { databaseUrl, type GatewayConfig, masterKeyFile } from "./config.js";
import { createGatewayApp } from "./http/app.js";
import { isLoopback } from "./http/local-only.js";
import type { McpEndpoint, OpenMcpEndpoint } from "./http/mcp-endpoint.js";
import { acceptNewsSockets } from "./http/news-upgrade.js";
import { acceptPortSockets } from "./http/port-upgrade.js";
import { previewUrl } from "./http/preview-address.js";
import { acceptTunnels } from "./http/tunnel-upgrade.js";
import { Ports } from "./session/ports.js";
import { Sessions } from "./session/sessions.js";
import { openDatabase } from "./store/database.js";

/** How many ports after the wanted one are tried with `portFallback`. */
const PORTS_TO_TRY = 20;

/** A running gateway. */
export interface Gateway {
  /** The address to use on this machine, without a slash at its end. */
  readonly url: string;
  /** The address that others use: `publicUrl` of the configuration, else `url`. */
  readonly publicUrl: string;
  readonly port: number;
  /** Makes a token for the gateway's own account. It is not kept anywhere. */
  createToken(options: { label: string; scopes: Scope[] }): Promise<string>;
  tokenIsValid(token: string): Promise<boolean>;
  /** Whether the account has a token that still works. */
  hasTokens(): Promise<boolean>;
  /** A one-time link that signs a browser in, valid for some minutes. */
  createSigninLink(): Promise<string>;
  /** Links a relay in this very process. Returns its end of the link. */
  localLink(computeId: string): FrameSocket;
  /** Ends every request, relay link and file. */
  stop(): Promise<void>;
}

export interface GatewayDeps {
  logger?: Logger;
  /** Adapters beside those of this package, or in the place of one of them. */
  adapters?: readonly ProviderAdapter[];
  /** Rehearsals beside those of the configuration. */
  rehearsals?: readonly Rehearsal[];
  /** Milliseconds since 1970, for sessions, routing and rehearsals. */
  now?: () => number;
  /** What serves `/mcp`; without it there is none. */
  mcp?: OpenMcpEndpoint;
  /** How often deadlines and idle clocks are looked at, in milliseconds. */
  lookMs?: number;
}

/** Opens the database, builds every part once, and listens. */
export async function startGateway(config: GatewayConfig, deps: GatewayDeps = {}): Promise<Gateway> {
  refuseOpenDoors(config);
  refuseTokenlessRelay(config);
  const logger = deps.logger ?? createLogger(config.logLevel);
  const software = `cerver/${VERSION}`;
  const db = await openDatabase(databaseUrl(config));
  try {
    const account = await new Accounts({ db }).ensureLocal();
    const tokens = new ApiTokens({ db });
    const signins = new BrowserSignins({ db });
    const links = new SigninLinks({ db });
    const devices = new DeviceCodes({ db, tokens });
    const hub = new TunnelHub();
    const computes = new Computes({ db, hub });
    const masterKey = await MasterKey.open({ given: config.masterKey, file: masterKeyFile(config) });
    const credentials = new ProviderCredentials({ db, key: masterKey });
    const rehearsals = [...(deps.rehearsals ?? []), ...(await openRehearsals(config.rehearsals, deps.now))];
    const catalog = [...CATALOG, ...rehearsals.map(({ profile }) => profile)];
    const adapters = [vercelProvider(), e2bProvider(), cloudflareProvider(), ...(deps.adapters ?? [])];
    const providers = providerRegistry([
      p69Provider(
        (id, request) => hub.fetch(id, request),
        (id, call) => hub.call(id, call),
      ),
      ...adapters.map((adapter) => credentialed(adapter, (id, provider) => credentials.open(id, provider))),
      ...rehearsals.map(({ adapter }) => adapter),
    ]);
    const clouds = new CloudProviders({
      adapters: providers,
      credentials,
      rehearsals: rehearsals.map(({ profile }) => profile),
    });
    const sandboxes = new Sandboxes({
      db,
      providers,
      computes,
      clouds,
      refuseUncounted: (accountId, provider) => sessions.costs.refuseUncounted(accountId, provider),
    });
    let publicUrl = config.publicUrl ?? "";
    // A gateway that others reach under a name is not on loopback, whatever its proxy connects to.
    const documents = new ClientDocuments({ allowLoopback: () => isLoopback(new URL(publicUrl).host) });
    const oauthClients = new OAuthClients({ documents, masterKey });
    const oauthGrants = new OAuthGrants({ db, tokens });
    const sessions = new Sessions({
      db,
      computes,
      clouds,
      providers,
      catalog,
      gatewayUrl: () => publicUrl,
      runGraceMs: config.runGraceMs,
      logger,
      lookMs: deps.lookMs,
      ...(deps.now && { now: deps.now }),
    });
    computes.onChange((accountId, computeId, change) =>
      sessions.news.tellAccount(accountId, { type: "compute", compute_id: computeId, change }),
    );
    await sessions.takeUp();

    const { previewHost } = config;
    const ports = new Ports({
      providers,
      computes,
      masterKey,
      linkUrl: ({ id: sessionId }, port, ticket) =>
        previewUrl({ sessionId, port, ticket }, publicUrl, previewHost),
      onOpen: ({ id }) => sessions.activity.hold(id, "preview", "link"),
    });

    let mcp: Promise<McpEndpoint> | undefined;
    const { mcp: openMcp } = deps;
    const app = createGatewayApp({
      mcp:
        openMcp &&
        (() => {
          mcp ??= openMcp({ gatewayUrl: url });
          // What could not be opened is tried again by the next who asks.
          mcp.catch(() => (mcp = undefined));
          return mcp;
        }),
      sessions,
      ports,
      previewHost,
      computes,
      clouds,
      sandboxes,
      tokens,
      signins,
      links,
      devices,
      oauthClients,
      oauthGrants,
      publicUrl: () => publicUrl,
      ...(config.noAuth && { localAccountId: account.id }),
      logger,
    });
    const server = createServer(getRequestListener(app.fetch));
    // A streamed run may be silent for longer than any timeout of Node's; idle keep-alive sockets end by themselves.
    server.requestTimeout = 0;
    const port = await listen(server, config);
    const url = `http://${hostInUrl(config.host)}:${port}`;
    publicUrl ||= url;
    const previews = acceptPortSockets(server, {
      sessions,
      ports,
      tokens,
      previewHost,
      publicUrl: () => publicUrl,
      logger,
    });
    const newsSockets = acceptNewsSockets(server, {
      sessions,
      tokens,
      signins,
      localAccountId: config.noAuth ? account.id : undefined,
      logger,
    });
    const tunnels = acceptTunnels(server, {
      hub,
      computes,
      tokens,
      software,
      isTaken: (request) => previews.takes(request) || newsSockets.takes(request),
      onStreamEvent: (computeId, event) => void sessions.tellAgentEvent(computeId, event),
      logger,
    });
    const direct = config.p69BaseUrl
      ? new DirectCompute({
          baseUrl: config.p69BaseUrl,
          token: config.p69ApiToken,
          accountId: account.id,
          hub,
          computes,
          logger,
        })
      : undefined;
    await direct?.start();
    logger.info({ url }, "gateway is listening");

    return {
      url,
      publicUrl,
      port,
      createToken: async (options) => (await tokens.create(account.id, options)).key,
      tokenIsValid: async (token) => (await tokens.verify(token)) !== undefined,
      hasTokens: async () => (await tokens.list(account.id)).length > 0,
      createSigninLink: async () => `${publicUrl}/signin?token=${await links.create(account.id)}`,
      localLink: (computeId) => {
        const [ours, theirs] = socketPair();
        hub.attach(computeId, new Channel({ socket: ours, level: 2, side: "gateway", logger, software }));
        return theirs;
      },
      stop: async () => {
        // While relays can still be reached, what a test made is deleted.
        await sessions.stressTests.stop();
        sessions.runs.stopping();
        const closed = new Promise<void>((resolve) => server.close(() => resolve()));
        previews.close();
        newsSockets.close();
        tunnels.close();
        await direct?.close();
        await (await mcp?.catch(() => undefined))?.close();
        hub.close();
        server.closeAllConnections();
        await closed;
        await sessions.stop();
        await db.destroy();
      },
    };
  } catch (error) {
    await db.destroy();
    throw error;
  }
}

/** A gateway without tokens must not be reachable from other machines. */
function refuseOpenDoors({ noAuth, host }: GatewayConfig): void {
  if (!noAuth || isLoopback(host)) return;
  throw new CerverError(
    "invalid_request",
    `--no-auth serves this machine only, so it cannot listen on ${host}.`,
    {
      hint: "Leave out --host, or leave out --no-auth and use tokens.",
    },
  );
}

/** What answers without a token at another machine is anybody's. */
function refuseTokenlessRelay({ p69BaseUrl, p69ApiToken }: GatewayConfig): void {
  if (!p69BaseUrl || p69ApiToken || isLoopback(new URL(p69BaseUrl).host)) return;
  throw new CerverError("invalid_request", `There is no token for the relay at ${p69BaseUrl}.`, {
    hint: "Set P69_API_TOKEN to the relay's own: `cerver relay --listen` says where it keeps it.",
  });
}

/** Listens on the configured port, or with `portFallback` on one of those after it. Returns the port. */
async function listen(server: Server, { host, port, portFallback }: GatewayConfig): Promise<number> {
  const tries = portFallback && port !== 0 ? PORTS_TO_TRY : 1;
  for (let attempt = 0; attempt < tries; attempt++) {
    const taken = await tryToListen(server, host, port + attempt);
    if (!taken) return (server.address() as AddressInfo).port;
  }
  throw new CerverError("conflict", `Port ${port} on ${host} is in use by another program.`, {
    hint: "Choose another with --port, or --port 0 for any free one.",
  });
}

async function tryToListen(server: Server, host: string, port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException) => {
      server.off("listening", onListening);
      if (error.code === "EADDRINUSE") resolve(true);
      else reject(cannotListen(error, host, port));
    };
    const onListening = () => {
      server.off("error", onError);
      resolve(false);
    };
    server.once("error", onError).once("listening", onListening).listen(port, host);
  });
}

function cannotListen(error: NodeJS.ErrnoException, host: string, port: number): CerverError {
  const why: Record<string, string> = {
    EACCES: "this user may not use that port",
    EADDRNOTAVAIL: "this machine has no such address",
    ENOTFOUND: "there is no such host name",
  };
  return new CerverError(
    "invalid_request",
    `Cannot listen on ${host}:${port}: ${why[error.code ?? ""] ?? error.message}.`,
    {
      hint: "Choose another address with --host or another port with --port.",
      cause: error,
    },
  );
}

/** The host to connect to, as a URL spells it: an address for all interfaces is reached through loopback. */
function hostInUrl(host: string): string {
  if (host === "0.0.0.0" || host === "::") return "127.0.0.1";
  return host.includes(":") ? `[${host}]` : host;
}
