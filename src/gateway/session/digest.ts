import { sql } from "kysely";
import type { DigestCommand, SessionDigest } from "../../protocol/digest.js";
import type { Database } from "../store/schema.js";
import { claimsIn, type Deed, Evidence } from "./claims.js";
import type { Session } from "./session-record.js";

/** So many of the newest entries are looked at, and so much of each at either end, in characters. */
const MAX_ENTRIES = 2_000;
const MAX_TEXT = 4_000;
/** The most of each list, newest first, before `max_tokens` is looked at. */
const MAX_ITEMS = 40;
const MAX_QUESTIONS = 5;
const BYTES_PER_TOKEN = 4;

type Entry = Awaited<ReturnType<typeof newestEntries>>[number];
type Run = Awaited<ReturnType<typeof runsOf>>[number];
type Command = DigestCommand & { seq: number; whole: string; succeeded: boolean | undefined; said: string };

/** What a session is about and where it stands, read from its record; the same record gives the same digest. */
export async function digest(
  db: Database,
  session: Session,
  status: string,
  maxTokens: number,
): Promise<SessionDigest> {
  const entries = await newestEntries(db, session.id);
  const goal = (await firstRequest(db, session.id)) ?? session.task;
  const runs = new Map((await runsOf(db, session.id, entries)).map((run) => [run.id, run]));
  const commands = commandsOf(entries, runs);
  const files = changesOf(entries, commands);
  const deeds: Deed[] = [
    ...commands.map(({ seq, whole, succeeded }) => ({ seq, command: whole, succeeded })),
    ...files.map(({ seq, path }) => ({ seq, changed: path })),
  ].sort((a, b) => a.seq - b.seq);
  const evidence = new Evidence(deeds);
  const asked = entries.findLast(isRequest);
  const answered = entries.findLast(isAnswer);
  const full: SessionDigest = {
    session_id: session.id,
    session_name: session.name,
    status,
    total: session.entry_count,
    from_seq: entries[0]?.seq ?? 0,
    goal: goal === null ? null : brief(goal, 400),
    last_request: asked && asked.content !== goal ? brief(asked.content, 300) : null,
    last_state: answered ? brief(answered.content, 500) : null,
    unbacked_claims: entries
      .filter(isAnswer)
      .flatMap(({ content, seq }) =>
        claimsIn(content).flatMap(({ kind, text }) => {
          const why = evidence.whyUnbacked({ kind, seq });
          return why ? [{ kind, text, seq, why }] : [];
        }),
      )
      .slice(-MAX_ITEMS),
    failures: commands
      .filter(({ succeeded }) => succeeded === false)
      .map((command) => ({ ...shown(command), last_line: lastLine(command.said) }))
      .slice(-MAX_ITEMS),
    open_questions: questionsAfter(entries, asked?.seq ?? -1).slice(-MAX_QUESTIONS),
    commands: commands.map(shown).slice(-MAX_ITEMS),
    files: newestOfEach(files.map(({ path }) => path)).slice(-MAX_ITEMS),
    left_out: 0,
  };
  return fitting(full, maxTokens * BYTES_PER_TOKEN);
}

async function newestEntries(db: Database, sessionId: string) {
  const rows = await db
    .selectFrom("transcript_entries")
    .select(({ fn, val, ref }) => [
      "seq",
      "role",
      "kind",
      "tool_id",
      "tool_name",
      "is_error",
      "run_id",
      fn<string>("substr", [ref("content"), val(1), val(MAX_TEXT)]).as("content"),
      fn<number>("length", [ref("content")]).as("length"),
      // Its end, without what is in its beginning.
      sql<string>`substr(content, case when length(content) > ${sql.lit(2 * MAX_TEXT)}
        then length(content) - ${sql.lit(MAX_TEXT - 1)} else ${sql.lit(MAX_TEXT + 1)} end)`.as("rest"),
      fn<string | null>("substr", [ref("tool_input_json"), val(1), val(2 * MAX_TEXT)]).as("tool_input_json"),
    ])
    .where("session_id", "=", sessionId)
    .orderBy("seq", "desc")
    .limit(MAX_ENTRIES)
    .execute();
  return rows.reverse().map(({ rest, length, ...row }) => ({
    ...row,
    content: `${row.content}${Number(length) > 2 * MAX_TEXT ? "\n…\n" : ""}${rest}`,
  }));
}

