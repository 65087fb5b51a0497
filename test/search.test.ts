import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Accounts } from "../src/gateway/account/accounts.js";
import { News } from "../src/gateway/session/news.js";
import { search } from "../src/gateway/session/search.js";
import { writeTags } from "../src/gateway/session/session-tags.js";
import { Transcripts } from "../src/gateway/session/transcripts.js";
import { openDatabase } from "../src/gateway/store/database.js";
import { MIGRATIONS } from "../src/gateway/store/migrations/index.js";
import type { Database } from "../src/gateway/store/schema.js";
import { hasNodeSqlite } from "../src/gateway/store/sqlite.js";
import { newId } from "../src/protocol/ids.js";
import { SearchQuery } from "../src/protocol/search.js";
import { NewTranscriptEntry } from "../src/protocol/transcript.js";
import { hasPostgres, startPostgres } from "./postgres.js";

interface Store {
  url: string;
  open(): Promise<Database>;
  stop(): Promise<void>;
}

const sqliteStore = (driver: "libsql" | "node:sqlite") => async (): Promise<Store> => {
  const folder = await mkdtemp(join(tmpdir(), "cerver-search-"));
  const url = join(folder, "cerver.db");
  return { url, open: () => openDatabase(url, { driver }), stop: () => rm(folder, { recursive: true }) };
};
const STORES: [string, boolean, () => Promise<Store>][] = [
  ["SQLite by libsql", true, sqliteStore("libsql")],
  ["SQLite by node:sqlite", hasNodeSqlite(), sqliteStore("node:sqlite")],
  [
    "PostgreSQL",
    hasPostgres,
    async () => {
      const { url, stop } = await startPostgres();
      return { url, open: () => openDatabase(url), stop };
    },
  ],
];
for (const [name, there] of STORES) if (!there) console.warn(`skipped: ${name} is not on this machine`);

