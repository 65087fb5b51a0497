import {
  asText,
  type Facts,
  isObject,
  items,
  type Json,
  object,
  type Parsed,
  rawLine,
  type SourceEntry,
  skipped,
  text,
  time,
} from "./format.js";

/** Bookkeeping of the tool: nothing that was said. */
const BOOKKEEPING = new Set(["file-history-snapshot", "queue-operation", "progress", "last-prompt"]);
/** Text that the tool writes into the user's turn by itself. */
const NOT_A_PROMPT = /^<(?:command-|local-command|system-reminder|bash-)|^Caveat: /;

/** One line of `~/.claude/projects/<folder>/<session>.jsonl`. `lineKey` stands for a line that has no id of its own. */
export function parseClaudeCode(line: string, lineKey: string): Parsed {
  const record = object(line);
  if (!record) return rawLine(line, lineKey);
  const facts = factsOf(record);
  const agentId = text(record.agentId) ?? (record.isSidechain === true ? "sidechain" : undefined);
  const type = text(record.type) ?? "";
  if (BOOKKEEPING.has(type)) return { ...skipped(facts), agentId };
  if (type === "summary" || type === "custom-title" || type === "ai-title") {
    const title = text(record.summary) ?? text(record.customTitle) ?? text(record.aiTitle);
    if (title === undefined) return rawLine(line, lineKey, facts);
    const entry: SourceEntry = {
      key: lineKey,
      role: "system",
      kind: "summary",
      content: title,
      source: "model",
    };
    return { entries: [entry], facts: { ...facts, title }, outcome: "entries" };
  }
  const key = text(record.uuid) ?? lineKey;
  const at = time(record.timestamp);
  const entries =
    type === "system"
      ? systemEntries(record)
      : type === "user" || type === "assistant"
        ? messageEntries(type, record)
        : undefined;
  if (!entries) return { ...rawLine(line, key, facts), agentId };
  if (entries.length === 0) return { ...skipped(facts), agentId };
  const first = entries[0]!;
  const prompt =
    type === "user" && first.kind === "text" && record.isMeta !== true && !NOT_A_PROMPT.test(first.content)
      ? first.content
      : undefined;
  return {
    entries: entries.map((entry, index) => ({ ...entry, key: `${key}:${index}`, ...(at && { at }) })),
    facts: { ...facts, ...(prompt && { prompt }) },
    agentId,
    outcome: "entries",
  };
}

function factsOf(record: Json): Facts {
  const message = isObject(record.message) ? record.message : {};
  const model = text(message.model);
  return {
    sessionId: text(record.sessionId),
    agentId: text(record.agentId),
    workingDir: text(record.cwd),
    branch: text(record.gitBranch),
    version: text(record.version),
    model: model === "<synthetic>" ? undefined : model,
    startedAt: time(record.timestamp),
  };
}

type Unkeyed = Omit<SourceEntry, "key">;

function systemEntries(record: Json): Unkeyed[] | undefined {
  const content = text(record.content);
  if (content !== undefined) return [{ role: "system", kind: "text", content, source: "external" }];
  // Times of turns and the like have a subtype and no words.
  return text(record.subtype) === undefined ? undefined : [];
}

function messageEntries(role: "user" | "assistant", record: Json): Unkeyed[] | undefined {
  if (!isObject(record.message)) return undefined;
  const { content } = record.message;
  // The tool itself writes summaries and context into the user's turn.
  const source =
    role === "assistant" || record.isCompactSummary === true || record.isSidechain === true
      ? "model"
      : record.isMeta === true
        ? "external"
        : "user";
  if (typeof content === "string") return content === "" ? [] : [{ role, kind: "text", content, source }];
  if (!Array.isArray(content)) return undefined;
  return items(content)
    .map((block) => blockEntry(role, source, block))
    .filter((entry) => entry !== null);
}

/** Null when the block says nothing, as thinking that is sealed does. */
function blockEntry(
  role: "user" | "assistant",
  source: "user" | "model" | "external",
  block: unknown,
): Unkeyed | null {
  if (isObject(block)) {
    if (block.type === "text" && typeof block.text === "string")
      return block.text === "" ? null : { role, kind: "text", content: block.text, source };
    if (block.type === "thinking" && typeof block.thinking === "string")
      return block.thinking === ""
        ? null
        : { role, kind: "thinking", content: block.thinking, source: "model" };
    if (block.type === "redacted_thinking") return null;
    if (block.type === "tool_use" && text(block.name) !== undefined)
      return {
        role: "assistant",
        kind: "tool_use",
        content: "",
        tool_id: text(block.id),
        tool_name: text(block.name),
        tool_input: block.input,
        source: "model",
      };
    if (block.type === "tool_result") {
      return {
        role: "tool",
        kind: "tool_result",
        content: asText(block.content) || "(no output)",
        tool_id: text(block.tool_use_id),
        ...(block.is_error === true && { is_error: true }),
        source: "external",
      };
    }
    if (block.type === "image" || block.type === "document")
      return { role, kind: text(block.type)!, content: `(${block.type}, not kept)`, source };
  }
  return { role, kind: "raw", content: JSON.stringify(block).slice(0, 16_384), source: "external" };
}