/** What the user asked for first. */
async function firstRequest(db: Database, sessionId: string): Promise<string | null> {
  const row = await db
    .selectFrom("transcript_entries")
    .select(({ fn, val, ref }) => fn<string>("substr", [ref("content"), val(1), val(MAX_TEXT)]).as("content"))
    .where("session_id", "=", sessionId)
    .where("role", "=", "user")
    .where("kind", "=", "text")
    .orderBy("seq")
    .limit(1)
    .executeTakeFirst();
  return row?.content ?? null;
}

/** The runs that entries name: how a run ended is told by cerver's record, not by what an entry says. */
async function runsOf(db: Database, sessionId: string, entries: readonly Pick<Entry, "run_id">[]) {
  const ids = [...new Set(entries.flatMap(({ run_id }) => run_id ?? []))];
  if (ids.length === 0) return [];
  return db
    .selectFrom("runs")
    .select(["id", "status", "exit_code", "request_json"])
    .where("session_id", "=", sessionId)
    .where("id", "in", ids)
    .execute();
}

/** Every command that was called, by cerver or by a tool of the agent's, with its end. */
function commandsOf(entries: readonly Entry[], runs: ReadonlyMap<string, Run>): Command[] {
  const results = new Map(
    entries
      .filter(({ kind, tool_id }) => kind === "tool_result" && tool_id)
      .map((entry) => [entry.tool_id!, entry]),
  );
  return entries.flatMap((entry): Command[] => {
    if (entry.kind !== "tool_use") return [];
    const run = entry.run_id === null ? undefined : runs.get(entry.run_id);
    const result = entry.tool_id === null ? undefined : results.get(entry.tool_id);
    const whole = commandIn(inputOf(run?.request_json ?? null)) ?? commandIn(inputOf(entry.tool_input_json));
    if (whole === undefined) return [];
    const succeeded = run ? succeededOf(run) : result && endOf(result);
    return [
      {
        command: brief(whole, 120),
        outcome: run ? outcomeOf(run) : succeeded === undefined ? "unknown" : succeeded ? "exit 0" : "failed",
        ...(run && { run_id: run.id }),
        seq: entry.seq,
        whole,
        succeeded,
        said: result?.content ?? "",
      },
    ];
  });
}

function shown({ command, outcome, run_id, seq }: Command): DigestCommand {
  return { command, outcome, seq, ...(run_id && { run_id }) };
}

function succeededOf({ status }: Run): boolean | undefined {
  if (status === "succeeded") return true;
  return ["queued", "running", "lost"].includes(status) ? undefined : false;
}

function outcomeOf({ status, exit_code }: Run): string {
  return exit_code === null || ["timed_out", "cancelled"].includes(status) ? status : `exit ${exit_code}`;
}

