import type { McpServer } from "@modelcontextprotocol/server";
import { z } from "zod";
import type { McpDeps } from "../deps.js";
import { answer, result } from "../tool-result.js";

const Input = z.object({
  session_id: z.string().min(1),
  content: z.string().min(1).max(100_000).describe("What to keep: a decision, a finding, how far you got."),
  role: z.enum(["user", "assistant"]).default("assistant").describe("Whose words they are."),
  source: z
    .enum(["model", "external"])
    .optional()
    .describe("`external` when the words come from a page, a file or another agent."),
  run_id: z.string().max(128).optional().describe("The run that shows it, when there is one."),
  key: z.string().min(1).max(256).optional().describe("The same key appends once, however often it is sent."),
});

const Output = z.object({
  session_id: z.string(),
  appended: z.number().int().describe("0 when the key was there already."),
  total: z.number().int(),
});

export function sessionAppend(server: McpServer, { client }: McpDeps): void {
  server.registerTool(
    "cerver_session_append",
    {
      title: "Add to a transcript",
      description:
        "Appends one entry to a session's transcript, where every agent of the account can read it later. Say what was decided and why, what is open, what was tried. " +
        "Name the run that shows it: what is claimed with no run behind it is marked so. Never put secrets into it.",
      inputSchema: Input,
      outputSchema: Output,
      annotations: {
        readOnlyHint: false,
        destructiveHint: false,
        idempotentHint: false,
        openWorldHint: false,
      },
    },
    ({ session_id, key, ...entry }) =>
      answer(async () => {
        const { appended, transcript_total } = await (await client()).appendTranscript(session_id, [
          { ...entry, kind: "text", ...(key !== undefined && { idempotency_key: key }) },
        ]);
        const text =
          appended === 0
            ? `It was there already: ${transcript_total} entries.`
            : `Appended: ${transcript_total} entries.`;
        return result(text, { session_id, appended, total: transcript_total });
      }),
  );
}
