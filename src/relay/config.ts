import { hostname } from "node:os";
import { isAbsolute } from "node:path";
import { z } from "zod";
import { CerverError } from "../protocol/errors.js";
import { parse } from "../protocol/parse.js";
import { DEFAULT_GRACE_MS } from "../protocol/run-limits.js";
import { Labels } from "../protocol/sessions.js";
import { DEFAULT_MAX_TREE_BYTES } from "../protocol/tree.js";
import { REDACT_MODES } from "../redaction/redaction.js";
import { graceFromEnv } from "../util/duration.js";
import { LOG_LEVELS } from "../util/logger.js";
import { cerverPaths, type Env } from "../util/paths.js";

const LISTEN = /^(?:(?:\[([0-9a-f:.]+)\]|([^:[\]]+)):)?(\d{1,5})$/i;

/** Where to listen: `PORT` on this machine alone, or `HOST:PORT`. Undefined when it is neither. */
export function listenAddress(text: string): { host: string; port: number } | undefined {
  const [, ipv6, host, digits] = LISTEN.exec(text) ?? [];
  const port = Number(digits);
  return port <= 65_535 ? { host: ipv6 ?? host ?? "127.0.0.1", port } : undefined;
}

/** What `CERVER_LABELS` says: `gpu=yes,disk=fast`. */
function labelsOf(text: string): Record<string, string> {
  const pairs = text.split(",").map((pair) => pair.trim());
  return Object.fromEntries(
    pairs.filter(Boolean).map((pair) => {
      const at = pair.indexOf("=");
      if (at > 0) return [pair.slice(0, at), pair.slice(at + 1)];
      throw new CerverError("invalid_request", `CERVER_LABELS: "${pair}" is no label.`, {
        hint: "Labels are NAME=VALUE, separated by commas, as in gpu=yes,disk=fast.",
      });
    }),
  );
}

/** How a relay runs. */
export const RelayConfig = z.strictObject({
  gatewayUrl: z.string().default("").describe("The gateway to serve; none with `listen`."),
  token: z
    .string()
    .min(1)
    .optional()
    .describe("A token to register with; stored ones and browser login otherwise."),
  name: z.string().min(1).max(128).describe("What this machine is called in lists."),
  stateDir: z.string().describe("Folder of the sandboxes."),
  configDir: z.string().describe("Folder of the relay's identity."),
  labels: Labels.default({}).describe("Names and values by which sessions choose this machine."),
  machine: z
    .string()
    .min(1)
    .max(256)
    .optional()
    .describe("What tells this machine from others, where the system's own machine id does not."),
  maxRuns: z
    .number()
    .int()
    .min(1)
    .max(10_000)
    .default(128)
    .describe("How many runs may be under way at once."),
  allowDirs: z
    .array(z.string().refine(isAbsolute, "has to be an absolute path"))
    .default([])
    .describe("Folders that sessions may choose to work in."),
  allowEnv: z.array(z.string()).default([]).describe("Variables that runs get although they look secret."),
  maxTreeBytes: z
    .number()
    .int()
    .min(0)
    .default(DEFAULT_MAX_TREE_BYTES)
    .describe("How much a working folder may hold that is carried to or from this machine, in bytes."),
  graceMs: z.number().int().min(0).max(60_000).default(2_000).describe("Milliseconds between TERM and KILL."),
  runGraceMs: z
    .number()
    .int()
    .min(0)
    .max(3_600_000)
    .default(DEFAULT_GRACE_MS)
    .describe("Milliseconds that a foreground run goes on after its link broke, until somebody comes back."),
  heartbeatMs: z
    .number()
    .int()
    .min(100)
    .default(60_000)
    .describe("Milliseconds between two reports to the gateway."),
  listen: z
    .string()
    .refine((text) => listenAddress(text) !== undefined, "has to be PORT or HOST:PORT")
    .optional()
    .describe("Serve gateways that come to this address, such as `127.0.0.1:18081`, and connect to none."),
  listenNames: z
    .array(z.string().min(1).max(253))
    .default([])
    .describe("More names under which it may be called there."),
  listenToken: z
    .string()
    .regex(/^[!-~]{16,512}$/, "has to be 16 to 512 letters and signs without spaces")
    .optional()
    .describe("What gateways have to show there (`P69_API_TOKEN`); one is made and kept otherwise."),
  logLevel: z.enum(LOG_LEVELS).default("warn").describe("How much is logged, as JSON lines on stderr."),
  redact: z
    .enum(REDACT_MODES)
    .default("all")
    .describe(
      "What is taken out of the output of runs: secrets and the shapes of credentials, secrets only, or nothing.",
    ),
  /** The host's environment, which runs inherit in part. */
  hostEnv: z.record(z.string(), z.string().optional()),
});
export type RelayConfig = z.infer<typeof RelayConfig>;
/** What was given explicitly; undefined counts as not given. */
export type RelayConfigInput = {
  [K in keyof z.input<typeof RelayConfig>]?: z.input<typeof RelayConfig>[K] | undefined;
};

/** Settles the configuration: what was given explicitly, then the environment, then the defaults. */
export function relayConfig(given: RelayConfigInput, env: Env): RelayConfig {
  const paths = cerverPaths(env);
  return parse(RelayConfig, {
    name: hostname() || "this machine",
    stateDir: paths.state,
    configDir: paths.config,
    hostEnv: { ...env },
    ...graceFromEnv(env),
    ...(given.listen && env.P69_API_TOKEN && { listenToken: env.P69_API_TOKEN }),
    ...(env.CERVER_LABELS && { labels: labelsOf(env.CERVER_LABELS) }),
    ...(env.CERVER_MACHINE_ID && { machine: env.CERVER_MACHINE_ID }),
    ...(env.CERVER_REDACT && { redact: env.CERVER_REDACT }),
    ...(env.CERVER_LOG && { logLevel: env.CERVER_LOG }),
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
  });
}
