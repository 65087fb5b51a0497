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
  masterKey: z
    .string()
    .optional()
    .describe(
      "The key that seals credentials and signs links, instead of the file in the data folder; only in the environment.",
    ),
  runGraceMs: z
    .number()
    .int()
    .min(0)
    .max(3_600_000)
    .default(DEFAULT_GRACE_MS)
    .describe("Milliseconds that the caller of a run is kept waiting for a machine whose link broke."),
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
    ...(env.CERVER_PREVIEW_HOST && { previewHost: env.CERVER_PREVIEW_HOST }),
    ...(env.CERVER_MASTER_KEY && { masterKey: env.CERVER_MASTER_KEY }),
    ...graceFromEnv(env),
    ...(env.CERVER_LOG && { logLevel: env.CERVER_LOG }),
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
  });
}

/** Where the database is, when no URL says so. */
export function databaseUrl({ databaseUrl, dataDir }: GatewayConfig): string {
  return databaseUrl ?? join(dataDir, "cerver.db");
}