describe.each(STORES.filter(([, there]) => there))("search in %s", (_name, _there, start) => {
  let store: Store;
  let db: Database;
  beforeAll(async () => {
    store = await start();
    db = await store.open();
    await new Accounts({ db }).ensureLocal();
    await db.insertInto("accounts").values({ id: "acct_other", name: "other", created_at: 0 }).execute();
  });
  afterAll(async () => {
    await db.destroy();
    await store.stop();
  });

  const newSession = async (account_id = "acct_local", tags: { labels?: object; metadata?: object } = {}) => {
    const session = { id: newId("sess"), account_id };
    await db
      .insertInto("sessions")
      .values({
        ...session,
        name: "a session",
        status: "ready",
        metadata_json: "{}",
        request_json: "{}",
        routing_json: "{}",
        provider: "none",
        created_at: Date.now(),
        updated_at: Date.now(),
      } as never)
      .execute();
    await writeTags(db, session, (tags.labels ?? {}) as never, (tags.metadata ?? {}) as never);
    return session;
  };
  type Session = Awaited<ReturnType<typeof newSession>>;
  const add = (session: Session, ...entries: object[]) =>
    new Transcripts({ db, news: new News() }).appendGiven(
      session,
      entries.map((entry) => NewTranscriptEntry.parse({ role: "assistant", ...entry })),
    );
  const find = (q: string, query: object = {}, account = "acct_local") =>
    search(db, account, SearchQuery.parse({ q, ...query }));
  const seqs = async (q: string, query: object = {}) =>
    (await find(q, query)).hits.map(({ seq }) => seq).sort();

  test("finds by all words, phrases, exclusions, beginnings, in any case and accent", async () => {
    const session = await newSession();
    const here = { session_id: session.id };
    await add(
      session,
      { content: "The Quick brown fox_jumps over the lazy dog" },
      { content: "brown is the quick one: crème brûlée, naïve" },
      { content: "检索一下全文 and кириллица, Ünïcode" },
      {
        kind: "tool_use",
        content: "",
        tool_name: "Bash",
        tool_input: { command: "npm run zebra-test", n: [4711] },
      },
    );
    expect(await seqs("quick brown", here)).toEqual([0, 1]);
    expect(await seqs('"quick brown"', here)).toEqual([0]);
    expect(await seqs("quick -fox", here)).toEqual([1]);
    expect(await seqs('quick -"lazy dog" -nothing', here)).toEqual([1]);
    expect(await seqs("CREME brulee", here)).toEqual([1]);
    expect(await seqs("全文", here)).toEqual([2]);
    expect(await seqs("文全", here)).toEqual([]);
    expect(await seqs("КИРИЛЛИЦА unicode", here)).toEqual([2]);
    expect(await seqs("jum*", here)).toEqual([0]);
    expect(await seqs("jum", here)).toEqual([]);
    expect(await seqs("zebra-test bash", here)).toEqual([3]);
    expect(await seqs("4711", here)).toEqual([3]);
    expect(await seqs("command", here)).toEqual([]);
  });

  test("shows the matches in a snippet, wherever in a long text they are", async () => {
    const session = await newSession();
    const filler = "lorem ipsum dolor ".repeat(2_000);
    await add(session, { content: `${filler} the <b>needle</b> &amp; thread ${filler}` });
    const { hits } = await find("needle thread", { session_id: session.id });
    expect(hits[0]?.snippet.filter(({ match }) => match).map(({ text }) => text)).toEqual([
      "needle",
      "thread",
    ]);
    const text = hits[0]!.snippet.map((part) => part.text).join("");
    expect(text).toMatch(/^….*the <b>needle<\/b> &amp; thread.*…$/);
    expect(text.length).toBeLessThan(300);
  });

  test("no sign of a query is taken for the database's own notation", async () => {
    const session = await newSession();
    await add(session, { content: "alpha beta or near words" });
    const here = { session_id: session.id };
    for (const q of [
      "alpha OR gamma",
      "words:alpha NEAR(beta gamma)",
      "alpha) OR (gamma",
      "alpha' | 'gamma",
      "alpha & !gamma' <-> :*",
      "^alpha {x}: gamma",
      "alpha\\' gamma",
      "_acdeadbeef",
    ])
      expect([q, await seqs(q, here)]).toEqual([q, []]);
    expect(await seqs('alpha "; beta; or --" -zzz', here)).toEqual([0]);
    expect(await seqs("alpha & beta | ( ) : ' ! <-> \\", here)).toEqual([0]);
  });

  test("a query that finds nothing by its making is refused in words", async () => {
    const refused = (q: string) =>
      find(q).then(
        () => "found",
        (error) => `${error.code} ${error.message}`,
      );
    expect(await refused('"open')).toMatch(/^invalid_request q: a quotation mark/);
    expect(await refused("-only -this")).toMatch(/only says what not to find/);
    expect(await refused("!!! ...")).toMatch(/no word in it/);
    expect(await refused("a*")).toMatch(/too short/);
    expect(await refused("x ".repeat(33))).toMatch(/more than 32/);
    await expect(find("x", { cursor: "bm9uc2Vuc2U" })).rejects.toMatchObject({ code: "invalid_request" });
  });

  test("filters by session, role, kind, tool, time, label, folder, repository and trust", async () => {
    const tagged = await newSession("acct_local", {
      labels: { team: "web" },
      metadata: { working_dir: "/srv/app", repository: "acme/app" },
    });
    const plain = await newSession();
    await add(
      tagged,
      { role: "user", content: "walrus", at: "2024-01-01T00:00:00Z" },
      { content: "walrus", at: "2024-02-01T00:00:00.500Z" },
      {
        role: "tool",
        kind: "tool_result",
        tool_name: "Read's \" tool",
        content: "walrus",
        at: "2024-03-01T00:00:00Z",
      },
    );
    await add(
      plain,
      { content: "walrus" },
      { content: "none" },
      { content: "walrus" },
      { content: "walrus" },
    );
    const of = { session_id: tagged.id };
    expect(await seqs("walrus", of)).toEqual([0, 1, 2]);
    expect(await seqs("walrus", { ...of, role: "user" })).toEqual([0]);
    expect(await seqs("walrus", { ...of, kind: "tool_result" })).toEqual([2]);
    expect(await seqs("walrus", { tool: "Read's \" tool" })).toEqual([2]);
    expect(await seqs("walrus", { ...of, since: "2024-02-01T00:00:00.500Z" })).toEqual([1, 2]);
    expect(await seqs("walrus", { ...of, since: "2024-02-01T00:00:00.501Z" })).toEqual([2]);
    expect(await seqs("walrus", { ...of, until: "2024-02-01T00:00:00.500Z" })).toEqual([0, 1]);
    expect(await seqs("walrus", { label: "team=web" })).toEqual([0, 1, 2]);
    expect(await seqs("walrus", { label: "team=none" })).toEqual([]);
    expect(await seqs("walrus", { working_dir: "/srv/app", repository: "acme/app" })).toEqual([0, 1, 2]);
    expect(await seqs("walrus", { repository: "acme/other" })).toEqual([]);
    expect(await seqs("walrus", { ...of, min_trust: "user" })).toEqual([0]);
    expect(await seqs("walrus", { ...of, min_trust: "model" })).toEqual([0, 1]);
    expect(await seqs("walrus", { ...of, min_trust: "external" })).toEqual([0, 1, 2]);
  });

  test("finds nothing of another account, whatever it is asked", async () => {
    const mine = await newSession();
    const theirs = await newSession("acct_other", { labels: { team: "x" } });
    await add(mine, { content: "sharedword mine" });
    await add(theirs, { content: "sharedword theirs", tool_name: "T" });
    const found = async (query: object, account: string) =>
      (await find("sharedword", query, account)).hits.map(({ session_id }) => session_id);
    expect(await found({}, "acct_local")).toEqual([mine.id]);
    expect(await found({}, "acct_other")).toEqual([theirs.id]);
    for (const query of [{ session_id: theirs.id }, { label: "team=x" }, { tool: "T" }])
      expect(await found(query, "acct_local")).toEqual([]);
    expect(await found({}, "acct_nobody")).toEqual([]);
  });

  test("pages through everything once, while more is appended", async () => {
    const session = await newSession();
    const count = 150;
    await add(session, ...Array.from({ length: count }, (_, i) => ({ content: `paging number ${i}` })));
    const seen: number[] = [];
    let cursor: string | undefined;
    do {
      const { hits, next_cursor } = await find("paging", { session_id: session.id, limit: 20, cursor });
      seen.push(...hits.map(({ seq }) => seq));
      cursor = next_cursor;
      await add(session, { content: "paging late", at: new Date(Date.now() + 2_000).toISOString() });
    } while (cursor);
    expect(seen.filter((seq) => seq < count).sort((a, b) => a - b)).toEqual(
      Array.from({ length: count }, (_, i) => i),
    );
    expect(seen).toHaveLength(count);
  });

  test("prefers the newer of two that match alike, and the better of two as new", async () => {
    const session = await newSession();
    await add(
      session,
      { content: "heron", at: "2024-01-01T00:00:00Z" },
      { content: "heron", at: "2024-06-01T00:00:00Z" },
      { content: `heron ${"and other birds ".repeat(200)}`, at: "2024-06-01T00:00:00Z" },
    );
    const { hits } = await find("heron", { session_id: session.id });
    expect(hits[0]?.seq).toBe(1);
    expect(hits.every(({ score }, i) => score > 0 && score <= (hits[i - 1]?.score ?? 1))).toBe(true);
  });

  test("a large batch of one moment is found whole, and what is removed no more", async () => {
    const session = await newSession();
    const at = "2023-05-05T05:05:05Z";
    await add(session, ...Array.from({ length: 1_000 }, () => ({ content: "ibis", at })));
    await add(session, ...Array.from({ length: 1_000 }, () => ({ content: "ibis", at })));
    let total = 0;
    let cursor: string | undefined;
    do {
      const page = await find("ibis", { session_id: session.id, limit: 50, cursor });
      total += page.hits.length;
      cursor = page.next_cursor;
    } while (cursor);
    expect(total).toBe(2_000);
    await db.deleteFrom("sessions").where("id", "=", session.id).execute();
    expect((await find("ibis")).hits).toEqual([]);
  });

  test("a rolled-back append is not found", async () => {
    const session = await newSession();
    const transcripts = new Transcripts({ db, news: new News() });
    await expect(
      db.transaction().execute(async (tx) => {
        await transcripts.appendWithin(tx, session.id, [
          { role: "user", kind: "text", content: "phantomword" },
        ]);
        throw new Error("stop");
      }),
    ).rejects.toThrow("stop");
    expect((await find("phantomword")).hits).toEqual([]);
  });
});

