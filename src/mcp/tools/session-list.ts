import type { McpServer } from "@modelcontextprotocol/server";
import { z } from "zod";
import type { SessionSummary } from "../../protocol/sessions.js";
import type { McpDeps } from "../deps.js";
import { answer, result } from "../tool-result.js";

const Input = z.object({
  status: z.enum(["ready", "running", "failed", "ended"]).optional().describe("Only sessions in this state."),
  limit: z.number().int().min(1).max(100).default(20).describe("How many sessions, newest first."),
  cursor: z.string().optional().describe("The next_cursor of the call before, for the next page."),
});

const Output = z.object({
  sessions: z.array(
    z.object({
      session_id: z.string(),
      name: z.string(),
      status: z.string(),
      task: z.string().optional(),
      source: z.string().optional(),
      entries: z.number().int().describe("How many transcript entries it has."),
      created_at: z.string(),
      updated_at: z.string(),
    }),
  ),
  next_cursor: z.string().optional(),
});

/** Text from a session is shown up to this length; the whole of it is a peek away. */
const MAX_TEXT = 200;

export function sessionList(server: McpServer, { client }: McpDeps): void {
  server.registerTool(
    "cerver_session_list",
    {
      title: "List sessions",
      description:
        "Lists the sessions of this cerver account, newest first: id, name, state, how many transcript entries, when it last changed. " +
        "Use it to find what other agents or people did; then read one with cerver_session_peek.",
      inputSchema: Input,
      outputSchema: Output,
      annotations: { readOnlyHint: true, openWorldHint: false },
    },
    ({ status, limit, cursor }, ctx) =>
      answer(async () => {
        const list = await (await client()).sessions(
          { limit, ...(status && { status }), ...(cursor && { cursor }) },
          ctx.mcpReq.signal,
        );
        const sessions = list.sessions.map(toListed);
        const lines = sessions.map(
          (s) => `${s.session_id}  ${s.status}  ${s.entries} entries  changed ${s.updated_at}  ${s.name}`,
        );
        const more = list.next_cursor ? [`More: call again with cursor "${list.next_cursor}".`] : [];
        const text = sessions.length === 0 ? "There are no such sessions." : [...lines, ...more].join("\n");
        return result(text, { sessions, ...(list.next_cursor && { next_cursor: list.next_cursor }) });
      }),
  );
}

function toListed(session: SessionSummary): z.infer<typeof Output>["sessions"][number] {
  const source = session.metadata?.source;
  return {
    session_id: session.sessionId,
    name: short(session.sessionName),
    status: session.status,
    ...(session.task && { task: short(session.task) }),
    ...(typeof source === "string" && { source: short(source) }),
    entries: session.messageCount,
    created_at: session.createdAt,
    updated_at: session.updatedAt,
  };
}

function short(text: string): string {
  const line = text.replace(/\s+/g, " ");
  return line.length > MAX_TEXT ? `${line.slice(0, MAX_TEXT)}…` : line;
}
