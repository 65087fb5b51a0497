import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Accounts } from "../src/gateway/account/accounts.js";
import { ApiTokens } from "../src/gateway/account/api-tokens.js";
import { News } from "../src/gateway/session/news.js";
import { Transcripts } from "../src/gateway/session/transcripts.js";
import { openDatabase } from "../src/gateway/store/database.js";
import { MIGRATIONS } from "../src/gateway/store/migrations/index.js";
import type { Database } from "../src/gateway/store/schema.js";
import { hasNodeSqlite, openSqlite } from "../src/gateway/store/sqlite.js";
import { newId } from "../src/protocol/ids.js";
import { hasPostgres, startPostgres } from "./postgres.js";

interface Store {
  open(): Promise<Database>;
  stop(): Promise<void>;
}

const sqliteStore = (driver: "libsql" | "node:sqlite") => async (): Promise<Store> => {
  const folder = await mkdtemp(join(tmpdir(), "cerver-store-"));
  return {
    open: () => openDatabase(join(folder, "cerver.db"), { driver }),
    stop: () => rm(folder, { recursive: true }),
  };
};

const STORES: [string, boolean, () => Promise<Store>][] = [
  ["SQLite by libsql", true, sqliteStore("libsql")],
  ["SQLite by node:sqlite", hasNodeSqlite(), sqliteStore("node:sqlite")],
  [
    "PostgreSQL",
    hasPostgres,
    async () => {
      const postgres = await startPostgres();
      return { open: () => openDatabase(postgres.url), stop: postgres.stop };
    },
  ],
];
for (const [name, there] of STORES) if (!there) console.warn(`skipped: ${name} is not on this machine`);

describe.each(STORES.filter(([, there]) => there))("%s", (_name, _there, start) => {
  let store: Store;
  let db: Database;
  beforeAll(async () => {
    store = await start();
    db = await store.open();
    await new Accounts({ db }).ensureLocal();
  });
  afterAll(async () => {
    await db.destroy();
    await store.stop();
  });

  const newSession = async (name = "a session"): Promise<string> => {
    const id = newId("sess");
    await db
      .insertInto("sessions")
      .values({
        id,
        account_id: "acct_local",
        name,
        status: "ready",
        metadata_json: "{}",
        request_json: "{}",
        routing_json: "{}",
        provider: "none",
        created_at: Date.now(),
        updated_at: Date.now(),
      } as never)
      .execute();
    return id;
  };
  const read = (id: string) =>
    db.selectFrom("sessions").selectAll().where("id", "=", id).executeTakeFirstOrThrow();

  test("gives back what it was given", async () => {
    const name = `emoji 😀, quote ' ", newline \n, ${"long ".repeat(200_000)}`;
    const id = await newSession(name);
    const big = 2 ** 53 - 1;
    await db
      .updateTable("sessions")
      .set({ created_at: big, provision_time_ms: 1.5, task: null })
      .where("id", "=", id)
      .execute();
    expect(await read(id)).toMatchObject({
      name,
      created_at: big,
      provision_time_ms: 1.5,
      task: null,
      exec_count: 0,
    });
    const row = await read(id);
    expect(Object.getPrototypeOf(row)).toBe(Object.prototype);
    expect(Object.keys(row)).not.toContain("_metadata");
  });

  test("counts are numbers", async () => {
    const { count } = await db
      .selectFrom("accounts")
      .select(({ fn }) => fn.countAll<number>().as("count"))
      .executeTakeFirstOrThrow();
    expect(count).toBe(1);
  });

  test("refuses what breaks a rule, and a transaction that fails leaves nothing", async () => {
    const id = await newSession();
    await expect(
      db.insertInto("accounts").values({ id: "acct_local", name: "", created_at: 0 }).execute(),
    ).rejects.toThrow();
    await expect(
      db.transaction().execute(async (tx) => {
        await tx.updateTable("sessions").set({ name: "changed" }).where("id", "=", id).execute();
        throw new Error("stop");
      }),
    ).rejects.toThrow("stop");
    expect((await read(id)).name).toBe("a session");
    await expect(
      db
        .insertInto("sessions")
        .values({ ...(await read(id)), id: "x", account_id: "acct_nobody" })
        .execute(),
    ).rejects.toThrow();
  });

  test("deleting a session takes its entries along", async () => {
    const id = await newSession();
    await new Transcripts({ db, news: new News() }).append({ id, account_id: "a" }, [
      { role: "user", kind: "text", content: "x" },
    ]);
    await db.deleteFrom("sessions").where("id", "=", id).execute();
    expect(
      await db.selectFrom("transcript_entries").selectAll().where("session_id", "=", id).execute(),
    ).toEqual([]);
  });

  test("numbers a transcript without gaps while many write, keys once each", async () => {
    const id = await newSession();
    const transcripts = new Transcripts({ db, news: new News() });
    await Promise.all(
      Array.from({ length: 30 }, (_, i) =>
        transcripts.append({ id, account_id: "a" }, [
          { role: "user", kind: "text", content: `${i}` },
          { role: "assistant", kind: "text", content: "same", idempotency_key: "once" },
        ]),
      ),
    );
    const entries = await transcripts.read(id, { full: "1" });
    expect(entries.map((entry) => entry.seq)).toEqual(Array.from({ length: 31 }, (_, i) => i));
    expect((await read(id)).entry_count).toBe(31);
  });

  test("keeps tokens as hashes, finds them, and forgets revoked ones", async () => {
    const tokens = new ApiTokens({ db });
    const { key } = await tokens.create("acct_local", { label: "t", scopes: ["run", "read"] });
    expect([...(await tokens.verify(key))!.scopes]).toEqual(["run", "read"]);
    const typo = key.slice(0, -1) + (key.endsWith("0") ? "1" : "0");
    expect(await tokens.verify(typo)).toBeUndefined();
    const rows = JSON.stringify(await db.selectFrom("api_tokens").selectAll().execute());
    expect(rows).not.toContain(key.slice(11));
    expect(await tokens.revoke("acct_other", key)).toBe(false);
    expect(await tokens.revoke("acct_local", key)).toBe(true);
    expect(await tokens.verify(key)).toBeUndefined();
  });

  test("opens again with everything there, and refuses a database from a newer version", async () => {
    const id = await newSession("kept");
    const again = await store.open();
    expect(await again.selectFrom("sessions").select("name").where("id", "=", id).executeTakeFirst()).toEqual(
      { name: "kept" },
    );
    await again
      .withTables<{ kysely_migration: { name: string; timestamp: string } }>()
      .insertInto("kysely_migration")
      .values({ name: "9999-new", timestamp: "" })
      .execute();
    await again.destroy();
    await expect(store.open()).rejects.toMatchObject({ message: expect.stringContaining("9999-new") });
  });
});

