import type { McpServer } from "@modelcontextprotocol/server";
import { z } from "zod";
import type { McpDeps } from "../deps.js";
import { RunResult, runResult, waitField, waitForRun } from "../run-wait.js";
import { answer } from "../tool-result.js";

const Input = z.object({
  run_id: z.string().min(1).describe("From cerver_run."),
  wait: waitField,
});

export function runWait(server: McpServer, { client }: McpDeps): void {
  server.registerTool(
    "cerver_run_wait",
    {
      title: "Wait for a run",
      description:
        "Waits for a run that was begun before, and answers with its state and everything it printed so far, long output cut in the middle. " +
        "Use `wait: 0` to look once. Cancelling this call leaves the run alone.",
      inputSchema: Input,
      outputSchema: RunResult,
      annotations: { readOnlyHint: true, openWorldHint: false },
    },
    ({ run_id, wait }, ctx) =>
      answer(async () => {
        const gateway = await client();
        const { session_id: sessionId } = await gateway.findRun(run_id);
        return runResult(
          // A look takes a moment, too: what was printed has to come over.
          await waitForRun(gateway, { sessionId, runId: run_id, waitS: Math.max(wait, 0.5) }, ctx),
        );
      }),
  );
}
