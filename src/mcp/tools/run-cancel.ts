import type { McpServer } from "@modelcontextprotocol/server";
import { z } from "zod";
import type { McpDeps } from "../deps.js";
import { answer, result } from "../tool-result.js";

const Input = z.object({ run_id: z.string().min(1).describe("From cerver_run.") });

const Process = z.object({ pid: z.number().int(), command: z.string(), why: z.string() });
const Output = z.object({
  run_id: z.string(),
  session_id: z.string(),
  status: z.string(),
  found: z.array(Process).describe("What was alive."),
  alive: z.array(Process).describe("What is alive now, and why. Empty is what one wants."),
  ports_freed: z.array(z.number().int()),
});

export function runCancel(server: McpServer, { client }: McpDeps): void {
  server.registerTool(
    "cerver_run_cancel",
    {
      title: "End a run",
      description:
        "Ends a run and everything that it started: TERM, then KILL, until nothing is left. Answers with a receipt: what was alive, what is alive now, " +
        "which ports came free. A run that has ended already stays as it ended.",
      inputSchema: Input,
      outputSchema: Output,
      annotations: { readOnlyHint: false, destructiveHint: true, idempotentHint: true, openWorldHint: false },
    },
    ({ run_id }) =>
      answer(async () => {
        const gateway = await client();
        const { session_id } = await gateway.findRun(run_id);
        const { status, receipt } = await gateway.cancelRun(session_id, run_id);
        const processes = (of: typeof receipt.found) =>
          of.slice(0, 50).map(({ pid, command, why }) => ({ pid, command: command.slice(0, 200), why }));
        const ports = receipt.ports_freed.map(({ port }) => port);
        const text = [
          `${run_id}: ${status}. ${receipt.found_total} processes were alive, ${receipt.alive.length} are now.`,
          ...processes(receipt.alive).map(
            ({ pid, command, why }) => `Still alive: ${pid} ${command} (${why})`,
          ),
          ...(ports.length > 0 ? [`Ports that came free: ${ports.join(", ")}.`] : []),
        ].join("\n");
        return result(text, {
          run_id,
          session_id,
          status,
          found: processes(receipt.found),
          alive: processes(receipt.alive),
          ports_freed: ports,
        });
      }),
  );
}
