import type { McpServer } from "@modelcontextprotocol/server";
import { z } from "zod";
import { Labels } from "../../protocol/sessions.js";
import type { McpDeps } from "../deps.js";
import { answer, result } from "../tool-result.js";

const Input = z.object({
  name: z
    .string()
    .min(1)
    .max(256)
    .optional()
    .describe("What people see in the list, such as the task in a few words."),
  task: z.string().max(10_000).optional().describe("What it is for; others find the session by it."),
  compute: z
    .string()
    .max(128)
    .optional()
    .describe(
      "A compute_id or a provider from cerver_computes. Without it cerver chooses; `none` keeps a transcript only.",
    ),
  working_dir: z
    .string()
    .max(4096)
    .optional()
    .describe(
      "An absolute folder of that machine to work in. Without it the session gets a folder of its own.",
    ),
  labels: Labels.optional().describe("Names and values to find it by."),
  requirements: z
    .object({
      runtime: z.enum(["shell", "node"]).optional(),
      labels: z.record(z.string(), z.string()).optional().describe("Labels that the machine must have."),
    })
    .optional(),
});

const Output = z.object({
  session_id: z.string().describe("For cerver_run and all the others."),
  name: z.string(),
  status: z.string(),
  provider: z.string(),
  compute_id: z.string().nullable(),
  reason: z.string().optional().describe("Why this compute."),
  warnings: z.array(z.string()),
});

export function sessionCreate(server: McpServer, { client }: McpDeps): void {
  server.registerTool(
    "cerver_session_create",
    {
      title: "Create a session",
      description:
        "Opens a session: one working folder on one computer, and a transcript that every agent of the account can read. " +
        "Do it once for a task, then run everything of it there with cerver_run. Its files stay until it is closed or its machine's owner ends it.",
      inputSchema: Input,
      outputSchema: Output,
      annotations: {
        readOnlyHint: false,
        destructiveHint: false,
        idempotentHint: false,
        openWorldHint: true,
      },
    },
    ({ name, task, compute, working_dir, labels, requirements }, ctx) =>
      answer(async () => {
        const created = await (await client()).createSession(
          {
            ...(name !== undefined && { session_name: name }),
            ...(task !== undefined && { task }),
            ...where(compute),
            ...(labels && { labels }),
            ...(requirements && { requirements }),
            metadata: { source: "mcp", ...(working_dir !== undefined && { working_dir }) },
          },
          ctx.mcpReq.signal,
        );
        const { session_id, session_name, status, provider, compute_id, routing, warnings = [] } = created;
        const reason = routing?.primary_reason;
        const text = [
          `${session_id} is ${status}: ${session_name}`,
          compute_id === null
            ? "It has no compute: a transcript only."
            : `It runs on ${compute_id} (${provider}).`,
          ...warnings.map((warning) => `Mind: ${warning}`),
        ].join("\n");
        return result(text, {
          session_id,
          name: session_name,
          status,
          provider,
          compute_id,
          ...(reason && { reason }),
          warnings,
        });
      }),
  );
}

function where(compute: string | undefined) {
  if (compute === undefined) return {};
  if (compute === "none") return { compute: null };
  return { compute: /^(?:cmp_|provider_)/.test(compute) ? { compute_id: compute } : { provider: compute } };
}
