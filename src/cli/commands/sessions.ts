import { Command } from "commander";
import { ago } from "../ago.js";
import type { CliContext } from "../context.js";
import { GATEWAY_OPTION, JSON_OPTION, wholeNumber } from "../options.js";

interface SessionsOptions {
  limit?: number;
  status?: string;
  source?: string;
  json?: boolean;
  gateway?: string;
}

export const sessionsCommand = (context: CliContext) =>
  new Command("sessions")
    .summary("list sessions, newest first")
    .option("-n, --limit <count>", "how many (default: 20)", wholeNumber(1, 200))
    .option("--status <status>", "only those that are ready, running, failed or ended")
    .option("--source <source>", "only those whose metadata.source is this")
    .option(...JSON_OPTION)
    .option(...GATEWAY_OPTION)
    .addHelpText("after", "\nExample:\n  $ cerver sessions --status running")
    .action(async ({ json, gateway, ...query }: SessionsOptions) => {
      const { out } = context;
      const list = await (await context.client(gateway)).sessions(query);
      if (json) return out.json(list);
      if (list.sessions.length === 0)
        return out.say("There are no sessions yet. Try: cerver run 'echo hello'");
      out.table(
        ["ID", "NAME", "STATUS", "ENTRIES", "CHANGED"],
        list.sessions.map((session) => [
          session.sessionId,
          session.sessionName.slice(0, 48),
          session.status,
          String(session.messageCount),
          ago(session.updatedAt),
        ]),
      );
      if (list.next_cursor)
        out.say(`There are more; the newest ${list.sessions.length} are shown (--limit).`);
    });