describe("a database from before there was a search", () => {
  const before = Object.fromEntries(Object.entries(MIGRATIONS).filter(([name]) => name < "0007"));

  test.each(STORES.filter(([, there]) => there))(
    "%s: its entries are found, with their sources",
    async (_n, _t, start) => {
      const { Migrator } = await import("kysely");
      const store = await start();
      const later = Object.entries(MIGRATIONS).filter(([name]) => !(name in before));
      for (const [name] of later) delete MIGRATIONS[name];
      let db: Database;
      try {
        db = await store.open();
      } finally {
        Object.assign(MIGRATIONS, Object.fromEntries(later));
      }
      await new Accounts({ db }).ensureLocal();
      const old = {
        name: "",
        status: "ready",
        metadata_json: "{}",
        request_json: "{}",
        routing_json: "{}",
        provider: "none",
      };
      await db
        .insertInto("sessions")
        .values({
          id: "sess_old",
          account_id: "acct_local",
          created_at: 1,
          updated_at: 1,
          entry_count: 1_203,
          ...old,
        } as never)
        .execute();
      await db
        .insertInto("runs")
        .values({
          id: "run_1",
          session_id: "sess_old",
          account_id: "acct_local",
          runtime: "shell",
          status: "succeeded",
          streamed: 0,
          started_at: 1,
        } as never)
        .execute();
      const row = (seq: number, more: object) =>
        ({
          session_id: "sess_old",
          seq,
          role: "user",
          kind: "text",
          content: `ancient ${seq}`,
          at: 1_600_000_000_000 + seq,
          ...more,
        }) as never;
      const rows = Array.from({ length: 1_200 }, (_, seq) => row(seq, {}));
      rows.push(
        row(1_200, { role: "assistant" }),
        row(1_201, { role: "tool", run_id: "run_1" }),
        row(1_202, { role: "tool", run_id: "run_x" }),
      );
      for (let i = 0; i < rows.length; i += 500)
        await db
          .insertInto("transcript_entries")
          .values(rows.slice(i, i + 500))
          .execute();
      expect(Object.keys(before)).not.toContain("0007-memory");
      await new Migrator({ db, provider: { getMigrations: async () => MIGRATIONS } }).migrateToLatest();
      const found = async (q: string) => (await search(db, "acct_local", SearchQuery.parse({ q }))).hits;
      expect((await found("ancient 700")).map(({ seq }) => seq)).toEqual([700]);
      const sources = ["ancient 0", "ancient 1200", "ancient 1201", "ancient 1202"];
      expect((await Promise.all(sources.map(found))).map(([hit]) => hit?.source)).toEqual([
        "user",
        "model",
        "own_tool",
        "external",
      ]);
      await db.destroy();
      await store.stop();
    },
  );
});
