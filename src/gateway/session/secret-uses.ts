import { createHash } from "node:crypto";
import type { AuditedUse, AuditList, AuditQuery, ReportSecretUse } from "../../protocol/audit.js";
import { newId } from "../../protocol/ids.js";
import type { SecretUse } from "../../protocol/runs.js";
import type { Database, SecretUseRow } from "../store/schema.js";
import { decodeCursor, encodeCursor } from "./session-cursor.js";

/** The run that secrets were given to. */
interface UsedIn {
  runId: string;
  sessionId: string;
  accountId: string;
  at: number;
}

/** Who used which secret, when and for what: a row for each use, which holds no value. */
export class SecretUses {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  /** What a machine says that it gave to a run. Said again, it is the same row. */
  async ofRun(
    { runId, sessionId, accountId, at }: UsedIn,
    used: readonly SecretUse[] | undefined,
    db: Database = this.#db,
  ): Promise<void> {
    if (!used || used.length === 0) return;
    const rows = used.map(
      ({ name, backend }): SecretUseRow => ({
        id: `use_${createHash("sha256").update(`${runId} ${backend} ${name}`).digest("hex").slice(0, 32)}`,
        account_id: accountId,
        name,
        backend,
        used_by: "run",
        token_id: null,
        session_id: sessionId,
        run_id: runId,
        at,
      }),
    );
    await db
      .insertInto("secret_uses")
      .values(rows)
      .onConflict((conflict) => conflict.column("id").doNothing())
      .execute();
  }

  /** An agent was handed a value on its own machine, and says so. */
  async report(
    { accountId, tokenId }: { accountId: string; tokenId: string | null },
    { name, backend, session_id }: ReportSecretUse,
  ): Promise<AuditedUse> {
    const row: SecretUseRow = {
      id: newId("use"),
      account_id: accountId,
      name,
      backend,
      used_by: "secret_fetch",
      token_id: tokenId,
      session_id: session_id ?? null,
      run_id: null,
      at: Date.now(),
    };
    await this.#db.insertInto("secret_uses").values(row).execute();
    return toUse(row);
  }

  /** A page of the account's uses, newest first. */
  async list(accountId: string, query: AuditQuery): Promise<AuditList> {
    let rows = this.#db
      .selectFrom("secret_uses")
      .selectAll()
      .where("account_id", "=", accountId)
      .orderBy("at", "desc")
      .orderBy("id", "desc")
      .limit(query.limit + 1);
    for (const column of ["name", "session_id", "run_id"] as const)
      if (query[column] !== undefined) rows = rows.where(column, "=", query[column]);
    if (query.cursor !== undefined) {
      const { createdAt, id } = decodeCursor(query.cursor);
      rows = rows.where(({ eb, or, and }) =>
        or([eb("at", "<", createdAt), and([eb("at", "=", createdAt), eb("id", "<", id)])]),
      );
    }
    const found = await rows.execute();
    const page = found.slice(0, query.limit);
    const last = page.at(-1);
    return {
      uses: page.map(toUse),
      ...(found.length > query.limit &&
        last && { next_cursor: encodeCursor({ created_at: last.at, id: last.id }) }),
    };
  }
}

function toUse(row: SecretUseRow): AuditedUse {
  return {
    use_id: row.id,
    at: new Date(row.at).toISOString(),
    name: row.name,
    backend: row.backend,
    by: row.used_by as AuditedUse["by"],
    token_id: row.token_id,
    session_id: row.session_id,
    run_id: row.run_id,
  };
}
