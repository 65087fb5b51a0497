import type { SqliteDatabase, SqliteStatement } from "kysely";
import { CerverError } from "../../protocol/errors.js";

/** The SQLite drivers there are: Node's own where Node has one, else libsql. */
export const SQLITE_DRIVERS = ["node:sqlite", "libsql"] as const;
export type SqliteDriverName = (typeof SQLITE_DRIVERS)[number];

/** What the two drivers have in common. */
interface Driver {
  prepare(sql: string): {
    all(...parameters: unknown[]): unknown[];
    run(...parameters: unknown[]): RunResult;
  };
  exec(sql: string): unknown;
  close(): void;
}
interface RunResult {
  changes: number | bigint;
  lastInsertRowid: number | bigint;
}

/** Prepared statements that are kept. The queries of a gateway are fewer. */
const MAX_STATEMENTS = 256;
const RETURNS_ROWS = /^\s*(?:select|with|pragma|values|explain)\b|\breturning\b/i;

/** Opens an SQLite file, or `:memory:`, for Kysely's own SQLite dialect. */
export async function openSqlite(path: string, driver?: SqliteDriverName): Promise<SqliteDatabase> {
  const db = await openDriver(path, driver ?? (hasNodeSqlite() ? "node:sqlite" : "libsql"));
  try {
    db.exec("PRAGMA busy_timeout = 5000");
    // WAL lets readers read while one writes; NORMAL keeps the file whole after a crash, and the last moments of a power
    // cut are its price (sqlite.org/pragma.html).
    db.exec("PRAGMA journal_mode = WAL");
    db.exec("PRAGMA synchronous = NORMAL");
    db.exec("PRAGMA foreign_keys = ON");
    // KiB that are kept in memory once read, in the place of 2,000: a search over millions of entries looks here and there.
    db.exec("PRAGMA cache_size = -32000");
    return withStatementCache(db);
  } catch (error) {
    db.close();
    throw error;
  }
}

/** Whether this Node brings SQLite: from 22.13 on without a flag. */
export function hasNodeSqlite(): boolean {
  return nodeSqlite() !== undefined;
}

async function openDriver(path: string, name: SqliteDriverName): Promise<Driver> {
  if (name === "libsql") return openLibsql(path);
  const sqlite = nodeSqlite();
  if (!sqlite)
    throw new CerverError("unsupported", "This Node has no SQLite of its own.", {
      hint: "Use Node 22.13 or newer.",
    });
  return new sqlite.DatabaseSync(path);
}

interface NodeSqlite {
  DatabaseSync: new (path: string) => Driver;
}

/**
 * Node's module, if it has one, without the warning that it is experimental: this package's driver suite vouches for it.
 * The warning is given while the module loads, so nothing else is lost.
 */
function nodeSqlite(): NodeSqlite | undefined {
  const { emitWarning } = process;
  process.emitWarning = () => {};
  try {
    return process.getBuiltinModule?.("node:sqlite") as NodeSqlite | undefined;
  } finally {
    process.emitWarning = emitWarning;
  }
}

async function openLibsql(path: string): Promise<Driver> {
  let Libsql: new (path: string) => Driver;
  try {
    Libsql = ((await import("libsql")) as unknown as { default: typeof Libsql }).default;
  } catch (error) {
    throw new CerverError(
      "unsupported",
      "This Node has no SQLite, and the package libsql is not installed.",
      {
        hint: "Use Node 22.13 or newer, or install cerver with its optional dependencies.",
        cause: error,
      },
    );
  }
  return new Libsql(path);
}

function withStatementCache(db: Driver): SqliteDatabase {
  const statements = new Map<string, SqliteStatement>();
  return {
    prepare(sql) {
      const known = statements.get(sql);
      if (known) return known;
      const statement = normalised(db, sql);
      if (statements.size >= MAX_STATEMENTS) statements.delete(statements.keys().next().value!);
      statements.set(sql, statement);
      return statement;
    },
    close() {
      statements.clear();
      // The journal goes into the file, so that the file alone is the whole database.
      try {
        db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
      } finally {
        db.close();
      }
    },
  };
}

/** One statement with parameters and rows that are the same in both drivers. */
function normalised(db: Driver, sql: string): SqliteStatement {
  const statement = db.prepare(sql);
  return {
    reader: RETURNS_ROWS.test(sql),
    all: (parameters) => statement.all(...parameters.map(toParameter)).map(toRow),
    run: (parameters) => statement.run(...parameters.map(toParameter)),
    iterate() {
      throw new Error("rows are not streamed from SQLite");
    },
  };
}

function toParameter(value: unknown): unknown {
  if (typeof value === "boolean") return value ? 1 : 0;
  if (value === undefined) return null;
  if (value instanceof Date) return value.getTime();
  if (typeof value === "string" && value.includes("\0")) {
    throw new CerverError(
      "invalid_request",
      "A text holds a NUL character, which the database does not keep.",
      {
        hint: "Remove the character U+0000.",
      },
    );
  }
  return value;
}

/** node:sqlite makes rows without a prototype; libsql puts a field of its own into some. */
function toRow(row: unknown): unknown {
  const { _metadata, ...columns } = row as Record<string, unknown>;
  return columns;
}
