import type { McpServer } from "@modelcontextprotocol/server";
import { z } from "zod";
import type { McpDeps } from "../deps.js";
import { answer, result } from "../tool-result.js";

const Input = z.object({ name: z.string().min(1).max(256).describe("For example BUFFER_API_KEY.") });
const Output = z.object({
  name: z.string(),
  value: z.string(),
  source: z.string().describe("Which backend it came from."),
});

export function secretFetch(server: McpServer, { client, secrets }: McpDeps): void {
  if (!secrets) return;
  server.registerTool(
    "secret_fetch",
    {
      title: "Fetch a secret",
      description:
        "Fetches one secret by its name from the secrets backend that this server is configured with. To use a secret in a run, give cerver_run its name in `secrets` instead: then nobody sees the value. " +
        "Use the value for the call that needs it and nothing else: do not print it, write it to a file or put it in a transcript.",
      inputSchema: Input,
      outputSchema: Output,
      annotations: { readOnlyHint: true, openWorldHint: true },
    },
    ({ name }, ctx) =>
      answer(async () => {
        const secret = await secrets().fetch(name, ctx.mcpReq.signal);
        // Who has a gateway has a list of uses there; secrets work without one.
        client()
          .then((gateway) => gateway.reportSecretUse({ name: secret.name, backend: secret.source }))
          .catch(() => {});
        return result(secret.value, { ...secret });
      }),
  );
}
