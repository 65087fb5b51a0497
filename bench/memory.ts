import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Bench } from "./bench.js";
import { BIN } from "./cerver.js";
import { Child } from "./child.js";
import { Client } from "./client.js";
import { environment } from "./environment.js";
import { newFolder } from "./folder.js";
import type { Line } from "./table.js";
import { inTurns, quantile, ratioOf } from "./turns.js";

const ROW = "memory";
const WRITER = join(import.meta.dirname, "../scripts/write-corpus.ts");
/** Of those that are written for the bench; one of 100,000 takes minutes and is given by --corpus. */
const SESSIONS = { short: 100, full: 2_000 };
const LABEL = "team-7";
/** Rounds that are not counted: a gateway compiles what it does often, and begins by reading its pages. */
const WARM_UP = 200;

/** From what is in most entries to what is in few: what a person asks, and the same for FTS5. */
const SEARCHES: Record<string, { q: string; match: string }> = {
  "a word of most entries": { q: "the", match: "the" },
  "a common word": { q: "error", match: "error" },
  "two common words": { q: "test error", match: "test AND error" },
  "a command": { q: "vitest run", match: "vitest AND run" },
  "a phrase": { q: '"run code"', match: '"run code"' },
  "a rare word": { q: "bababe", match: "bababe" },
  "a rare and a common word": { q: "cogeba the", match: "cogeba AND the" },
  "a common word, less another": { q: "error -the", match: "error NOT the" },
  "the beginning of a word": { q: "kela*", match: "kela*" },
};

interface Ask {
  what: string;
  path: () => string;
  byHand?: () => unknown;
  target?: string;
}
interface Sqlite {
  prepare(sql: string): { all(...values: unknown[]): Record<string, unknown>[] };
  close(): void;
}

/**
 * Search, peek and list over HTTP on a large database, in turns with a query written by hand on the same file, which
 * neither ranks nor makes snippets and goes through no HTTP.
 */
export async function memory(bench: Bench): Promise<Line[]> {
  const { runs, short } = bench.options;
  const rounds = short ? 5 : runs;
  const folder = bench.options.corpus ?? (await writtenCorpus(bench));
  const client = await gatewayOn(bench, folder);
  const db = openSqlite(join(folder, "cerver.db"));
  bench.endings.add(() => db.close());
  const [counts] = db.prepare("select count(*) as sessions, sum(entry_count) as entries from sessions").all();
  bench.note(
    `memory: ${counts!.sessions} sessions with ${counts!.entries} entries, ${rounds} of each request; the targets are for 5 million entries.`,
  );

  const lines: Line[] = [];
  const searches: number[] = [];
  for (const { what, path, byHand, target } of asks(db)) {
    const turns = [
      {
        name: "cerver",
        once: async () => void (await client.json({ method: "GET", path: path() })),
        every: 1,
      },
      { name: "hand", once: async () => void byHand?.(), every: 1 },
    ];
    const times = await inTurns(turns, rounds, short ? 3 : WARM_UP);
    const [cerver, hand] = [times.get("cerver")!, times.get("hand")!];
    if (what.startsWith("search")) searches.push(...cerver);
    lines.push({
      row: ROW,
      what: `${what}, p50`,
      unit: "ms",
      figures: { cerver: quantile(cerver, 0.5), ...(byHand && { hand: quantile(hand, 0.5) }) },
      ...(byHand && { ratio: ratioOf(cerver, hand) }),
      ...(target && { target }),
    });
  }
  const all = (share: number): Line => ({
    row: ROW,
    what: `all searches, p${share * 100}`,
    unit: "ms",
    figures: { cerver: quantile(searches, share) },
    ...(share === 0.5 && { target: "under 20" }),
  });
  return [...lines, all(0.5), all(0.95)];
}

