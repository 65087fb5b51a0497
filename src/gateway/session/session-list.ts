import { sql } from "kysely";
import { CerverError } from "../../protocol/errors.js";
import { canonicalProvider } from "../../protocol/providers.js";
import { canonicalStatus, type ListSessionsQuery } from "../../protocol/sessions.js";
import type { Database } from "../store/schema.js";
import { decodeCursor } from "./session-cursor.js";
import type { Session } from "./session-record.js";
import { carriesTag, fewTagged, wantedTags } from "./session-tags.js";

/** An account's sessions that a query asks for, newest first, and whether there are more. `running` are those in which something runs. */
export async function pageOfSessions(
  db: Database,
  accountId: string,
  { limit, status, source, provider, label, cursor }: ListSessionsQuery,
  metadata: Record<string, string>,
  running: readonly string[],
): Promise<{ rows: Session[]; more: boolean }> {
  const tags = wantedTags(label, metadata);
  const few = await fewTagged(db, accountId, tags);
  let query = db
    .selectFrom("sessions")
    .selectAll()
    // Few are found by their ids; SQLite would go through all of the account's instead, had it an index to do so.
    .where(few ? sql<string>`account_id || ''` : "account_id", "=", accountId)
    .orderBy("created_at", "desc")
    .orderBy("id", "desc")
    .limit(limit + 1);
  if (source !== undefined) query = query.where("source", "=", source);
  if (provider !== undefined) query = query.where("provider", "=", canonicalProvider(provider));
  // An empty list is not SQL: no id is the empty text.
  if (few) query = query.where("id", "in", few.length > 0 ? few : [""]);
  // Of many, the newest that carry them are soon found by looking at each.
  for (const [name, value] of few ? [] : tags) query = query.where(carriesTag("sessions.id", name, value));
  if (status !== undefined) {
    const wanted = canonicalStatus(status);
    if (!wanted) {
      throw new CerverError("invalid_request", `status: "${status}" is not a status of a session.`, {
        hint: "Use ready, running, failed or ended.",
      });
    }
    query = query.where("status", "=", wanted === "running" ? "ready" : wanted);
    if (wanted === "running") query = query.where("id", "in", running.length > 0 ? running : [""]);
    if (wanted === "ready" && running.length > 0) query = query.where("id", "not in", running);
  }
  if (cursor !== undefined) {
    const { createdAt, id } = decodeCursor(cursor);
    query = query.where(({ eb, or, and }) =>
      or([eb("created_at", "<", createdAt), and([eb("created_at", "=", createdAt), eb("id", "<", id)])]),
    );
  }
  const rows = await query.execute();
  return { rows: rows.slice(0, limit), more: rows.length > limit };
}
