import { Command } from "commander";
import type { CliContext } from "../context.js";
import { GATEWAY_OPTION, JSON_OPTION, wholeNumber } from "../options.js";
import { harmless, printable } from "../output.js";
import { resolveSession } from "../resolve-session.js";

interface PeekOptions {
  last?: number;
  digest?: boolean;
  maxTokens?: number;
  json?: boolean;
  gateway?: string;
}

export const peekCommand = (context: CliContext) =>
  new Command("peek")
    .summary("show the last entries of a session's transcript")
    .argument("<session-id>", "the session, or the beginning of its id")
    .option("-n, --last <count>", "how many entries (default: 20)", wholeNumber(1, 10_000))
    .option("--digest", "instead: goal, state, failures, commands, files, and claims with no run behind them")
    .option("--max-tokens <count>", "how long the digest may be (default: 1000)", wholeNumber(200, 20_000))
    .option(...JSON_OPTION)
    .option(...GATEWAY_OPTION)
    .addHelpText("after", "\nExamples:\n  $ cerver peek sess_01a2 -n 4\n  $ cerver peek sess_01a2 --digest")
    .action(async (id: string, { last = 20, digest, maxTokens, json, gateway }: PeekOptions) => {
      const { out } = context;
      const client = await context.client(gateway);
      const sessionId = await resolveSession(client, id);
      if (digest) {
        const found = await client.digest(sessionId, { max_tokens: maxTokens });
        if (json) return out.json(found);
        const { digestText } = await import("../../client/digest-text.js");
        return out.line(harmless(digestText(found)));
      }
      const session = await client.session(sessionId, { tail: last });
      if (json) return out.json(session);
      const { transcriptText } = await import("../../client/transcript-text.js");
      out.say(
        `${printable(session.sessionName)} · ${session.status} · ${session.transcriptTotal ?? session.transcript.length} entries`,
      );
      for (const entry of session.transcript) out.line(harmless(transcriptText(entry)));
    });
