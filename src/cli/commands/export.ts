import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { Command, Option } from "commander";
import type { EntrySource } from "../../protocol/transcript.js";
import type { CliContext } from "../context.js";
import { GATEWAY_OPTION, minTrustOption } from "../options.js";
import { harmless } from "../output.js";
import { resolveSession } from "../resolve-session.js";

interface ExportOptions {
  format: "text" | "markdown" | "jsonl";
  output?: string;
  minTrust?: EntrySource;
  gateway?: string;
}

export const exportCommand = (context: CliContext) =>
  new Command("export")
    .summary("write out a session's whole transcript")
    .argument("<session-id>", "the session, or the beginning of its id")
    .addOption(new Option("--format <format>", "how").choices(["text", "markdown", "jsonl"]).default("text"))
    .option("-o, --output <file>", "a new file to write to instead of stdout")
    .addOption(minTrustOption())
    .option(...GATEWAY_OPTION)
    .addHelpText("after", "\nExample:\n  $ cerver export sess_01a2 --format markdown -o session.md")
    .action(async (id: string, { format, output, minTrust, gateway }: ExportOptions) => {
      const { out } = context;
      const client = await context.client(gateway);
      const { allEntries, formatEntry, formatHead, newBoundary } = await import(
        "../../client/transcript-text.js"
      );
      const session = await client.session(await resolveSession(client, id), { tail: 0 });
      const file = output === undefined ? undefined : createWriteStream(output, { flags: "wx", mode: 0o600 });
      if (file) await once(file, "open");
      // A terminal obeys what it prints; a file and a pipe get the text as it is.
      const clean = !file && out.isTerminal ? harmless : (text: string) => text;
      const write = (text: string) => (file ?? out.stdout).write(`${clean(text)}\n`);
      const boundary = newBoundary();
      const head = formatHead(session, format);
      if (head !== "") write(head);
      for await (const entry of allEntries(client, session.sessionId, 0, minTrust)) {
        if (!write(formatEntry(entry, format, boundary))) await once(file ?? out.stdout, "drain");
      }
      if (!file) return;
      file.end();
      await once(file, "finish");
      out.say(`Wrote ${output}.`);
    });
