// Writes test/fixtures/databases/VERSION.sql: a database of this version with something in it, as SQL. Run it at each
// release; the upgrade test opens every one of them with the code of today.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Accounts } from "../src/gateway/account/accounts.js";
import { ApiTokens } from "../src/gateway/account/api-tokens.js";
import { News } from "../src/gateway/session/news.js";
import { Transcripts } from "../src/gateway/session/transcripts.js";
import { openDatabase } from "../src/gateway/store/database.js";
import { newId } from "../src/protocol/ids.js";

const root = join(import.meta.dirname, "..");
const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
const folder = await mkdtemp(join(tmpdir(), "cerver-fixture-"));
const file = join(folder, "cerver.db");

const db = await openDatabase(file);
await new Accounts({ db }).ensureLocal();
await new ApiTokens({ db }).create("acct_local", { label: "fixture", scopes: ["admin"] });
const id = newId("sess");
const now = Date.now();
await db
  .insertInto("sessions")
  .values({
    id,
    account_id: "acct_local",
    name: `from ${version}`,
    status: "ready",
    metadata_json: "{}",
    request_json: "{}",
    routing_json: "{}",
    provider: "none",
    created_at: now,
    updated_at: now,
  } as never)
  .execute();
await new Transcripts({ db, news: new News() }).append({ id, account_id: "acct_local" }, [
  { role: "user", kind: "text", content: "it's old" },
  { role: "assistant", kind: "text", content: "😀" },
]);
await db.destroy();

const target = join(root, "test/fixtures/databases", `${version}.sql`);
await writeFile(target, await dump(file));
await rm(folder, { recursive: true });
process.stderr.write(`wrote ${target}\n`);

async function dump(path: string): Promise<string> {
  const { default: Libsql } = (await import("libsql")) as any;
  const raw = new Libsql(path);
  const objects = raw
    .prepare("select name, type, sql from sqlite_master where sql is not null order by rowid")
    .all();
  const lines = objects.map((object: { sql: string }) => `${object.sql};`);
  for (const { name, type } of objects) {
    if (type !== "table") continue;
    for (const { _metadata, ...row } of raw.prepare(`select * from "${name}"`).all()) {
      const columns = Object.keys(row).map((column) => `"${column}"`);
      lines.push(
        `insert into "${name}" (${columns.join(", ")}) values (${Object.values(row).map(literal).join(", ")});`,
      );
    }
  }
  raw.close();
  return `${lines.join("\n")}\n`;
}

function literal(value: unknown): string {
  if (value === null) return "null";
  return typeof value === "number" ? String(value) : `'${String(value).replaceAll("'", "''")}'`;
}
