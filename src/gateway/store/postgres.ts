import { type Dialect, PostgresDialect } from "kysely";
import { CerverError } from "../../protocol/errors.js";

/** PostgreSQL's type number of bigint, which holds our times and counts: all of them far below 2^53. */
const INT8 = 20;
const MAX_CONNECTIONS = 20;
const CONNECT_TIMEOUT_MS = 10_000;

/** Opens a pool of connections; fails with a sentence when the server cannot be reached. */
export async function openPostgres(url: string): Promise<Dialect> {
  const { default: pg } = await import("pg");
  const pool = new pg.Pool({
    connectionString: url,
    max: MAX_CONNECTIONS,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    types: {
      getTypeParser: ((type: number, format?: "text" | "binary") =>
        type === INT8
          ? Number
          : pg.types.getTypeParser(type, format as "text")) as typeof pg.types.getTypeParser,
    },
  });
  // An idle connection that breaks is replaced at the next query; without a listener it would end the process.
  pool.on("error", () => {});
  try {
    (await pool.connect()).release();
  } catch (error) {
    await pool.end();
    throw new CerverError(
      "provider_failed",
      `The database at ${withoutSecrets(url)} cannot be used: ${reason(error)}.`,
      {
        hint: "Check CERVER_DATABASE_URL, and that the server runs and lets this user in.",
        cause: error,
      },
    );
  }
  return new PostgresDialect({ pool });
}

function reason(error: unknown): string {
  const { message, code } = error as NodeJS.ErrnoException;
  return message || code || "no connection";
}

/** The address without password, user and parameters. */
function withoutSecrets(url: string): string {
  if (!URL.canParse(url)) return "the given URL";
  const { host, pathname, searchParams } = new URL(url);
  return `${host || searchParams.get("host") || "localhost"}${pathname}`;
}
