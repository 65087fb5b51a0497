import { open } from "node:fs/promises";
import { dirname } from "node:path";
import { type Dialect, Kysely, Migrator, SqliteDialect } from "kysely";
import { CerverError } from "../../protocol/errors.js";
import { makePrivateFolder } from "../../util/private-folder.js";
import { MIGRATIONS } from "./migrations/index.js";
import { openPostgres } from "./postgres.js";
import type { Database, Tables } from "./schema.js";
import { openSqlite, type SqliteDriverName } from "./sqlite.js";

export interface OpenDatabaseOptions {
  /** Which SQLite driver to use; the best there is when left out. */
  driver?: SqliteDriverName;
}

/**
 * Opens a database and brings its tables up to date: `:memory:`, the path of an SQLite file (made with mode 0600 if it
 * is not there), or a `postgres://` URL. `destroy()` closes it.
 */
export async function openDatabase(url: string, options: OpenDatabaseOptions = {}): Promise<Database> {
  const postgres = /^postgres(?:ql)?:/.test(url);
  const where = postgres ? "the PostgreSQL database" : url;
  const dialect = postgres ? await openPostgres(url) : await sqliteDialect(url, options);
  const db = new Kysely<Tables>({ dialect });
  try {
    await migrate(db, where);
    return db;
  } catch (error) {
    await db.destroy();
    throw explained(error, where);
  }
}

async function sqliteDialect(path: string, { driver }: OpenDatabaseOptions): Promise<Dialect> {
  try {
    if (path !== ":memory:") {
      await makePrivateFolder(dirname(path));
      // SQLite would make the file readable by others; its journals take their mode from it.
      const file = await open(path, "a", 0o600);
      await file.chmod(0o600).finally(() => file.close());
    }
    return new SqliteDialect({ database: await openSqlite(path, driver) });
  } catch (error) {
    throw explained(error, path);
  }
}

async function migrate(db: Kysely<Tables>, where: string): Promise<void> {
  await refuseNewer(db, where);
  const migrator = new Migrator({ db, provider: { getMigrations: async () => MIGRATIONS } });
  const { error } = await migrator.migrateToLatest();
  if (error) throw error;
}

/** A database that a newer version has changed may mean other things by the same names. */
async function refuseNewer(db: Kysely<Tables>, where: string): Promise<void> {
  const tables = await db.introspection.getTables({ withInternalKyselyTables: true });
  if (!tables.some((table) => table.name === "kysely_migration")) return;
  const rows = await db
    .withTables<{ kysely_migration: { name: string } }>()
    .selectFrom("kysely_migration")
    .select("name")
    .execute();
  const unknown = rows.map((row) => row.name).filter((name) => !(name in MIGRATIONS));
  if (unknown.length === 0) return;
  throw new CerverError(
    "conflict",
    `A newer version of cerver has changed ${where} (${unknown.join(", ")}).`,
    {
      hint: "Use that version, or another --data-dir. Nothing was changed.",
    },
  );
}

function explained(error: unknown, where: string): unknown {
  if (error instanceof CerverError) return error;
  const { code = "", message = "" } = error as NodeJS.ErrnoException;
  const cause = { cause: error };
  if (["EACCES", "EPERM", "EROFS"].includes(code) || /readonly|unable to open/i.test(message)) {
    return new CerverError(
      "forbidden",
      `The database ${where} cannot be written by this user (${code || message}).`,
      {
        hint: "Choose another folder with --data-dir, or change who owns that one.",
        ...cause,
      },
    );
  }
  if (["ENOTDIR", "EEXIST", "EISDIR", "ENOENT"].includes(code)) {
    return new CerverError("invalid_request", `The database ${where} cannot be made there (${code}).`, {
      hint: "Choose a folder with --data-dir.",
      ...cause,
    });
  }
  if (/not a database|malformed/i.test(message)) {
    return new CerverError("conflict", `The file ${where} is not a database, or it is damaged.`, {
      hint: "Move it away, or choose another folder with --data-dir.",
      ...cause,
    });
  }
  if (/locked|busy/i.test(message)) {
    return new CerverError("conflict", `The database ${where} is locked by another program.`, {
      hint: "Stop the other gateway that uses it, or choose another --data-dir.",
      ...cause,
    });
  }
  return error;
}
