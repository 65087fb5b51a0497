import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { GatewayClient } from "../client/gateway-client.js";
import { type CredentialStore, relayKey } from "../login/credential-store.js";
import { deviceLogin } from "../login/device-login.js";
import { CerverError, type ErrorCode } from "../protocol/errors.js";
import { PUBLIC_LOCAL_PROVIDER } from "../protocol/providers.js";
import type { FrameSocket } from "../tunnel/frame-socket.js";
import { isLock, takeLock } from "../util/lock-file.js";
import { createLogger, type Logger } from "../util/logger.js";
import { readPrivateFile, writePrivateFile } from "../util/private-file.js";
import { VERSION } from "../util/version.js";
import { createComputeApp } from "./compute-app.js";
import { listenAddress, type RelayConfig } from "./config.js";
import { type ConnectionState, stayConnected } from "./connection.js";
import { directServer } from "./direct-server.js";
import { hostEnvironment } from "./host/environment.js";
import { type HostFacts, hostFacts } from "./host/facts.js";
import { machineId } from "./host/machine-id.js";
import { Sandboxes } from "./host/sandboxes.js";
import { Trees } from "./host/trees.js";
import { Identity } from "./identity.js";
import { KeeperClient } from "./keeper-client.js";
import { patiently } from "./patience.js";
import { RecordKeeper } from "./record.js";
import { RunEnds } from "./run-ends.js";
import { RunSecrets } from "./run-secrets.js";

export interface RelayDeps {
  credentials: CredentialStore;
  openBrowser(url: string): Promise<boolean>;
  hasDisplay: boolean;
  /** Tells the person at the terminal what to do. */
  say(line: string): void;
  onState(state: ConnectionState): void;
  /** A link to a gateway in this very process. */
  localLink?: (computeId: string) => FrameSocket;
  /** Stops the relay; its reason may say `{leaveRuns: true}`, as {@link Relay.stop} takes it. */
  signal?: AbortSignal;
  logger?: Logger;
  /**
   * The service manager that started this relay. Nobody sits in front of it then: it asks for no login, and waits for a gateway
   * that is out of reach, and for another relay of this machine to end.
   */
  service?: string | undefined;
}

type LoginDeps = Pick<RelayDeps, "credentials" | "openBrowser" | "say" | "service">;

/** A relay that serves. */
export interface Relay {
  readonly computeId: string;
  /** Resolves after {@link stop}; rejects when the relay gave up for good, with what to do. */
  readonly done: Promise<void>;
  /** Ends the link and every run. With `leaveRuns` they go on, for the next relay of this machine. */
  stop(options?: StopOptions): Promise<void>;
}
export interface StopOptions {
  leaveRuns?: boolean;
}

/** Makes this host a compute: logs in, registers, connects, and reports that it is there. */
export async function startRelay(config: RelayConfig, deps: RelayDeps): Promise<Relay> {
  const logger = deps.logger ?? createLogger(config.logLevel);
  const stop = new AbortController();
  let leaveRuns = false;
  const onAbort = () => {
    leaveRuns = (deps.signal?.reason as StopOptions | undefined)?.leaveRuns ?? false;
    stop.abort();
  };
  deps.signal?.addEventListener("abort", onAbort, { once: true });
  if (deps.signal?.aborted) onAbort();
  const attempt = <T>(what: () => Promise<T>, onFailure: (why: string) => void, passing?: ErrorCode[]) => {
    if (deps.service === undefined) return what();
    return patiently(what, {
      signal: stop.signal,
      passing,
      onWait: ({ message }, waitMs) => {
        onFailure(message);
        deps.say(`${message} Next try in ${(waitMs / 1000).toFixed(1)} s.`);
      },
    });
  };
  const lock = await attempt(() => lockState(config, config.gatewayUrl), () => {}, ["conflict"]);
  const record = await RecordKeeper.open(config.stateDir, {
    pid: process.pid,
    version: VERSION,
    gateway_url: config.gatewayUrl,
    compute_id: null,
    name: config.name,
    labels: config.labels,
    max_runs: config.maxRuns,
    service: deps.service ?? null,
  });
  try {
    const { facts, sandboxes, trees, keeper, app } = await openHost(config, deps, logger);
    const { computeId, token } = await attempt(
      () => register(config, deps, facts, stop.signal),
      (why) => record.error(why),
    );
    record.compute(computeId);
    let connected!: () => void;
    const firstConnection = new Promise<void>((resolve) => {
      connected = resolve;
    });
    const serving = stayConnected({
      gatewayUrl: config.gatewayUrl,
      computeId,
      token,
      serve: async (request) => app.fetch(request),
      serveSmall: app.serveSmall,
      localLink: deps.localLink,
      software: `cerver/${VERSION}`,
      logger,
      signal: stop.signal,
      onState: (state) => {
        if (state.state === "connected") connected();
        record.link(state.state);
        if (state.state === "waiting") record.error(state.why);
        deps.onState(state);
      },
    });
    const client = new GatewayClient({ gatewayUrl: config.gatewayUrl, token });
    const reporting = reportPresence(
      client,
      computeId,
      facts,
      { sandboxes, keeper },
      config.heartbeatMs,
      stop.signal,
      logger,
    );
    // A relay that gives up was not asked to end anything.
    serving.catch((error: unknown) => {
      leaveRuns = true;
      record.error((error as Error).message);
    });
    const done = serving.finally(async () => {
      stop.abort();
      deps.signal?.removeEventListener("abort", onAbort);
      if (leaveRuns) keeper.close();
      else await keeper.endAll();
      await trees.close();
      await reporting;
      await record.close();
      await lock.release();
    });
    done.catch(() => {});
    await Promise.race([firstConnection, done]);
    return {
      computeId,
      done,
      stop: async (options = {}) => {
        leaveRuns = options.leaveRuns ?? false;
        stop.abort();
        await done.catch(() => {});
      },
    };
  } catch (error) {
    record.error((error as Error).message);
    await record.close();
    await lock.release();
    throw error;
  }
}