/** How a command of somebody else's ended, as its result tells it; no word of an error counts as none. */
function endOf({ is_error, content }: Entry): boolean | undefined {
  const code = /(?:^|\n)\[?(?:exit(?: code)?|process exited with code)[: ]+(-?\d+)/i.exec(content)?.[1];
  if (code !== undefined) return code === "0";
  return is_error !== 1;
}

function inputOf(json: string | null): Record<string, unknown> {
  if (json === null) return {};
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    // It was too long to be looked at whole: the short fields in its beginning are there.
    const fields = [...json.matchAll(/"(\w{1,32})":("(?:[^"\\]|\\.){0,4000}")/g)];
    return Object.fromEntries(
      fields.map(([, name, value]) => [name!, JSON.parse(value!) as unknown]).reverse(),
    );
  }
}

/** The fields in which tools are given a command. */
function commandIn({ command, cmd, code, script }: Record<string, unknown>): string | undefined {
  for (const value of [command, cmd, code, script]) {
    if (typeof value === "string" && value.trim() !== "") return value;
    if (Array.isArray(value) && value.every((part) => typeof part === "string")) return value.join(" ");
  }
  return undefined;
}

/** Tools that read, by their names. */
const READS = /read|view|open|cat|list|ls|glob|grep|search|find|fetch/i;

/** The files that tools and commands changed. */
function changesOf(entries: readonly Entry[], commands: readonly Command[]): { seq: number; path: string }[] {
  const byTool = entries.flatMap(({ kind, seq, tool_name, tool_input_json }) => {
    if (kind !== "tool_use" || READS.test(tool_name ?? "")) return [];
    const input = inputOf(tool_input_json);
    const named = [input.file_path, input.path, input.filename, input.notebook_path].filter(
      (path): path is string => typeof path === "string" && path !== "",
    );
    const patch = [input.patch, input.input, input.diff].find((text) => typeof text === "string") ?? "";
    const patched = [...String(patch).matchAll(/^(?:\*\*\* (?:Add|Update|Delete) File: |\+\+\+ b\/)(.+)$/gm)];
    return [...named, ...patched.map(([, path]) => path!.trim())].map((path) => ({
      seq,
      path: brief(path, 200),
    }));
  });
  const byCommand = commands.flatMap(({ whole, seq }) => filesIn(whole).map((path) => ({ seq, path })));
  return [...byTool, ...byCommand].sort((a, b) => a.seq - b.seq);
}

/** What a command plainly writes to. */
function filesIn(command: string): string[] {
  const path = "([\\w@%+~][\\w@%+~./-]*|/[\\w@%+~./-]+|\\./[\\w@%+~./-]+)";
  const found = [
    ...command.matchAll(new RegExp(`(?<![0-9&>])>>?\\s*${path}`, "g")),
    ...command.matchAll(new RegExp(`\\b(?:touch|tee(?: -a)?|rm(?: -\\w+)?)\\s+${path}`, "g")),
    ...command.matchAll(new RegExp(`\\bsed\\s+-i\\S*\\s+(?:'[^']*'|"[^"]*"|\\S+)\\s+${path}`, "g")),
    ...command.matchAll(new RegExp(`\\b(?:mv|cp)\\s+(?:-\\w+\\s+)?\\S+\\s+${path}`, "g")),
  ];
  return found.map(([, path]) => path!).filter((path) => !/^\/dev\/|^\/tmp\//.test(path));
}

function isRequest({ role, kind }: Entry): boolean {
  return role === "user" && kind === "text";
}
function isAnswer({ role, kind }: Entry): boolean {
  return role === "assistant" && kind === "text";
}

/** What the model asked since the user last said something. */
function questionsAfter(entries: readonly Entry[], seq: number): { text: string; seq: number }[] {
  return entries
    .filter((entry) => isAnswer(entry) && entry.seq > seq)
    .flatMap((entry) =>
      entry.content
        .replace(/```[\s\S]*?(?:```|$)/g, "\n")
        .split(/(?<=[.!?])\s+|\n+/)
        .filter((sentence) => sentence.trimEnd().endsWith("?") && /\p{L}{2}/u.test(sentence))
        .map((text) => ({ text: brief(text.replace(/^[\s*#>-]+/, ""), 200), seq: entry.seq })),
    );
}

function newestOfEach(texts: readonly string[]): string[] {
  return [...new Set([...texts].reverse())].reverse();
}

function lastLine(output: string): string {
  // The very last is how the run ended, which the outcome says.
  const lines = output
    .split("\n")
    .filter((line) => line.trim() !== "" && !/^\[(?:exit|timed out|cancelled)/.test(line));
  return brief(lines.at(-1) ?? "", 160);
}

/** A text on one line, cut at its end. */
function brief(text: string, max: number): string {
  const line = text
    .slice(0, 4 * max)
    .replace(/\s+/g, " ")
    .trim();
  if (line.length <= max && text.length <= 4 * max) return line;
  return `${line.slice(0, max - 1).replace(/[\ud800-\udbff]$/, "")}…`;
}

/** What is left out first, and how many of each list stay as long as there is anything else to leave out. */
const ORDER = [
  ["files", 10],
  ["commands", 5],
  ["failures", 3],
  ["open_questions", 1],
  ["unbacked_claims", 3],
  ["files", 0],
  ["commands", 0],
  ["failures", 0],
  ["open_questions", 0],
  ["unbacked_claims", 0],
] as const;

/** Leaves out the oldest of what matters least until the JSON has no more than so many bytes; its text has fewer. */
function fitting(full: SessionDigest, maxBytes: number): SessionDigest {
  const kept = { ...full };
  const size = () => Buffer.byteLength(JSON.stringify(kept));
  for (const [list, least] of ORDER) {
    while (size() > maxBytes && kept[list].length > least) {
      kept[list] = kept[list].slice(1) as never;
      kept.left_out++;
    }
  }
  for (const text of ["last_request", "last_state", "goal", "session_name"] as const) {
    for (let length = 200; size() > maxBytes && kept[text] !== null && length >= 25; length /= 2)
      kept[text] = brief(kept[text]!, Math.floor(length));
  }
  if (size() > maxBytes) kept.last_request = null;
  return kept;
}
