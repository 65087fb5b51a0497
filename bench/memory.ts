// Measures search, peek and list over HTTP on a large database file, beside a query written by hand on the same file.
//   npx tsx scripts/write-corpus.ts FOLDER && npm run bench:memory -- FOLDER
import { join } from "node:path";
import { GatewayClient } from "../src/client/gateway-client.js";
import { gatewayConfig } from "../src/gateway/config.js";
import { startGateway } from "../src/gateway/start.js";
import { silentLogger } from "../src/util/logger.js";

const [folder = "", rounds = "20"] = process.argv.slice(2);
if (folder === "") throw new Error("usage: npm run bench:memory -- FOLDER [ROUNDS]");

const gateway = await startGateway(gatewayConfig({ port: 0, dataDir: folder }, { HOME: folder }), {
  logger: silentLogger,
});
try {
  const token = await gateway.createToken({ label: "bench", scopes: ["read"] });
  const client = new GatewayClient({ gatewayUrl: gateway.url, token });
  const { default: Libsql } = (await import("libsql")) as any;
  const db = new Libsql(join(folder, "cerver.db"));
  const [{ sessions }] = db.prepare("select count(*) as sessions from sessions").all();
  const [{ entries }] = db.prepare("select sum(entry_count) as entries from sessions").all();
  console.log(`${sessions} sessions, ${entries} entries; ${rounds} rounds of each\n`);

  const byHand = db.prepare(
    `select e.session_id, e.seq, e.content, s.name from entry_words
     join transcript_entries e on e.search_id = entry_words.rowid join sessions s on s.id = e.session_id
     where entry_words match ? and s.account_id = 'acct_local' order by entry_words.rowid desc limit 10`,
  );
  const lastEntries = db.prepare(
    "select * from transcript_entries where session_id = ? order by seq desc limit 10",
  );
  const newest = db.prepare(
    "select * from sessions where account_id = 'acct_local' order by created_at desc, id desc limit 20",
  );
  const ids = db
    .prepare("select id from sessions order by id limit 1000 offset 1000")
    .all()
    .map(({ id }: { id: string }) => id);

  /** From what is in most entries to what is in few. */
  const QUERIES: Record<string, string> = {
    "a word of most entries": "the",
    "a common word": "error",
    "two common words": "test error",
    "a command": "vitest run",
    "a phrase": '"run code"',
    "a rare word": "bababe",
    "rare and common": "cogeba the",
    "a common word, less another": "error -the",
    "a beginning of a word": "kela*",
  };
  const rows: [string, number[], number[]][] = [];
  for (const [what, q] of Object.entries(QUERIES)) {
    const match = q
      .replace("error -the", "error NOT the")
      .replace("cogeba the", "cogeba AND the")
      .replace("test error", "test AND error");
    rows.push(
      await compare(
        `search: ${what}`,
        () => client.search({ q }),
        () => byHand.all(match),
      ),
    );
  }
  rows.push(
    await compare(
      "search: with a label",
      () => client.search({ q: "error", labels: { team: "team-7" } }),
      () => byHand.all("error"),
    ),
  );
  let turn = 0;
  rows.push(
    await compare(
      "peek: the last 10 entries",
      () => client.session(ids[turn++ % ids.length], { tail: 10 }),
      () => lastEntries.all(ids[turn++ % ids.length]),
    ),
  );
  rows.push(
    await compare(
      "list: the newest 20",
      () => client.sessions(),
      () => newest.all(),
    ),
  );
  rows.push(
    await compare(
      "digest",
      () => client.digest(ids[turn++ % ids.length]),
      () => lastEntries.all(ids[turn++ % ids.length]),
    ),
  );
  const width = Math.max(...rows.map(([what]) => what.length));
  console.log(`${"".padEnd(width)}  p50 ms  p95 ms  by hand  ratio`);
  for (const [what, mine, hand] of rows) {
    const cells = [at(mine, 0.5), at(mine, 0.95), at(hand, 0.5), at(mine, 0.5) / at(hand, 0.5)];
    console.log(`${what.padEnd(width)}  ${cells.map((cell) => cell.toFixed(2).padStart(6)).join("  ")}`);
  }
  const searches = rows.filter(([what]) => what.startsWith("search")).flatMap(([, mine]) => mine);
  console.log(
    `\nall searches: p50 ${at(searches, 0.5).toFixed(2)} ms, p95 ${at(searches, 0.95).toFixed(2)} ms`,
  );
  db.close();
} finally {
  await gateway.stop();
}

/** Both in turns, so that whatever else the machine does weighs on both. */
async function compare(
  what: string,
  ours: () => Promise<unknown>,
  byHand: () => unknown,
): Promise<[string, number[], number[]]> {
  const mine: number[] = [];
  const hand: number[] = [];
  for (let round = -3; round < Number(rounds); round++) {
    const start = performance.now();
    await ours();
    const middle = performance.now();
    byHand();
    const end = performance.now();
    if (round < 0) continue;
    mine.push(middle - start);
    hand.push(end - middle);
  }
  return [what, mine, hand];
}

function at(times: readonly number[], share: number): number {
  return [...times].sort((a, b) => a - b)[Math.min(times.length - 1, Math.floor(times.length * share))]!;
}