function asks(db: Sqlite): Ask[] {
  const words = db.prepare(
    `select e.session_id, e.seq, e.content, s.name from entry_words
     join transcript_entries e on e.search_id = entry_words.rowid join sessions s on s.id = e.session_id
     where entry_words match ? and s.account_id = 'acct_local' order by entry_words.rowid desc limit 10`,
  );
  const labelledWords = db.prepare(
    `select e.session_id, e.seq, e.content from entry_words join transcript_entries e on e.search_id = entry_words.rowid
     join session_tags t on t.session_id = e.session_id and t.name = 'label:team' and t.value = '${LABEL}'
     where entry_words match ? order by entry_words.rowid desc limit 10`,
  );
  const newest = db.prepare(
    "select * from sessions where account_id = 'acct_local' order by created_at desc, id desc limit 20",
  );
  const labelled = db.prepare(
    `select s.* from sessions s where account_id = 'acct_local' and exists (select 1 from session_tags t
     where t.session_id = s.id and t.name = 'label:team' and t.value = '${LABEL}')
     order by created_at desc, id desc limit 20`,
  );
  const lastEntries = db.prepare(
    "select * from transcript_entries where session_id = ? order by seq desc limit 10",
  );
  const ids = db
    .prepare("select id from sessions where rowid % max(1, (select count(*) / 1000 from sessions)) = 0")
    .all()
    .map(({ id }) => id as string);
  // The two of a round ask for different sessions, so that neither warms the other's pages.
  let turn = 0;
  const nextId = () => ids[(turn++ * 7) % ids.length]!;
  return [
    { what: "an answer that looks into no database", path: () => "/health" },
    ...Object.entries(SEARCHES).map(([what, { q, match }]) => ({
      what: `search: ${what}`,
      path: () => `/v2/search?q=${encodeURIComponent(q)}`,
      byHand: () => words.all(match),
      target: "under 20",
    })),
    {
      what: "search: a common word, in the sessions of a label",
      path: () => `/v2/search?q=error&label=team%3D${LABEL}`,
      byHand: () => labelledWords.all("error"),
      target: "under 20",
    },
    {
      what: "peek: the last 10 entries",
      path: () => `/v2/sessions/${nextId()}?tail=10`,
      byHand: () => lastEntries.all(nextId()),
      target: "under 2",
    },
    {
      what: "list: the newest 20",
      path: () => "/v2/sessions",
      byHand: () => newest.all(),
      target: "under 5",
    },
    {
      what: "list: the newest 20 of a label",
      path: () => `/v2/sessions?label=team%3D${LABEL}`,
      byHand: () => labelled.all(),
      target: "under 5",
    },
    {
      what: "digest",
      path: () => `/v2/sessions/${nextId()}/digest`,
      byHand: () => lastEntries.all(nextId()),
    },
  ];
}

async function writtenCorpus(bench: Bench): Promise<string> {
  const folder = newFolder(bench.endings, "corpus");
  const sessions = String(bench.options.short ? SESSIONS.short : SESSIONS.full);
  await promisify(execFile)(process.execPath, ["--import", "tsx", WRITER, folder, sessions], {
    env: environment(),
    cwd: join(import.meta.dirname, ".."),
  });
  return folder;
}

/** A gateway of the built program on that folder, and a client that may use it. */
async function gatewayOn(bench: Bench, folder: string): Promise<Client> {
  const env = environment(newFolder(bench.endings, "home"));
  const args = [BIN, "gateway", "--port", "0", "--data-dir", folder];
  const gateway = new Child(bench.endings, process.execPath, args, { env });
  const url = (await gateway.prints(/Gateway\s+(http:\S+)/))[1]!;
  await gateway.prints(/Attach /);
  const { api_token: token } = JSON.parse(readFileSync(join(folder, "local.json"), "utf8")) as {
    api_token: string;
  };
  const client = new Client({ url, token });
  bench.endings.add(() => client.close());
  return client;
}

/** Loaded when it is used: the package has a native part, which is in no bundle. */
function openSqlite(file: string): Sqlite {
  const Libsql = createRequire(import.meta.url)("libsql") as new (path: string) => Sqlite;
  return new Libsql(file);
}