describe("a database file of an earlier version", () => {
  const fixtures = join(import.meta.dirname, "fixtures", "databases");

  test.each(["0.1.0.sql", "0.1.0-first-migration-only.sql"])(
    "%s is upgraded, and what was in it is there",
    async (name) => {
      const folder = await mkdtemp(join(tmpdir(), "cerver-old-"));
      const file = join(folder, "cerver.db");
      const old = await openSqlite(file);
      const { default: Libsql } = (await import("libsql")) as any;
      old.close();
      const raw = new Libsql(file);
      raw.exec(await readFile(join(fixtures, name), "utf8"));
      raw.close();
      const db = await openDatabase(file);
      expect(await db.selectFrom("accounts").select("id").execute()).toEqual([{ id: "acct_local" }]);
      const done = await db
        .withTables<{ kysely_migration: { name: string } }>()
        .selectFrom("kysely_migration")
        .select("name")
        .orderBy("name")
        .execute();
      expect(done.map((row) => row.name)).toEqual(Object.keys(MIGRATIONS));
      if (name === "0.1.0.sql") {
        const [session] = await db.selectFrom("sessions").selectAll().execute();
        expect(session).toMatchObject({ name: "from 0.1.0", entry_count: 2 });
        const entries = await new Transcripts({ db, news: new News() }).read(session!.id, {});
        expect(entries.map((entry) => entry.content)).toEqual(["it's old", "😀"]);
      }
      await db.destroy();
      await rm(folder, { recursive: true });
    },
  );

  test("there is one for every release", async () => {
    const { version } = JSON.parse(await readFile(join(import.meta.dirname, "../package.json"), "utf8"));
    expect(await readdir(fixtures)).toContain(`${version}.sql`);
  });
});
