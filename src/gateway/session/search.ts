import { sql } from "kysely";
import { CerverError } from "../../protocol/errors.js";
import type { SearchAnswer, SearchHit, SearchQuery } from "../../protocol/search.js";
import { sourcesFrom } from "../../protocol/transcript.js";
import { firstSearchId, matching, searchIdColumn, searchText, tag } from "../store/entry-words.js";
import type { Database } from "../store/schema.js";
import { type ParsedQuery, parseQuery } from "./search-query.js";
import { carriesTag, fewTagged, wantedTags } from "./session-tags.js";
import { relevance, snippetOf } from "./snippet.js";

/** So many of the newest matches are compared with each other; older ones follow on later pages. */
const WINDOW = 64;
/** So much of an entry, in characters, is looked at to rank it. */
const RANKED_LENGTH = 8_000;
/** After so long, in ms, a match counts half of what a new one does. */
const HALF_LIFE_MS = 14 * 86_400_000;

/**
 * Finds entries of one account.
 *
 * The matches are taken newest first, a window of them at a time, and ranked within it by how well they match and how
 * new they are: the work does not grow with the number of matches.
 */
export async function search(db: Database, accountId: string, query: SearchQuery): Promise<SearchAnswer> {
  const wanted = parseQuery(query.q);
  const { before, skip } = query.cursor === undefined ? FIRST : decodeCursor(query.cursor);
  const window = await newestMatches(db, accountId, query, wanted, before);
  const newest = window[0];
  if (!newest) return { hits: [] };
  const ranked = window
    .map((row) => ({ row, score: scoreOf(row, newest.at, wanted) }))
    .sort((a, b) => b.score - a.score || b.row.search_id - a.row.search_id);
  const page = ranked.slice(skip, skip + query.limit);
  const hits: SearchHit[] = [];
  for (const { row, score } of page) hits.push(await toHit(db, row, score, wanted));
  const more = nextPosition(window, skip + page.length);
  return { hits, ...(more && { next_cursor: encodeCursor(more) }) };
}

/** A page's place: in the window that begins below `before`, after so many of its hits. */
interface Position {
  before: number;
  skip: number;
}
const FIRST: Position = { before: Number.MAX_SAFE_INTEGER, skip: 0 };

function nextPosition(window: readonly { search_id: number }[], shown: number): Position | undefined {
  // The window is told by its newest, so that what is appended meanwhile moves nothing.
  if (shown < window.length) return { before: window[0]!.search_id + 1, skip: shown };
  return window.length < WINDOW ? undefined : { before: window.at(-1)!.search_id, skip: 0 };
}

function encodeCursor({ before, skip }: Position): string {
  return Buffer.from(`${before} ${skip}`).toString("base64url");
}

function decodeCursor(cursor: string): Position {
  const match = /^(\d{1,16}) (\d{1,2})$/.exec(Buffer.from(cursor, "base64url").toString());
  if (match && Number.isSafeInteger(Number(match[1])))
    return { before: Number(match[1]), skip: Number(match[2]) };
  throw new CerverError("invalid_request", "cursor: this is not a cursor that a search gave out.", {
    hint: "Send the `next_cursor` of the page before, unchanged and with the same q, or leave it out.",
  });
}

type FoundRow = Awaited<ReturnType<typeof newestMatches>>[number];

async function newestMatches(
  db: Database,
  accountId: string,
  query: SearchQuery,
  { terms, without }: ParsedQuery,
  before: number,
) {
  const { session_id, role, kind, tool, since, until, label, working_dir, repository, min_trust } = query;
  const metadata = Object.fromEntries(
    Object.entries({ working_dir, repository }).filter(
      (pair): pair is [string, string] => pair[1] !== undefined,
    ),
  );
  const labelled = wantedTags(label, metadata);
  const few = await fewTagged(db, accountId, labelled);
  if (few?.length === 0) return [];
  const groups = [
    [tag("account", accountId)],
    ...(session_id === undefined ? [] : [[tag("session_id", session_id)]]),
    ...(few === undefined ? [] : [few.map((id) => tag("session_id", id))]),
    ...(role === undefined ? [] : [[tag("role", role)]]),
    ...(kind === undefined ? [] : [[tag("kind", kind)]]),
    ...(tool === undefined ? [] : [[tag("tool_name", tool)]]),
    // Everything is external or better.
    ...(min_trust === undefined || min_trust === "external"
      ? []
      : [sourcesFrom(min_trust).map((source) => tag("source", source))]),
  ];
  const id = searchIdColumn(db);
  let found = db
    .selectFrom("entry_words")
    .innerJoin("transcript_entries as e", (join) => join.on("e.search_id", "=", id))
    .innerJoin("sessions as s", "s.id", "e.session_id")
    .select([
      "e.session_id",
      "e.seq",
      "e.role",
      "e.kind",
      "e.at",
      "e.source",
      "e.tool_name",
      "e.run_id",
      "s.name as session_name",
      sql<string>`substr(e.content, 1, ${RANKED_LENGTH})`.as("content"),
      sql<number>`length(e.content) + coalesce(length(e.tool_input_json), 0)`.as("length"),
      sql<
        string | null
      >`case when length(e.tool_input_json) <= ${RANKED_LENGTH} then e.tool_input_json end`.as(
        "tool_input_json",
      ),
      id.as("search_id"),
    ])
    .where(matching(db, { tags: groups, terms, without }))
    .where(id, "<", before)
    // The index has found them by a tag; whose they are is told by their session.
    .where("s.account_id", "=", accountId)
    .orderBy(id, "desc")
    .limit(WINDOW);
  if (since !== undefined) {
    found = found.where(id, ">=", firstSearchId(Date.parse(since))).where("e.at", ">=", Date.parse(since));
  }
  if (until !== undefined) {
    found = found
      .where(id, "<", firstSearchId(Date.parse(until) + 1_000))
      .where("e.at", "<=", Date.parse(until));
  }
  if (few === undefined) {
    for (const [name, value] of labelled) found = found.where(carriesTag("s.id", name, value));
  }
  return found.execute();
}

function scoreOf(row: FoundRow, newestAt: number, { terms }: ParsedQuery): number {
  const age = Math.max(0, newestAt - row.at);
  const recency = 0.5 + 0.5 * 2 ** (-age / HALF_LIFE_MS);
  // What matches only beyond the part that is looked at still matches.
  const score = Math.max(0.05, relevance(searchText(row), terms)) * recency;
  return Math.round(score * 1e4) / 1e4;
}

async function toHit(db: Database, row: FoundRow, score: number, { terms }: ParsedQuery): Promise<SearchHit> {
  let snippet = snippetOf(searchText(row), terms);
  if (row.length > RANKED_LENGTH && !snippet.some(({ match }) => match)) {
    const whole = await db
      .selectFrom("transcript_entries")
      .select(["content", "tool_name", "tool_input_json"])
      .where("session_id", "=", row.session_id)
      .where("seq", "=", row.seq)
      .executeTakeFirst();
    if (whole) snippet = snippetOf(searchText(whole), terms);
  }
  return {
    session_id: row.session_id,
    session_name: row.session_name,
    seq: row.seq,
    role: row.role,
    kind: row.kind,
    at: new Date(row.at).toISOString(),
    source: row.source,
    ...(row.tool_name !== null && { tool_name: row.tool_name }),
    ...(row.run_id !== null && { run_id: row.run_id }),
    score,
    snippet,
  };
}
