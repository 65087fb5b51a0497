import type { GatewayClient } from "./gateway-client.js";
import type { SessionRecord, TranscriptEntry } from "./wire.js";

export type TranscriptFormat = "text" | "markdown" | "jsonl";

/** How many entries are fetched at a time. */
const PAGE = 500;

/** Every entry of a session, oldest first, a page at a time. */
export async function* allEntries(
  client: Pick<GatewayClient, "session">,
  sessionId: string,
  from = 0,
): AsyncGenerator<TranscriptEntry> {
  for (let since = from; ; ) {
    const { transcript, transcriptTotal } = await client.session(sessionId, { since, limit: PAGE });
    yield* transcript;
    since += transcript.length;
    if (transcript.length === 0 || since >= (transcriptTotal ?? 0)) return;
  }
}

/** What an export begins with; empty for JSONL, where every line is an entry. */
export function formatHead(session: SessionRecord, format: TranscriptFormat): string {
  if (format === "jsonl") return "";
  const about = `${session.sessionId} · ${session.status} · ${session.transcriptTotal ?? 0} entries · since ${session.createdAt}`;
  return format === "markdown"
    ? `# ${oneLine(session.sessionName)}\n\n${about}\n`
    : `${oneLine(session.sessionName)}\n${about}\n`;
}

export function formatEntry(entry: TranscriptEntry, format: TranscriptFormat): string {
  if (format === "jsonl") return JSON.stringify(entry);
  if (format === "text") return `${transcriptText(entry)}\n`;
  return `## ${heading(entry)}\n\n${fenced(entry)}\n`;
}

/** An entry for a reader: who, what, when, then the text. */
export function transcriptText(entry: TranscriptEntry): string {
  return `--- ${heading(entry)}\n${entryText(entry)}`;
}

function heading({ seq, role, kind, tool_name, at }: TranscriptEntry): string {
  const what = kind === "text" ? role : `${role} ${kind}${tool_name ? ` (${oneLine(tool_name)})` : ""}`;
  return [seq === undefined ? "" : `${seq}`, what, at ?? ""].filter(Boolean).join(" · ");
}

/** What an entry says: its content, or for a tool call also what the tool was given. */
export function entryText({ kind, content, tool_input }: TranscriptEntry): string {
  if (kind !== "tool_use" || tool_input === undefined) return content;
  const code = (tool_input as { code?: unknown } | null | undefined)?.code;
  return [content, typeof code === "string" ? code : JSON.stringify(tool_input)].filter(Boolean).join("\n");
}

/** A fence that is longer than any in the text, so that nothing in it can end it (CommonMark, section 4.5). */
function fenced(entry: TranscriptEntry): string {
  const text = entryText(entry);
  if (entry.kind === "text") return text;
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([ticks]) => ticks.length));
  const fence = "`".repeat(longest + 1);
  return `${fence}\n${text}\n${fence}`;
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, " ");
}
