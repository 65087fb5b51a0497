import { createHash } from "node:crypto";
import { PostgresAdapter, type RawBuilder, sql } from "kysely";
import type { Database, TranscriptEntryRow } from "./schema.js";
import { formsOf } from "./words.js";

/** Where the words of entries are: a table of FTS5, or one with a tsvector. Its `id` is an entry's `search_id`. */
const PER_STATEMENT = 500;

/** What an entry is filed under, besides its words. */
export type Filed = Pick<TranscriptEntryRow, "session_id" | "role" | "kind" | "tool_name" | "source">;
export type TagKind = "account" | keyof Filed;

/** A word that stands for what an entry is filed under. No text has such a word: words have no `_`. */
export function tag(kind: TagKind, value: string): string {
  return `_${kind[0]}${kind[1]}${createHash("sha256").update(value).digest("hex").slice(0, 16)}`;
}

/** What of an entry is searchable: its content, its tool's name, and the texts in what the tool was given. */
export function searchText(
  row: Pick<TranscriptEntryRow, "content" | "tool_name" | "tool_input_json">,
): string {
  const input = row.tool_input_json === null ? [] : texts(JSON.parse(row.tool_input_json));
  return [row.content, row.tool_name ?? "", ...input].filter((text) => text !== "").join("\n");
}

function texts(value: unknown): string[] {
  if (typeof value === "string") return [value];
  if (typeof value === "number") return [String(value)];
  if (typeof value !== "object" || value === null) return [];
  return Object.values(value).flatMap(texts);
}

/** Seconds since 1970 and 21 bits, so that ids sort by time, stay below 2^53, and reach the year 2106. */
const PER_SECOND = 2 ** 21;
const MAX_SECOND = 2 ** 32 - 1;
let next = Math.floor(Math.random() * PER_SECOND);

/** The smallest id of an entry of that moment. */
export function firstSearchId(ms: number): number {
  return Math.min(MAX_SECOND, Math.max(0, Math.floor(ms / 1000))) * PER_SECOND;
}

/** Ids that sort by the times of entries, the same second in the order given, and that no entry has. */
export async function newSearchIds(db: Database, times: readonly number[], now: number): Promise<number[]> {
  for (let tries = 0; ; tries++) {
    // An entry that says it is from the future would come first for ever.
    const ids = times.map((at) => firstSearchId(Math.min(at, now)) + (next++ % PER_SECOND));
    const taken = ids.length === 0 ? undefined : await anyTaken(db, ids);
    if (taken === undefined || tries === 20) return ids;
    next = Math.floor(Math.random() * PER_SECOND);
  }
}

async function anyTaken(db: Database, ids: readonly number[]): Promise<unknown> {
  return db
    .selectFrom("transcript_entries")
    .select("search_id")
    .where("search_id", "in", ids)
    .executeTakeFirst();
}

/** Makes entries findable, within the transaction that appends them. `account` owns their session. */
export async function indexEntries(
  db: Database,
  entries: readonly (TranscriptEntryRow & { search_id: number; account_id: string })[],
): Promise<void> {
  const postgres = isPostgres(db);
  const column = sql.ref(postgres ? "id" : "rowid");
  for (let start = 0; start < entries.length; start += PER_STATEMENT) {
    const rows = entries.slice(start, start + PER_STATEMENT).map((entry) => {
      const tags = tagsOf(entry);
      const forms = formsOf(searchText(entry));
      return postgres
        ? sql`(${entry.search_id}, ${entry.session_id}, ${tsvector(tags, forms)}::tsvector)`
        : sql`(${entry.search_id}, ${[...tags, ...forms].join(" ")})`;
    });
    const columns = postgres ? sql`${column}, session_id, words` : sql`${column}, words`;
    await sql`insert into entry_words (${columns}) values ${sql.join(rows)}`.execute(db);
  }
}

function tagsOf(entry: Filed & { account_id: string }): string[] {
  const { account_id, session_id, role, kind, tool_name, source } = entry;
  return [
    tag("account", account_id),
    tag("session_id", session_id),
    tag("role", role),
    tag("kind", kind),
    tag("source", source),
    ...(tool_name === null ? [] : [tag("tool_name", tool_name)]),
  ];
}

/** A tsvector's own notation (PostgreSQL, section 8.11.1). Forms and tags have no quote in them. */
function tsvector(tags: readonly string[], forms: readonly string[]): string {
  const places = new Map<string, number[]>();
  forms.forEach((form, index) => {
    const known = places.get(form);
    // It keeps 256 positions of a word.
    if (!known) places.set(form, [index + 1]);
    else if (known.length < 256) known.push(index + 1);
  });
  return [
    ...tags.map((word) => `'${word}'`),
    ...[...places].map(([word, at]) => `'${word}':${at.join(",")}`),
  ].join(" ");
}

/** One thing to find: some words in a row, the last of them perhaps only the beginning of one. */
export interface Term {
  forms: readonly string[];
  prefix: boolean;
}

/** Which ids are wanted: all of `tags` (one of each group) and `terms`, none of `without`. */
export interface Wanted {
  tags: readonly (readonly string[])[];
  terms: readonly Term[];
  without: readonly Term[];
}

/** A condition on `entry_words`, in the database's own notation, made of forms and tags alone. */
export function matching(db: Database, wanted: Wanted): RawBuilder<boolean> {
  const postgres = isPostgres(db);
  const [and, or] = postgres ? [" & ", " | "] : [" AND ", " OR "];
  const term = postgres ? postgresTerm : fts5Term;
  const tagged = wanted.tags.map(
    (group) => `(${group.map((word) => term({ forms: [word], prefix: false })).join(or)})`,
  );
  // FTS5 walks the rarest first where it comes first.
  const all = [...wanted.terms.map(term), ...tagged].join(and);
  const none = wanted.without.map(term);
  if (postgres) {
    const query = [all, ...none.map((one) => `!(${one})`)].join(and);
    return sql<boolean>`entry_words.words @@ ${query}::tsquery`;
  }
  const query = none.length === 0 ? all : `(${all}) NOT (${none.join(or)})`;
  return sql<boolean>`entry_words match ${query}`;
}

function fts5Term({ forms, prefix }: Term): string {
  return `"${forms.join(" ")}"${prefix ? "*" : ""}`;
}

function postgresTerm({ forms, prefix }: Term): string {
  const words = forms.map((form, index) => `'${form}'${prefix && index === forms.length - 1 ? ":*" : ""}`);
  return `(${words.join(" <-> ")})`;
}

/** What an entry's `search_id` is compared with. */
export function searchIdColumn(db: Database): RawBuilder<number> {
  return isPostgres(db) ? sql<number>`entry_words.id` : sql<number>`entry_words.rowid`;
}

export function isPostgres(db: Database): boolean {
  return db.getExecutor().adapter instanceof PostgresAdapter;
}
