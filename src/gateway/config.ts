import { join } from "node:path";
import { z } from "zod";
import { parse } from "../protocol/parse.js";
import { DEFAULT_GRACE_MS } from "../protocol/run-limits.js";
import { graceFromEnv } from "../util/duration.js";
import { LOG_LEVELS } from "../util/logger.js";
import { cerverPaths, type Env } from "../util/paths.js";

/** How a gateway runs. */
export const GatewayConfig = z.strictObject({
  host: z.string().min(1).default("127.0.0.1").describe("Address to listen on."),
  port: z
    .number()
    .int()
    .min(0)
    .max(65_535)
    .default(8787)
    .describe("Port to listen on; 0 takes any free one."),
  portFallback: z.boolean().default(false).describe("Take the next free port when this one is in use."),
  dataDir: z.string().min(1).describe("Folder of the database file."),
  databaseUrl: z
    .string()
    .optional()
    .describe("A postgres:// URL, or the path of an SQLite file instead of the one in the data folder."),
  noAuth: z.boolean().default(false).describe("Serve a single local account without tokens; loopback only."),
  publicUrl: z
    .url({ protocol: /^https?$/ })
    .transform((url) => url.replace(/\/+$/, ""))
    .optional()
    .describe("The address people and relays reach this gateway under, when it is behind a proxy."),
  previewHost: z
    .string()
    .regex(/^\*(?:\.[a-z0-9-]+)+(?::\d{1,5})?$/i, "has to be a name such as *.preview.example.com")
    .optional()
    .describe(
      "A wildcard name that leads to this gateway, to show each port of a session on a host of its own.",
    ),
  runGraceMs: z
    .number()
    .int()
    .min(0)
    .max(3_600_000)
    .default(DEFAULT_GRACE_MS)
    .describe("Milliseconds that the caller of a run is kept waiting for a machine whose link broke."),
  masterKey: z
    .string()
    .min(1)
    .optional()
    .describe(
      "Seals credentials at rest and signs links: 32 bytes in base64 or hex, several separated by commas, the current one first. " +
        "Without it a file in the data folder holds one. From CERVER_MASTER_KEY only.",
    ),
  p69BaseUrl: z
    .url({ protocol: /^https?$/ })
    .refine((url) => !/[@?#]/.test(url), "may hold no user, no query and no fragment")
    .transform((url) => url.replace(/\/+$/, ""))
    .optional()
    .describe(
      "The address of a relay that listens (`cerver relay --listen`): it becomes a compute of the account.",
    ),
  p69ApiToken: z
    .string()
    .regex(/^[!-~]{1,512}$/, "has to be letters and signs without spaces")
    .optional()
    .describe("The token of that relay."),
  rehearsals: z
    .array(z.string().min(1).max(4096))
    .max(16)
    .default([])
    .describe(
      "Cassettes to play as providers that every account has; nothing runs there. Each is a path, with ?speed=60&seed=1&" +
        "from=12h&latency=1&otherwise=echo behind it if need be.",
    ),
  logLevel: z.enum(LOG_LEVELS).default("warn").describe("How much is logged, as JSON lines on stderr."),
});
export type GatewayConfig = z.infer<typeof GatewayConfig>;
export type GatewayConfigInput = Partial<z.input<typeof GatewayConfig>>;

/** Settles the configuration: what was given explicitly, then the environment, then the defaults. */
export function gatewayConfig(given: GatewayConfigInput, env: Env): GatewayConfig {
  return parse(GatewayConfig, {
    dataDir: cerverPaths(env).data,
    ...(env.CERVER_DATABASE_URL && { databaseUrl: env.CERVER_DATABASE_URL }),
    ...(env.CERVER_PUBLIC_URL && { publicUrl: env.CERVER_PUBLIC_URL }),
    ...(env.CERVER_MASTER_KEY && { masterKey: env.CERVER_MASTER_KEY }),
    ...(env.P69_BASE_URL && { p69BaseUrl: env.P69_BASE_URL }),
    ...(env.P69_API_TOKEN && { p69ApiToken: env.P69_API_TOKEN }),
    ...(env.CERVER_REHEARSAL && { rehearsals: env.CERVER_REHEARSAL.split(",").map((path) => path.trim()) }),
    ...(env.CERVER_PREVIEW_HOST && { previewHost: env.CERVER_PREVIEW_HOST }),
    ...graceFromEnv(env),
    ...(env.CERVER_LOG && { logLevel: env.CERVER_LOG }),
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
  });
}

/** The file that holds the master key when the environment gives none. */
export function masterKeyFile({ dataDir }: GatewayConfig): string {
  return join(dataDir, "master.key");
}

/** Where the database is, when no URL says so. */
export function databaseUrl({ databaseUrl, dataDir }: GatewayConfig): string {
  return databaseUrl ?? join(dataDir, "cerver.db");
}
