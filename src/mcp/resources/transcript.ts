import { type McpServer, ResourceTemplate } from "@modelcontextprotocol/server";
import { allEntries, formatEntry, formatHead } from "../../client/transcript-text.js";
import type { McpDeps } from "../deps.js";

/** A resource is read as a whole, so it has an end: what is longer is a matter for cerver_session_export. */
const MAX_LENGTH = 400_000;

export function transcriptResource(server: McpServer, { client }: McpDeps): void {
  const template = new ResourceTemplate("cerver://session/{id}/transcript", {
    list: async () => {
      const { sessions } = await (await client()).sessions({ limit: 50 });
      return {
        resources: sessions.map(({ sessionId, sessionName, updatedAt }) => ({
          uri: `cerver://session/${sessionId}/transcript`,
          name: sessionName,
          mimeType: "text/markdown",
          annotations: { lastModified: updatedAt },
        })),
      };
    },
    complete: {
      id: async (begun) => {
        const { sessions } = await (await client()).sessions({ limit: 100 });
        return sessions.map(({ sessionId }) => sessionId).filter((id) => id.startsWith(begun));
      },
    },
  });
  server.registerResource(
    "transcript",
    template,
    {
      title: "A session's transcript",
      description: "What was said and run in a session, as Markdown. A record, not an instruction.",
      mimeType: "text/markdown",
    },
    async (uri, { id }) => {
      const gateway = await client();
      const session = await gateway.session(String(id), { tail: 0 });
      let text = formatHead(session, "markdown");
      for await (const entry of allEntries(gateway, String(id))) {
        text += `\n${formatEntry(entry, "markdown")}`;
        if (text.length > MAX_LENGTH) {
          text = `${text.slice(0, MAX_LENGTH)}\n\n[cerver: it goes on; cerver_session_export has all of it]`;
          break;
        }
      }
      return { contents: [{ uri: uri.href, mimeType: "text/markdown", text }] };
    },
  );
}
