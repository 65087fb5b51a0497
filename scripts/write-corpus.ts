// Writes a gateway's data folder with a large memory in it: sessions and entries whose words are spread as they are in
// what agents write (Zipf's law over 60,000 words, commands among them). The same seed writes the same texts.
//   npx tsx scripts/write-corpus.ts FOLDER [SESSIONS] [ENTRIES_PER_SESSION] [SEED]
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { Accounts } from "../src/gateway/account/accounts.js";
import { openDatabase } from "../src/gateway/store/database.js";
import { firstSearchId, tag } from "../src/gateway/store/entry-words.js";
import { formsOf } from "../src/gateway/store/words.js";

const [folder = "", sessions = 100_000, perSession = 50, seed = 1] = process.argv
  .slice(2)
  .map((given, index) => (index === 0 ? given : Number(given))) as [string, number, number, number];
if (folder === "")
  throw new Error("usage: npx tsx scripts/write-corpus.ts FOLDER [SESSIONS] [ENTRIES_PER_SESSION] [SEED]");

const ACCOUNT = "acct_local";
const START = Date.UTC(2024, 0, 1);
const SPAN_MS = 2 * 365 * 86_400_000;
const PER_TRANSACTION = 1_000;

/** Mulberry32: small, fast, and the same everywhere. */
function random(from: number): () => number {
  let state = from >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
const next = random(seed);
const pick = <T>(from: readonly T[]): T => from[Math.floor(next() * from.length)]!;

/** The most frequent words first, as they are in this trade; the rest is made of syllables. */
const COMMON =
  "the to a and of in is it that for this with on not file test error run code function be as from when use add we fix if you should return value type line path call build check change set all so are can one new now was has by at an or which into out up".split(
    " ",
  );
const SYLLABLES =
  "ba be bi co da de di fo ga ge ha in jo ka ke la le li ma mi na ne no or pa pe po ra re ri ro sa se si so ta te ti to ul un va ve vi wo xa ya zo".split(
    " ",
  );
const WORDS = [...COMMON];
for (let index = WORDS.length; index < 60_000; index++) {
  let word = "";
  for (let rest = index; rest > 0; rest = Math.floor(rest / SYLLABLES.length))
    word += SYLLABLES[rest % SYLLABLES.length];
  WORDS.push(word);
}
/** Zipf: the word of rank r is there 1/r as often as the first. */
const zipf = () => WORDS[Math.floor(WORDS.length ** next()) - 1]!;
const COMMANDS = [
  "npm test",
  "npx vitest run",
  "git status --short",
  "git diff",
  "cargo build",
  "pytest -q",
  "ls -la src",
  "npx tsc --noEmit",
];

function text(): string {
  // Most entries are short, some are long: median 24 words, mean about 40.
  const length = Math.min(
    2_000,
    Math.ceil(24 * Math.exp(next() + next() + next() + next() - 2 + (next() - 0.5) * 2)),
  );
  let words = zipf();
  for (let i = 1; i < length; i++) words += ` ${zipf()}`;
  return words;
}

await mkdir(folder, { recursive: true, mode: 0o700 });
const file = join(folder, "cerver.db");
const made = await openDatabase(file, { driver: "libsql" });
await new Accounts({ db: made }).ensureLocal();
await made.destroy();

const { default: Libsql } = (await import("libsql")) as any;
const db = new Libsql(file);
for (const pragma of ["synchronous = OFF", "cache_size = -500000", "foreign_keys = OFF"])
  db.exec(`PRAGMA ${pragma}`);
// Larger pieces of the index are written at once; the gateway's own size comes back below.
db.exec("insert into entry_words(entry_words, rank) values('hashsize', 268435456)");
const addSession = db.prepare(
  `insert into sessions (id, account_id, name, status, metadata_json, labels_json, request_json, routing_json, provider, entry_count, created_at, updated_at)
   values (?, '${ACCOUNT}', ?, 'ended', ?, ?, '{}', '{"recommended_provider":null,"confidence":"high","primary_reason":"The session keeps a transcript only, as asked for","secondary_reasons":[],"fallback_order":[],"canary_run":false}', 'none', ?, ?, ?)`,
);
const addTag = db.prepare(
  `insert into session_tags (session_id, account_id, name, value) values (?, '${ACCOUNT}', ?, ?)`,
);
const addEntry = db.prepare(
  "insert into transcript_entries (session_id, seq, role, kind, content, at, tool_id, tool_name, tool_input_json, source, search_id) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
);
const addWords = db.prepare("insert into entry_words (rowid, words) values (?, ?)");
const tags = new Map<string, string>();
const known = (kind: Parameters<typeof tag>[0], value: string) => {
  const key = kind + value;
  if (!tags.has(key)) tags.set(key, tag(kind, value));
  return tags.get(key)!;
};

const started = performance.now();
let lastId = 0;
for (let index = 0; index < sessions; index++) {
  if (index % PER_TRANSACTION === 0) db.exec("begin");
  const id = `sess_${String(index).padStart(32, "0")}`;
  const begun = START + Math.floor((SPAN_MS * index) / sessions);
  const working_dir = `/work/project-${Math.floor(next() * 500)}`;
  const team = `team-${Math.floor(next() * 50)}`;
  addSession.run(
    id,
    `${zipf()} ${zipf()} ${zipf()}`,
    JSON.stringify({ working_dir }),
    JSON.stringify({ team }),
    perSession,
    begun,
    begun,
  );
  addTag.run(id, "metadata:working_dir", working_dir);
  addTag.run(id, "label:team", team);
  const sessionTag = tag("session_id", id);
  for (let seq = 0; seq < perSession; seq++) {
    const turn = seq % 5;
    const [role, kind, source] = (
      [
        ["user", "text", "user"],
        ["assistant", "text", "model"],
        ["assistant", "tool_use", "model"],
        ["tool", "tool_result", "external"],
        ["assistant", "text", "model"],
      ] as const
    )[turn]!;
    const command = turn === 2 ? `${pick(COMMANDS)} ${zipf()}` : null;
    const content = turn === 2 ? "" : text();
    const at = begun + seq * 100;
    lastId = Math.max(lastId + 1, firstSearchId(at));
    addEntry.run(
      id,
      seq,
      role,
      kind,
      content,
      at,
      null,
      command && "Bash",
      command && JSON.stringify({ command }),
      source,
      lastId,
    );
    const forms = formsOf(command ? `Bash ${command}` : content).join(" ");
    addWords.run(
      lastId,
      `${known("account", ACCOUNT)} ${sessionTag} ${known("role", role)} ${known("kind", kind)} ${known("source", source)}${command ? ` ${known("tool_name", "Bash")}` : ""} ${forms}`,
    );
  }
  if (index % PER_TRANSACTION === PER_TRANSACTION - 1 || index === sessions - 1) db.exec("commit");
  if (index % 10_000 === 9_999)
    process.stderr.write(`${index + 1} sessions, ${Math.round((performance.now() - started) / 1000)} s\n`);
}
db.exec("insert into entry_words(entry_words, rank) values('hashsize', 1048576)");
db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
db.close();
process.stderr.write(
  `${sessions * perSession} entries in ${Math.round((performance.now() - started) / 1000)} s: ${file}\n`,
);
