import { join } from "node:path";
import type { DoctorReport } from "../../protocol/doctor.js";
import { CerverError } from "../../protocol/errors.js";
import { lockHolder } from "../../util/lock-file.js";
import { VERSION } from "../../util/version.js";
import type { CliContext } from "../context.js";
import { clockProbe } from "./clock.js";
import { computeProbe } from "./compute.js";
import { connectionProbe } from "./connection.js";
import { diskProbe } from "./disk.js";
import { echoProbe } from "./echo.js";
import { healthProbe } from "./health.js";
import { askHealth } from "./health-answer.js";
import { keychainProbe } from "./keychain.js";
import { loginProbe } from "./login.js";
import { mcpClientsProbe } from "./mcp-clients.js";
import { nodeProbe } from "./node.js";
import { pathProbe } from "./path.js";
import type { DoctorFacts, Finding, Probe } from "./probe.js";
import { proxyProbe } from "./proxy.js";
import { redactionProbe } from "./redaction.js";
import { relayProbe } from "./relay.js";
import { sandboxProbe } from "./sandbox.js";
import { serviceProbe } from "./service.js";
import { tokenProbe } from "./token.js";
import { websocketProbe } from "./websocket.js";

export type Check = DoctorReport["checks"][number];

const LIMIT_MS = 5_000;
/** What a probe may take longer to let go of what it holds, once its time is over. */
const LETTING_GO_MS = 2_000;

/** In the order in which they are told; a probe comes after those that it needs. */
const PROBES: readonly Probe[] = [
  nodeProbe,
  pathProbe,
  diskProbe,
  loginProbe,
  keychainProbe,
  proxyProbe,
  connectionProbe,
  healthProbe,
  websocketProbe,
  clockProbe,
  tokenProbe,
  relayProbe,
  serviceProbe,
  computeProbe,
  echoProbe,
  redactionProbe,
  sandboxProbe,
  mcpClientsProbe,
];

/** Looks at everything at once, and yields what was found in the order of {@link PROBES}. */
export async function* examine(cli: CliContext, gatewayFlag: string | undefined): AsyncGenerator<Check> {
  const facts = doctorFacts(cli, gatewayFlag);
  const checks = new Map<string, Promise<Check>>();
  for (const probe of PROBES) checks.set(probe.name, check(probe, facts, checks));
  for (const one of checks.values()) yield await one;
}

async function check(
  { name, needs = [], limitMs = LIMIT_MS, run }: Probe,
  facts: DoctorFacts,
  checks: ReadonlyMap<string, Promise<Check>>,
): Promise<Check> {
  const before = await Promise.all(needs.map((need) => checks.get(need)!));
  const missing = before.find(({ status }) => status === "fail" || status === "skipped");
  if (missing) {
    const why = missing.status === "fail" ? `it needs "${missing.name}", which failed` : missing.what;
    return { name, status: "skipped", what: why, ms: 0 };
  }
  const since = performance.now();
  const finding = await bounded(limitMs, (signal) => run({ ...facts, signal }));
  return { name, ...finding, ms: Math.ceil(performance.now() - since) };
}

/** What a probe finds within its time; what it throws is found, too. */
async function bounded(limitMs: number, run: (signal: AbortSignal) => Promise<Finding>): Promise<Finding> {
  const limit = new AbortController();
  let timers: NodeJS.Timeout[] = [];
  const late = new Promise<Finding>((resolve) => {
    const give = () =>
      resolve({
        status: "fail",
        what: `there was no answer within ${limitMs / 1000} s`,
        fix: "Try again; if it stays, see what the other checks say.",
      });
    timers = [setTimeout(() => limit.abort(), limitMs), setTimeout(give, limitMs + LETTING_GO_MS)];
  });
  try {
    return await Promise.race([
      run(limit.signal).catch((error) => failed(error, limit.signal, limitMs)),
      late,
    ]);
  } finally {
    for (const timer of timers) clearTimeout(timer);
  }
}

function failed(error: unknown, { aborted }: AbortSignal, limitMs: number): Finding {
  if (error instanceof CerverError)
    return { status: "fail", what: error.message, fix: error.hint ?? "See the other checks." };
  const { message, code, cause } = error as NodeJS.ErrnoException;
  const reason = aborted
    ? `there was no answer within ${limitMs / 1000} s`
    : (code ?? (cause as NodeJS.ErrnoException | undefined)?.code ?? message);
  return {
    status: "fail",
    what: `it could not be looked at: ${reason}`,
    fix: "Try again; see what the other checks say.",
  };
}

function doctorFacts(cli: CliContext, flag: string | undefined): DoctorFacts {
  const gateway = once(() => cli.gateway(flag));
  const namedGateway = once(() => cli.namedGateway(flag));
  const gatewayUrl = once(async () => {
    const { GatewayClient } = await import("../../client/gateway-client.js");
    // What the client does not take for an address is none for anybody.
    return new URL(new GatewayClient({ gatewayUrl: (await namedGateway()).gatewayUrl }).gatewayUrl);
  });
  return {
    cli,
    gateway,
    namedGateway,
    gatewayUrl,
    client: once(async () => {
      const { GatewayClient } = await import("../../client/gateway-client.js");
      const { token, gatewayUrl } = await gateway();
      return new GatewayClient({
        gatewayUrl,
        token,
        userAgent: `cerver-cli/${VERSION}`,
        timeoutMs: LIMIT_MS,
      });
    }),
    relay: once(() => lockHolder(join(cli.paths.state, "relay.lock"))),
    computeId: once(async () => {
      const { Identity } = await import("../../relay/identity.js");
      return new Identity(cli.paths.config).get((await namedGateway()).gatewayUrl);
    }),
    health: once(async () => askHealth((await namedGateway()).gatewayUrl, AbortSignal.timeout(LIMIT_MS))),
  };
}

/** The same promise for everybody who asks. */
function once<T>(find: () => Promise<T>): () => Promise<T> {
  let found: Promise<T> | undefined;
  return () => (found ??= find());
}
