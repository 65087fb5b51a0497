import { Command } from "commander";
import { ago } from "../ago.js";
import type { CliContext } from "../context.js";
import { GATEWAY_OPTION, JSON_OPTION } from "../options.js";
import { resolveSession } from "../resolve-session.js";

interface WhyOptions {
  json?: boolean;
  gateway?: string;
}

export const whyCommand = (context: CliContext) =>
  new Command("why")
    .summary("say why a session is awake, what kept it so, and what it has cost")
    .argument("<session-id>", "the session, or the beginning of its id")
    .option(...JSON_OPTION)
    .option(...GATEWAY_OPTION)
    .addHelpText("after", "\nExample:\n  $ cerver why sess_01a2")
    .action(async (id: string, { json, gateway }: WhyOptions) => {
      const { out } = context;
      const client = await context.client(gateway);
      const why = await client.whyAwake(await resolveSession(client, id));
      if (json) return out.json(why);
      out.line(why.reason);
      if (why.ends_at) out.line(`It ends at ${why.ends_at}.`);
      out.line(`It has cost $${why.cost_usd}.`);
      for (const { run_id, since } of why.running)
        out.line(`Under way: ${run_id}, for ${ago(since).replace(" ago", "")}`);
      if (why.activity.length === 0) return;
      out.line();
      out.table(
        ["ACTIVITY", "BY", "TIMES", "FIRST", "LAST"],
        why.activity.map(({ kind, caller, count, first_at, last_at }) => [
          kind,
          caller,
          String(count),
          ago(first_at),
          ago(last_at),
        ]),
      );
    });
