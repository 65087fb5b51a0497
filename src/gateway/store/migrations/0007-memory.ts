import { type Kysely, type Migration, sql } from "kysely";
import { indexEntries, isPostgres, newSearchIds } from "../entry-words.js";
import type { Database, Tables } from "../schema.js";

/** How many entries are made findable at a time. */
const BATCH = 500;

/** Where the words of entries come from, and an index of them. */
export const memory: Migration = {
  // SQLite's migrations are in no transaction of their own: one that is killed half way has to have done nothing.
  up(db: Kysely<unknown>) {
    const tables = db.withTables<Pick<Tables, keyof Tables>>();
    return tables.isTransaction ? up(tables) : tables.transaction().execute(up);
  },
};

async function up(db: Database): Promise<void> {
  await db.schema
    .alterTable("transcript_entries")
    .addColumn("source", "text", (c) => c.notNull().defaultTo("external"))
    .execute();
  await db.schema.alterTable("transcript_entries").addColumn("search_id", "bigint").execute();
  // Before the ids are given: each batch asks which of its own are taken.
  await db.schema
    .createIndex("transcript_entries_search")
    .unique()
    .on("transcript_entries")
    .column("search_id")
    .execute();
  await sql`update transcript_entries set source = case
    when role = 'user' then 'user'
    when role = 'assistant' then 'model'
    when exists (select 1 from runs where runs.id = transcript_entries.run_id
                 and runs.session_id = transcript_entries.session_id) then 'own_tool'
    when role = 'system' and kind = 'compute' then 'own_tool'
    else 'external' end`.execute(db);
  if (isPostgres(db)) {
    await sql`create table entry_words (id bigint primary key,
      session_id text not null references sessions(id) on delete cascade, words tsvector not null)`.execute(
      db,
    );
    await sql`create index entry_words_by_session on entry_words (session_id)`.execute(db);
  } else {
    // Words are made here and texts are in their own table: FTS5 keeps neither, and forgets what is deleted.
    await sql`create virtual table entry_words using fts5(words, content='', contentless_delete=1,
      tokenize="ascii tokenchars '_'")`.execute(db);
    await sql`create trigger entry_words_forget after delete on transcript_entries begin
      delete from entry_words where rowid = old.search_id; end`.execute(db);
  }
  await indexWhatIsThere(db);
  if (isPostgres(db)) await sql`create index entry_words_words on entry_words using gin (words)`.execute(db);
}

async function indexWhatIsThere(db: Database): Promise<void> {
  const now = Date.now();
  let after = { session_id: "", seq: -1 };
  for (;;) {
    const rows = await db
      .selectFrom("transcript_entries")
      .innerJoin("sessions", "sessions.id", "transcript_entries.session_id")
      .selectAll("transcript_entries")
      .select("sessions.account_id")
      .where(({ eb, or, and }) =>
        or([
          eb("transcript_entries.session_id", ">", after.session_id),
          and([eb("transcript_entries.session_id", "=", after.session_id), eb("seq", ">", after.seq)]),
        ]),
      )
      .orderBy("transcript_entries.session_id")
      .orderBy("seq")
      .limit(BATCH)
      .execute();
    if (rows.length === 0) return;
    const ids = await newSearchIds(
      db,
      rows.map(({ at }) => at),
      now,
    );
    const indexed = rows.map((row, index) => ({ ...row, search_id: ids[index]! }));
    for (const { session_id, seq, search_id } of indexed) {
      await db
        .updateTable("transcript_entries")
        .set({ search_id })
        .where("session_id", "=", session_id)
        .where("seq", "=", seq)
        .execute();
    }
    await indexEntries(db, indexed);
    const last = rows.at(-1)!;
    after = { session_id: last.session_id, seq: last.seq };
  }
}
