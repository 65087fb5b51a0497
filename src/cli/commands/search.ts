import { Command } from "commander";
import type { EntrySource } from "../../protocol/transcript.js";
import { ago } from "../ago.js";
import type { CliContext } from "../context.js";
import { collectVariables, GATEWAY_OPTION, JSON_OPTION, minTrustOption, wholeNumber } from "../options.js";
import { printable } from "../output.js";
import { resolveSession } from "../resolve-session.js";

interface SearchOptions {
  limit?: number;
  session?: string;
  role?: string;
  kind?: string;
  tool?: string;
  since?: string;
  until?: string;
  label?: Record<string, string>;
  dir?: string;
  repository?: string;
  minTrust?: EntrySource;
  cursor?: string;
  json?: boolean;
  gateway?: string;
}

export const searchCommand = (context: CliContext) =>
  new Command("search")
    .summary("find in the transcripts of all sessions")
    .argument("<query...>", 'words that all have to be there; "a phrase", -without (after --), begin*')
    .option("-n, --limit <count>", "how many (default: 10)", wholeNumber(1, 50))
    .option("--session <id>", "only in this session")
    .option("--role <role>", "only entries of user, assistant, tool or system")
    .option("--kind <kind>", "only entries of this kind, such as tool_use")
    .option("--tool <name>", "only entries of this tool")
    .option("--since <time>", "only entries since then, such as 2026-01-31T00:00:00Z")
    .option("--until <time>", "only entries until then")
    .option("--label <name=value>", "only in sessions with this label; may be given again", collectVariables)
    .option("--dir <folder>", "only in sessions with this working folder")
    .option("--repository <name>", "only in sessions with this repository")
    .addOption(minTrustOption())
    .option("--cursor <cursor>", "go on where the page before ended")
    .option(...JSON_OPTION)
    .option(...GATEWAY_OPTION)
    .addHelpText(
      "after",
      "\nExamples:\n  $ cerver search '\"out of memory\" build'\n  $ cerver search --tool Bash npm publish\n  $ cerver search -- deploy -staging",
    )
    .action(async (words: string[], options: SearchOptions) => {
      const { json, gateway, session, label, dir, minTrust, ...query } = options;
      const { out } = context;
      const client = await context.client(gateway);
      const answer = await client.search({
        ...query,
        q: words.join(" "),
        session_id: session && (await resolveSession(client, session)),
        labels: label,
        working_dir: dir,
        min_trust: minTrust,
      });
      if (json) return out.json(answer);
      if (answer.hits.length === 0) return out.say("Nothing was found.");
      out.table(
        ["SESSION", "SEQ", "WHO", "WHEN", "FOUND"],
        answer.hits.map(({ session_id, seq, role, tool_name, at, snippet }) => [
          session_id,
          String(seq),
          tool_name ? `${role} (${tool_name.slice(0, 24)})` : role,
          ago(at),
          // A terminal shows the matches by more than their place.
          snippet.map(({ text, match }) => (match ? `[${printable(text)}]` : printable(text))).join(""),
        ]),
      );
      if (answer.next_cursor) out.say(`There is more: --cursor ${answer.next_cursor}`);
    });
