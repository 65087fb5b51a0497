import {
  asText,
  hashOf,
  isObject,
  items,
  type Json,
  object,
  type Parsed,
  rawLine,
  type SourceEntry,
  text,
  time,
} from "./format.js";

/** A tool call that has one of these has its last result. */
const SETTLED = new Set(["success", "error", "cancelled"]);

/**
 * A whole `~/.gemini/tmp/<hash>/chats/session-*.json`, which is written anew at each turn. Each message is parsed on its
 * own; undefined when this is no such file, as it is while it is being written.
 */
export function parseGemini(file: string): Parsed[] | undefined {
  const record = object(file);
  if (!record || !Array.isArray(record.messages) || text(record.sessionId) === undefined) return undefined;
  const facts = {
    sessionId: text(record.sessionId),
    startedAt: time(record.startTime),
    title: text(record.summary),
  };
  return items(record.messages).map((message) => {
    const parsed = messageOf(message);
    return { ...parsed, facts: { ...facts, ...parsed.facts } };
  });
}

function messageOf(message: unknown): Parsed {
  const raw = JSON.stringify(message);
  if (!isObject(message)) return rawLine(raw, hashOf(raw));
  const id = text(message.id) ?? hashOf(raw);
  const at = time(message.timestamp);
  const stamped = (entry: SourceEntry): SourceEntry => ({ ...entry, ...(at && { at }) });
  const content = asText(message.content);
  // A message that was changed after it was read is another one: nothing of it gets lost.
  const key = `${id}:${hashOf(content)}`;
  if (message.type === "user") {
    const entries =
      content === "" ? [] : [stamped({ key, role: "user", kind: "text", content, source: "user" })];
    return {
      entries,
      facts: content === "" ? {} : { prompt: content },
      outcome: entries.length ? "entries" : "skipped",
    };
  }
  if (message.type === "info" || message.type === "error" || message.type === "warning") {
    const isError = message.type === "error" && { is_error: true };
    const entry = stamped({
      key,
      role: "system",
      kind: message.type,
      content,
      source: "external",
      ...isError,
    });
    return {
      entries: content === "" ? [] : [entry],
      facts: {},
      outcome: content === "" ? "skipped" : "entries",
    };
  }
  if (message.type !== "gemini") return rawLine(raw, `${id}:${hashOf(raw)}`);
  const entries = [
    ...items(message.thoughts).map((thought, index) => thoughtOf(thought, `${id}:thought:${index}`)),
    ...(content === "" ? [] : [{ key, role: "assistant", kind: "text", content, source: "model" } as const]),
    ...items(message.toolCalls).flatMap((call, index) => callOf(call, id, index)),
  ].map(stamped);
  return {
    entries,
    facts: { model: text(message.model) },
    outcome: entries.length > 0 ? "entries" : "skipped",
  };
}

function thoughtOf(thought: unknown, key: string): SourceEntry {
  const { subject, description } = isObject(thought) ? thought : ({} as Json);
  const words = [text(subject), text(description)].filter((one) => one !== undefined);
  const content = words.length > 0 ? words.join(": ") : JSON.stringify(thought);
  return { key: `${key}:${hashOf(content)}`, role: "assistant", kind: "thinking", content, source: "model" };
}

function callOf(call: unknown, id: string, index: number): SourceEntry[] {
  if (!isObject(call)) {
    const raw = JSON.stringify(call);
    return [
      {
        key: `${id}:call:${index}:${hashOf(raw)}`,
        role: "system",
        kind: "raw",
        content: raw.slice(0, 16_384),
        source: "external",
      },
    ];
  }
  const callId = text(call.id) ?? String(index);
  const use: SourceEntry = {
    key: `${id}:call:${callId}`,
    role: "assistant",
    kind: "tool_use",
    content: "",
    tool_id: callId,
    tool_name: text(call.name) ?? "unknown",
    tool_input: call.args,
    source: "model",
  };
  if (!SETTLED.has(text(call.status) ?? "")) return [use];
  const result: SourceEntry = {
    key: `${id}:result:${callId}`,
    role: "tool",
    kind: "tool_result",
    content: resultText(call) || "(no output)",
    tool_id: callId,
    ...(call.status !== "success" && { is_error: true }),
    source: "external",
  };
  return [use, result];
}

/** What the model was given: the output of each `functionResponse`, else what the person was shown. */
function resultText(call: Json): string {
  const outputs = items(call.result).flatMap((part) => {
    const response =
      isObject(part) && isObject(part.functionResponse) ? part.functionResponse.response : undefined;
    return isObject(response) ? [asText(response.output ?? response.error ?? response)] : [];
  });
  return outputs.length > 0 ? outputs.join("\n") : asText(call.result ?? call.resultDisplay);
}
