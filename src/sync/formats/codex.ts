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

/** Events that only repeat what a response item says, or count. */
const REPEATED_EVENTS = new Set([
  "user_message",
  "agent_message",
  "agent_reasoning",
  "agent_reasoning_raw_content",
  "token_count",
  "task_started",
  "task_complete",
  "turn_started",
  "turn_complete",
  "exec_command_begin",
  "exec_command_end",
  "entered_review_mode",
  "exited_review_mode",
]);
/** What the tool writes into the user's turn by itself. */
const NOT_A_PROMPT =
  /^\s*<(?:environment_context|user_instructions|turn_aborted|skill|permissions)|^# AGENTS\.md/;

type Unkeyed = Omit<SourceEntry, "key">;

/** One line of `~/.codex/sessions/YYYY/MM/DD/rollout-*.jsonl`. These have no ids: `lineKey` stands for the line. */
export function parseCodex(line: string, lineKey: string): Parsed {
  const record = object(line);
  const payload = isObject(record?.payload) ? record.payload : undefined;
  if (!record || !payload) return rawLine(line, lineKey);
  const at = time(record.timestamp);
  switch (record.type) {
    case "session_meta":
      return skipped(metaFacts(payload));
    case "turn_context":
      return skipped({ model: text(payload.model), workingDir: text(payload.cwd) });
    case "compacted":
      return found([
        {
          role: "system",
          kind: "summary",
          content: asText(payload.message) || "(compacted)",
          source: "model",
        },
      ]);
    case "event_msg":
      if (REPEATED_EVENTS.has(text(payload.type) ?? "")) return skipped();
      return rawLine(line, lineKey);
    case "response_item": {
      const entries = itemEntries(payload);
      if (!entries) return rawLine(line, lineKey);
      return entries.length === 0 ? skipped() : found(entries);
    }
    default:
      return rawLine(line, lineKey);
  }

  function found(entries: Unkeyed[]): Parsed {
    const first = entries[0]!;
    const prompt = first.role === "user" && first.source === "user" ? first.content : undefined;
    return {
      entries: entries.map((entry, index) => ({ ...entry, key: `${lineKey}:${index}`, ...(at && { at }) })),
      facts: prompt === undefined ? {} : { prompt },
      outcome: "entries",
    };
  }
}

function metaFacts(meta: Json): Facts {
  const git = isObject(meta.git) ? meta.git : {};
  const subagent = isObject(meta.source) && isObject(meta.source.subagent) ? meta.source.subagent : {};
  const spawned = isObject(subagent.thread_spawn) ? subagent.thread_spawn : {};
  return {
    sessionId: text(meta.id),
    parentId: text(spawned.parent_thread_id),
    workingDir: text(meta.cwd),
    branch: text(git.branch),
    repository: withoutCredentials(text(git.repository_url)),
    version: text(meta.cli_version),
    startedAt: time(meta.timestamp),
  };
}

/** A remote may have a token in its address. */
function withoutCredentials(url: string | undefined): string | undefined {
  return url?.replace(/\/\/[^/@]*@/, "//");
}

function itemEntries(item: Json): Unkeyed[] | undefined {
  const callId = text(item.call_id);
  switch (item.type) {
    case "message": {
      if (!Array.isArray(item.content)) return undefined;
      const role = item.role === "assistant" || item.role === "user" ? item.role : "system";
      return items(item.content).map((part): Unkeyed => {
        const said = isObject(part) ? text(part.text) : undefined;
        const content =
          said ?? (isObject(part) && part.type === "input_image" ? "(image, not kept)" : undefined);
        if (content === undefined)
          return { role, kind: "raw", content: JSON.stringify(part).slice(0, 16_384), source: "external" };
        const source =
          role === "assistant"
            ? "model"
            : role === "user" && !NOT_A_PROMPT.test(content)
              ? "user"
              : "external";
        return { role, kind: "text", content, source };
      });
    }
    case "reasoning": {
      const content = asText(item.summary ?? []).replace(/^\[\]$/, "");
      return content === "" ? [] : [{ role: "assistant", kind: "thinking", content, source: "model" }];
    }
    case "function_call":
    case "custom_tool_call":
    case "local_shell_call":
    case "web_search_call":
      return [
        {
          role: "assistant",
          kind: "tool_use",
          content: "",
          tool_id: callId ?? text(item.id),
          tool_name: text(item.name) ?? String(item.type).replace(/_call$/, ""),
          tool_input: inputOf(item.arguments ?? item.input ?? item.action),
          source: "model",
        },
      ];
    case "function_call_output":
    case "custom_tool_call_output": {
      const output = isObject(item.output) ? item.output : undefined;
      const content = asText(output?.content ?? item.output);
      return [
        {
          role: "tool",
          kind: "tool_result",
          content: content || "(no output)",
          tool_id: callId,
          ...(output?.success === false && { is_error: true }),
          source: "external",
        },
      ];
    }
    case "ghost_snapshot":
      return [];
    default:
      return undefined;
  }
}

/** Arguments are JSON inside of a string, mostly. */
function inputOf(value: unknown): unknown {
  if (typeof value !== "string") return value;
  return object(value) ?? value;
}