/** Logs this machine in and registers it, without serving: what a service needs before it starts. */
export async function attachMachine(
  config: RelayConfig,
  deps: LoginDeps & Pick<RelayDeps, "hasDisplay" | "signal">,
): Promise<{ computeId: string }> {
  const facts = await factsOf(config, deps.hasDisplay);
  return register(config, deps, facts, deps.signal ?? new AbortController().signal);
}

/** What a relay serves by listening. */
export interface ListeningRelay {
  /** The address to give to a gateway as P69_BASE_URL. */
  readonly url: string;
  readonly token: string;
  /** Where the token is kept, when it was made here. */
  readonly tokenFile: string | undefined;
  /** Resolves after {@link stop}. */
  readonly done: Promise<void>;
  stop(options?: StopOptions): Promise<void>;
}

/** Makes this host a compute for gateways that come to it: no gateway is spoken to. */
export async function startListening(
  config: RelayConfig,
  deps: Pick<RelayDeps, "hasDisplay" | "signal" | "logger">,
): Promise<ListeningRelay> {
  const listen = listenAddress(config.listen ?? "");
  if (!listen) throw new CerverError("invalid_request", "The relay was not told where to listen.");
  const logger = deps.logger ?? createLogger(config.logLevel);
  const lock = await lockState(config, `${listen.host}:${listen.port}`);
  try {
    const { token, tokenFile } = await listenToken(config);
    const { trees, keeper, app } = await openHost(config, deps, logger);
    const server = await directServer({
      ...listen,
      names: config.listenNames,
      token,
      serve: async (request) => app.fetch(request),
      logger,
    }).catch((error: unknown) => {
      keeper.close();
      throw error;
    });
    let ended: Promise<void> | undefined;
    let resolveDone!: () => void;
    const done = new Promise<void>((resolve) => {
      resolveDone = resolve;
    });
    const stop = ({ leaveRuns = false }: StopOptions = {}) => {
      ended ??= (async () => {
        deps.signal?.removeEventListener("abort", onAbort);
        await server.close();
        if (leaveRuns) keeper.close();
        else await keeper.endAll();
        await trees.close();
        await lock.release();
        resolveDone();
      })();
      return ended;
    };
    const onAbort = () => void stop((deps.signal?.reason as StopOptions | undefined) ?? {});
    deps.signal?.addEventListener("abort", onAbort, { once: true });
    if (deps.signal?.aborted) onAbort();
    return { url: server.url, token, tokenFile, done, stop };
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** The token that gateways have to show: the one that was given, or one that is made once and kept. */
async function listenToken(config: RelayConfig): Promise<{ token: string; tokenFile: string | undefined }> {
  if (config.listenToken) return { token: config.listenToken, tokenFile: undefined };
  const tokenFile = join(config.configDir, "p69-token");
  const kept = (await readPrivateFile(tokenFile))?.trim();
  if (kept) return { token: kept, tokenFile };
  const token = `p69_${randomBytes(32).toString("base64url")}`;
  await writePrivateFile(tokenFile, `${token}\n`);
  return { token, tokenFile };
}

/** This machine, ready to serve: runs that an earlier relay of it left are this one's now. */
async function openHost(config: RelayConfig, { hasDisplay }: Pick<RelayDeps, "hasDisplay">, logger: Logger) {
  const facts = await factsOf(config, hasDisplay);
  const hostEnv = hostEnvironment(config.hostEnv, config.allowEnv);
  const { stateDir, allowDirs } = config;
  const sandboxes = await Sandboxes.open({ stateDir, hostEnv, allowDirs });
  const ends = new RunEnds();
  const keeper = new KeeperClient({
    stateDir,
    env: hostEnv,
    maxRuns: config.maxRuns,
    runGraceMs: config.runGraceMs,
    killGraceMs: config.graceMs,
    logger,
    onEnded: ({ run_id }) => ends.add(run_id),
  });
  await keeper.adopt();
  const trees = await Trees.open({ sandboxes, stateDir, maxBytes: config.maxTreeBytes, logger });
  const secrets = new RunSecrets(config.hostEnv, logger);
  const app = createComputeApp({
    sandboxes,
    trees,
    keeper,
    ends,
    facts,
    label: config.name,
    secrets,
    redact: config.redact,
    logger,
  });
  return { facts, sandboxes, trees, keeper, app };
}

/** What this machine says of itself. What is in force here is told, so that its owner can see it from elsewhere. */
async function factsOf(config: RelayConfig, hasDisplay: boolean): Promise<HostFacts> {
  const { redact, labels, gatewayUrl } = config;
  const facts = await hostFacts({ hasDisplay });
  const machine_id = gatewayUrl ? await machineId(config) : undefined;
  return { ...facts, metadata: { ...facts.metadata, redact, labels, ...(machine_id && { machine_id }) } };
}

/** Two relays on one state folder would each end the other's sandboxes. */
async function lockState({ stateDir }: RelayConfig, serves: string) {
  const lock = await takeLock(join(stateDir, "relay.lock"), serves);
  if (isLock(lock)) return lock;
  throw new CerverError(
    "conflict",
    `A relay of this machine runs already: process ${lock.pid}, since ${lock.since}.`,
    {
      hint: `It serves ${lock.note}. Stop it first, or give this one its own folder with XDG_STATE_HOME.`,
    },
  );
}

/** The compute this host is, and a token to serve it with. A stored token that is refused is forgotten, once. */
async function register(config: RelayConfig, deps: LoginDeps, facts: HostFacts, signal: AbortSignal) {
  const { gatewayUrl } = config;
  const key = relayKey(gatewayUrl);
  const stored = config.token ? undefined : await deps.credentials.get(key);
  if (stored) {
    try {
      return await registerWith(stored, config, deps, facts, stored);
    } catch (error) {
      if (!(error instanceof CerverError) || error.code !== "unauthenticated") throw error;
      await deps.credentials.delete(key);
      deps.say("The stored login of this machine is no longer accepted, so a new one is needed.");
    }
  }
  return registerWith(config.token ?? (await logIn(config, deps, signal)), config, deps, facts);
}

async function registerWith(
  token: string,
  config: RelayConfig,
  deps: LoginDeps,
  facts: HostFacts,
  stored?: string,
) {
  const { gatewayUrl, name, configDir } = config;
  const identity = new Identity(configDir);
  const before = await identity.get(gatewayUrl);
  const answer = await new GatewayClient({ gatewayUrl, token }).registerCompute({
    label: name,
    kind: "local",
    provider: PUBLIC_LOCAL_PROVIDER,
    ...(before && { compute_id: before }),
    capabilities: facts.capabilities,
    metadata: { ...facts.metadata, machine_name: name },
    connection: { transport: "cerver_connect" },
  });
  await identity.set(gatewayUrl, answer.compute_id);
  const own = answer.relay_token ?? token;
  // A token that was handed in is the person's own to keep; what the gateway gave to this machine is kept here.
  if (own !== config.token) {
    // What is stored already stays, unless it has to be elsewhere now.
    const where = await deps.credentials.set(relayKey(gatewayUrl), own);
    if (own !== stored) deps.say(`This machine's token is in ${where}.`);
  }
  return { computeId: answer.compute_id, token: own };
}

async function logIn(
  { gatewayUrl, name }: RelayConfig,
  deps: LoginDeps,
  signal: AbortSignal,
): Promise<string> {
  if (deps.service !== undefined) {
    throw new CerverError("unauthenticated", `This machine has no login for ${gatewayUrl}.`, {
      hint: `Run \`cerver relay service install --gateway ${gatewayUrl}\`: it logs in first.`,
    });
  }
  const { token } = await deviceLogin({
    client: new GatewayClient({ gatewayUrl }),
    machineName: name,
    scopes: ["relay"],
    openBrowser: deps.openBrowser,
    say: deps.say,
    signal,
  });
  return token;
}

/** Tells the gateway now and then what this host looks like. The link itself shows that it is there. */
async function reportPresence(
  client: GatewayClient,
  computeId: string,
  facts: HostFacts,
  { sandboxes, keeper }: { sandboxes: Sandboxes; keeper: KeeperClient },
  intervalMs: number,
  signal: AbortSignal,
  logger: Logger,
): Promise<void> {
  while (!signal.aborted) {
    await sleep(intervalMs, undefined, { signal }).catch(() => {});
    if (signal.aborted) return;
    try {
      await client.heartbeat(
        computeId,
        {
          status: "online",
          metadata: { ...facts.metadata, runs: (await keeper.live()).length, sandboxes: sandboxes.size },
        },
        signal,
      );
    } catch (error) {
      if (!signal.aborted) logger.warn({ err: error }, "a heartbeat was not taken");
    }
  }
}
