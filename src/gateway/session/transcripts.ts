import { sql } from "kysely";
import type { TranscriptQuery } from "../../protocol/sessions.js";
import {
  DEFAULT_TRANSCRIPT_ENTRIES,
  type EntrySource,
  type NewTranscriptEntry,
  sourcesFrom,
  type TranscriptEntry,
} from "../../protocol/transcript.js";
import { redactedJson, redactText } from "../../redaction/redaction.js";
import { indexEntries, newSearchIds } from "../store/entry-words.js";
import type { Database, TranscriptEntryRow } from "../store/schema.js";
import type { News } from "./news.js";
import type { Session } from "./session-record.js";

export interface TranscriptsDeps {
  db: Database;
  news: News;
  now?: () => number;
}

/** Whose transcript it is. */
type Owned = Pick<Session, "id" | "account_id">;

/** `total` counts all entries of the session after the append. */
export interface Appended {
  appended: number;
  total: number;
  /** What was appended, as it is read. */
  entries: TranscriptEntry[];
}

/** The append-only record of each session. */
export class Transcripts {
  readonly #db: Database;
  readonly #news: News;
  readonly #now: () => number;

  constructor({ db, news, now = Date.now }: TranscriptsDeps) {
    this.#db = db;
    this.#news = news;
    this.#now = now;
  }

  /**
   * Appends entries in their order; their `seq` follows the session's last one without a gap, however many append
   * at once. Entries whose idempotency key the session has seen are left out. They are cerver's own.
   */
  async append(session: Owned, entries: readonly NewTranscriptEntry[]): Promise<Appended> {
    const appended = await this.#db.transaction().execute((tx) => this.appendWithin(tx, session.id, entries));
    this.tell(session, appended);
    return appended;
  }

  /**
   * {@link append} for entries that came from outside. What they say of their own source holds, with one exception:
   * only what names a run of this session is cerver's own record; another claim to be that is `external`.
   */
  async appendGiven(session: Owned, entries: readonly NewTranscriptEntry[]): Promise<Appended> {
    const appended = await this.#db.transaction().execute(async (tx) => {
      const runs = await runsOf(tx, session.id, entries);
      const checked = entries.map((entry) => {
        const source = entry.source ?? defaultSource(entry);
        const isBacked = source !== "own_tool" || (entry.run_id !== undefined && runs.has(entry.run_id));
        return { ...entry, source: isBacked ? source : ("external" as const) };
      });
      return this.appendWithin(tx, session.id, checked);
    });
    this.tell(session, appended);
    return appended;
  }

  /** Tells of what was appended, once that is certain. */
  tell(session: Owned, { total, entries }: Appended): void {
    if (entries.length === 0 || !this.#news.isHeard(session)) return;
    this.#news.tell(session, {
      type: "transcript",
      session_id: session.id,
      transcript_total: total,
      entries,
    });
  }

  /** {@link append}, as a part of the caller's own transaction; {@link tell} follows when that is done. */
  async appendWithin(
    tx: Database,
    sessionId: string,
    entries: readonly NewTranscriptEntry[],
  ): Promise<Appended> {
    const now = this.#now();
    // Counting up front takes the session's row: a second append waits here until this one is done.
    const { entry_count: total, account_id } = await tx
      .updateTable("sessions")
      .set({ updated_at: now, entry_count: sql<number>`entry_count + ${entries.length}` })
      .where("id", "=", sessionId)
      .returning(["entry_count", "account_id"])
      .executeTakeFirstOrThrow();
    const known = await this.#knownKeys(tx, sessionId, entries);
    const fresh = withoutRepeats(entries, known);
    const repeats = entries.length - fresh.length;
    if (repeats > 0) {
      await tx
        .updateTable("sessions")
        .set({ entry_count: total - repeats })
        .where("id", "=", sessionId)
        .execute();
    }
    const first = total - entries.length;
    const plain = fresh.map((entry, index) => toRow(sessionId, first + index, entry, now));
    const ids = await newSearchIds(
      tx,
      plain.map(({ at }) => at),
      now,
    );
    const rows = plain.map((row, index) => ({ ...row, search_id: ids[index]! }));
    // PostgreSQL takes 65,535 parameters a statement and SQLite 32,766; a row has 15.
    for (let start = 0; start < rows.length; start += 2_000) {
      await tx
        .insertInto("transcript_entries")
        .values(rows.slice(start, start + 2_000))
        .execute();
    }
    await indexEntries(
      tx,
      rows.map((row) => ({ ...row, account_id })),
    );
    return { appended: fresh.length, total: total - repeats, entries: rows.map(toEntry) };
  }

  /** The entries that a query asks for, oldest first: the newest 200 when it asks for nothing. */
  async read(sessionId: string, query: TranscriptQuery): Promise<TranscriptEntry[]> {
    let entries = this.#db.selectFrom("transcript_entries").selectAll().where("session_id", "=", sessionId);
    if (query.min_trust !== undefined) entries = entries.where("source", "in", sourcesFrom(query.min_trust));
    if (query.full === "1" || query.full === "true") {
      return (await entries.orderBy("seq").execute()).map(toEntry);
    }
    if (query.since !== undefined) {
      let since = entries.where("seq", ">=", query.since).orderBy("seq");
      if (query.limit !== undefined) since = since.limit(query.limit);
      return (await since.execute()).map(toEntry);
    }
    const tail = query.tail ?? DEFAULT_TRANSCRIPT_ENTRIES;
    if (tail === 0) return [];
    const newest = await entries.orderBy("seq", "desc").limit(tail).execute();
    return newest.reverse().map(toEntry);
  }

  async #knownKeys(
    db: Database,
    sessionId: string,
    entries: readonly NewTranscriptEntry[],
  ): Promise<Set<string>> {
    const keys = entries.flatMap((entry) => entry.idempotency_key ?? []);
    if (keys.length === 0) return new Set();
    const rows = await db
      .selectFrom("transcript_entries")
      .select("idempotency_key")
      .where("session_id", "=", sessionId)
      .where("idempotency_key", "in", keys)
      .execute();
    return new Set(rows.map((row) => row.idempotency_key!));
  }
}

