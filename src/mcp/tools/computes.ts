import type { McpServer } from "@modelcontextprotocol/server";
import { z } from "zod";
import type { McpDeps } from "../deps.js";
import { answer, result } from "../tool-result.js";

const Output = z.object({
  computes: z.array(
    z.object({
      compute_id: z.string(),
      label: z.string(),
      provider: z.string(),
      kind: z.string(),
      status: z.string().describe("`ready` can be used now; `offline` cannot."),
      last_seen: z.string().optional(),
      os: z.string().optional(),
      cpus: z.number().optional(),
      memory_bytes: z.number().optional(),
      labels: z.record(z.string(), z.string()).optional(),
    }),
  ),
});

/** More machines than any answer needs. */
const MAX_COMPUTES = 100;

export function computes(server: McpServer, { client }: McpDeps): void {
  server.registerTool(
    "cerver_computes",
    {
      title: "List computes",
      description:
        "Lists the computers that this account's sessions can run on: the owner's own machines and the cloud providers that are enabled, and whether each can be used now.",
      inputSchema: z.object({}),
      outputSchema: Output,
      annotations: { readOnlyHint: true, openWorldHint: false },
    },
    () =>
      answer(async () => {
        const all = await (await client()).computes();
        const computes = all
          .slice(0, MAX_COMPUTES)
          .map(({ compute_id, label, provider, kind, status, ...about }) => {
            const facts = { ...about.metadata, ...about.capabilities } as Record<string, unknown>;
            return {
              compute_id,
              label,
              provider,
              kind,
              status,
              ...(about.last_heartbeat_at && { last_seen: about.last_heartbeat_at }),
              ...(typeof facts.os === "string" && { os: facts.os }),
              ...(typeof facts.cpus === "number" && { cpus: facts.cpus }),
              ...(typeof facts.memory_bytes === "number" && { memory_bytes: facts.memory_bytes }),
              ...(isLabels(facts.labels) && { labels: facts.labels }),
            };
          });
        const lines = computes.map(({ compute_id, status, provider, label }) =>
          [compute_id, status, provider, label].join("  "),
        );
        const none =
          "No compute is attached. Ask the account's owner to run `cerver relay` on a machine, or to enable a provider with `cerver provider enable`.";
        return result(lines.length === 0 ? none : lines.join("\n"), { computes });
      }),
  );
}

function isLabels(value: unknown): value is Record<string, string> {
  return (
    typeof value === "object" &&
    value !== null &&
    Object.values(value).every((one) => typeof one === "string")
  );
}
