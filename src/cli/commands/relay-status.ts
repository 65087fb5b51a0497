import { Command } from "commander";
import { CerverError } from "../../protocol/errors.js";
import type { LocalStatus } from "../../relay/status.js";
import { ago } from "../ago.js";
import type { CliContext } from "../context.js";
import { EXIT } from "../exit-codes.js";
import { JSON_OPTION } from "../options.js";
import { printable } from "../output.js";
import { installedService, serviceWords } from "../relay-services.js";

const TIMEOUT_MS = 5_000;
const SHOWN_ERRORS = 5;

/** What the gateway says of this machine. */
interface GatewayView {
  url: string;
  /** Null when it did not answer. */
  version: string | null;
  /** `ready` or `offline`; null when it could not be asked. */
  sees: string | null;
  /** Why it could not be asked. */
  why: string | null;
}

export const relayStatusCommand = (context: CliContext) =>
  new Command("status")
    .summary("say whether this machine's relay serves, as it sees it and as the gateway sees it")
    .description(
      "Tells what the relay of this machine knows of itself and what its gateway says of it. Exits 0 when it serves, 1 otherwise.",
    )
    .option(...JSON_OPTION)
    .addHelpText(
      "after",
      "\nExamples:\n  $ cerver relay status\n  $ cerver relay status --json | jq .serving",
    )
    .action(async ({ json }: { json?: boolean }) => {
      const { out, process } = context;
      const { localStatus } = await import("../../relay/status.js");
      const [local, service] = await Promise.all([
        localStatus(context.paths.state),
        installedService(context),
      ]);
      const gateway = await gatewayView(context, local);
      const serving = isServing(local, gateway);
      if (!serving) process.exitCode = EXIT.failed;
      if (json) return out.json(asJson(local, gateway, service?.status, serving));
      const rows = inWords(local, gateway, service && serviceWords(service.status), serving);
      const width = Math.max(...rows.map(([name]) => name.length));
      for (const [name, what] of rows) out.line(`${name.padEnd(width)}  ${printable(what)}`);
      if (serving) return;
      if (local.relay) out.say("Look closer with `cerver relay logs` and `cerver doctor`.");
      else
        out.say(
          `Start it with ${service ? "`cerver relay service start`" : "`cerver relay`, or keep it running with `cerver relay service install`"}.`,
        );
    });

/** A record of a relay that is gone tells what went wrong, and nothing of now. */
function current({ relay, record }: LocalStatus) {
  return relay && record?.pid === relay.pid ? record : undefined;
}

function isServing(local: LocalStatus, gateway: GatewayView | undefined): boolean {
  if (!local.relay) return false;
  const record = current(local);
  // One that listens has no link: it serves whoever comes.
  if (!record) return true;
  return record.link.state === "connected" && (gateway === undefined || gateway.sees !== "offline");
}

async function gatewayView(context: CliContext, local: LocalStatus): Promise<GatewayView | undefined> {
  const record = local.relay ? current(local) : local.record;
  if (!record?.compute_id) return undefined;
  const { gateway_url: url, compute_id: id } = record;
  const { relayKey } = await import("../../login/credential-store.js");
  const { GatewayClient } = await import("../../client/gateway-client.js");
  const { askHealth } = await import("../doctor/health-answer.js");
  const health = await askHealth(url, AbortSignal.timeout(TIMEOUT_MS)).catch(() => undefined);
  const view = { url, version: health?.health?.version ?? null };
  try {
    // A relay's own token may ask how its compute is seen.
    const token =
      (await (await context.credentials()).get(relayKey(url))) ?? (await context.gateway(url)).token;
    const client = new GatewayClient({ gatewayUrl: url, token, timeoutMs: TIMEOUT_MS });
    return { ...view, sees: (await client.compute(id)).status, why: null };
  } catch (error) {
    if (!(error instanceof CerverError)) throw error;
    return { ...view, sees: null, why: error.message };
  }
}

function inWords(
  local: LocalStatus,
  gateway: GatewayView | undefined,
  service: string | undefined,
  serving: boolean,
): [string, string][] {
  const { relay, record, keeper } = local;
  const now = current(local);
  const rows: [string, string | undefined][] = [
    ["Serving", serving ? "yes" : "no"],
    ["Compute", record?.compute_id ? `${record.name} (${record.compute_id})` : undefined],
    [
      "Relay",
      relay
        ? `process ${relay.pid}, version ${relay.version ?? "unknown"}, since ${minute(relay.since)} UTC, serves ${relay.note}`
        : "none runs on this machine",
    ],
    ["Service", service ?? "none is installed"],
    [
      "Link",
      now &&
        `${now.link.state} since ${minute(now.link.since)} UTC, ${times(now.reconnects, "reconnect")} since the start`,
    ],
    [
      "Gateway",
      gateway &&
        `${gateway.version === null ? "does not answer" : `version ${gateway.version}`}; ${gateway.sees === null ? gateway.why : `sees this machine as ${gateway.sees}`}`,
    ],
    [
      "Runs",
      keeper
        ? `${keeper.runs ?? "unknown"} now${now ? `, ${now.max_runs} at most` : ""}; keeper is process ${keeper.pid}, version ${keeper.version}`
        : relay && "none now",
    ],
    [
      "Labels",
      record &&
        Object.entries(record.labels)
          .map((pair) => pair.join("="))
          .join(", "),
    ],
  ];
  const errors = (record?.errors ?? []).slice(-SHOWN_ERRORS).reverse();
  return [
    ...rows.filter((row): row is [string, string] => Boolean(row[1])),
    ...errors.map(({ at, what }, index): [string, string] => [
      index === 0 ? "Errors" : "",
      `${ago(at)}: ${what}`,
    ]),
  ];
}

function asJson(
  local: LocalStatus,
  gateway: GatewayView | undefined,
  service: object | undefined,
  serving: boolean,
): object {
  const { relay, record, keeper } = local;
  const now = current(local);
  return {
    serving,
    compute_id: record?.compute_id ?? null,
    name: record?.name ?? null,
    labels: record?.labels ?? {},
    relay: relay
      ? { pid: relay.pid, version: relay.version ?? null, since: relay.since, serves: relay.note }
      : null,
    link: now?.link ?? null,
    reconnects: now?.reconnects ?? null,
    gateway: gateway ?? null,
    runs: keeper ? keeper.runs : 0,
    keeper: keeper ? { pid: keeper.pid, version: keeper.version } : null,
    service: service ?? null,
    errors: record?.errors ?? [],
  };
}

function minute(time: string): string {
  return time.slice(0, 16).replace("T", " ");
}

function times(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}