/** Of the runs that entries name, those that are this session's. */
async function runsOf(
  db: Database,
  sessionId: string,
  entries: readonly NewTranscriptEntry[],
): Promise<Set<string>> {
  const named = [...new Set(entries.flatMap(({ run_id }) => run_id ?? []))];
  if (named.length === 0) return new Set();
  const rows = await db
    .selectFrom("runs")
    .select("id")
    .where("id", "in", named)
    .where("session_id", "=", sessionId)
    .execute();
  return new Set(rows.map(({ id }) => id));
}

function defaultSource({ role, run_id }: NewTranscriptEntry): EntrySource {
  if (role === "user") return "user";
  if (role === "assistant") return "model";
  return role === "system" || run_id !== undefined ? "own_tool" : "external";
}

function withoutRepeats(entries: readonly NewTranscriptEntry[], known: Set<string>): NewTranscriptEntry[] {
  return entries.filter(({ idempotency_key: key }) => {
    if (key === undefined) return true;
    if (known.has(key)) return false;
    known.add(key);
    return true;
  });
}

function toRow(sessionId: string, seq: number, entry: NewTranscriptEntry, now: number) {
  const content = redactText(entry.content);
  const input = entry.tool_input === undefined ? undefined : redactedJson(entry.tool_input);
  const redacted = content.redacted + (input?.redacted ?? 0);
  return {
    session_id: sessionId,
    seq,
    role: entry.role,
    kind: entry.kind,
    // PostgreSQL's text has no NUL: it is kept as the picture of one, everywhere alike.
    content: content.text.replaceAll("\0", "\u2400"),
    at: entry.at === undefined ? now : Date.parse(entry.at),
    tool_id: entry.tool_id ?? null,
    tool_name: entry.tool_name ?? null,
    tool_input_json: input?.text ?? null,
    is_error: entry.is_error === undefined ? null : Number(entry.is_error),
    run_id: entry.run_id ?? null,
    idempotency_key: entry.idempotency_key ?? null,
    redacted: redacted > 0 ? redacted : null,
    source: entry.source ?? defaultSource(entry),
  };
}

function toEntry(row: TranscriptEntryRow): TranscriptEntry {
  return {
    seq: row.seq,
    role: row.role,
    kind: row.kind,
    content: row.content,
    at: new Date(row.at).toISOString(),
    ...(row.tool_id !== null && { tool_id: row.tool_id }),
    ...(row.tool_name !== null && { tool_name: row.tool_name }),
    ...(row.tool_input_json !== null && { tool_input: JSON.parse(row.tool_input_json) as unknown }),
    ...(row.is_error !== null && { is_error: row.is_error === 1 }),
    ...(row.run_id !== null && { run_id: row.run_id }),
    ...(row.redacted !== null && { redacted: row.redacted }),
    source: row.source,
  };
}
