import { Command } from "commander";
import type { AuditedUse } from "../../protocol/audit.js";
import { ago } from "../ago.js";
import type { CliContext } from "../context.js";
import { GATEWAY_OPTION, JSON_OPTION, wholeNumber } from "../options.js";
import { resolveSession } from "../resolve-session.js";

interface AuditOptions {
  name?: string;
  session?: string;
  run?: string;
  limit?: number;
  json?: boolean;
  gateway?: string;
}

export const auditCommand = (context: CliContext) =>
  new Command("audit")
    .summary("list who used which secret for what, newest first")
    .option("--name <name>", "only this secret")
    .option("--session <id>", "only those of this session; the beginning of its id is enough")
    .option("--run <id>", "only those of this run")
    .option("-n, --limit <count>", "how many (default: 20)", wholeNumber(1, 200))
    .option(...JSON_OPTION)
    .option(...GATEWAY_OPTION)
    .addHelpText(
      "after",
      "\nExamples:\n  $ cerver audit --name STRIPE_KEY\n  $ cerver audit --session sess_01a2 --json",
    )
    .action(async ({ session, run, json, gateway, ...query }: AuditOptions) => {
      const { out } = context;
      const client = await context.client(gateway);
      const list = await client.secretUses({
        ...query,
        ...(session !== undefined && { session_id: await resolveSession(client, session) }),
        ...(run !== undefined && { run_id: run }),
      });
      if (json) return out.json(list);
      if (list.uses.length === 0)
        return out.say("No secret was used. Give one to a run with: cerver run --secret NAME 'CODE'");
      out.table(["WHEN", "SECRET", "BACKEND", "BY", "FOR"], list.uses.map(row));
      if (list.next_cursor) out.say(`There are more; the newest ${list.uses.length} are shown (--limit).`);
    });

function row({ at, name, backend, by, token_id, run_id, session_id }: AuditedUse): string[] {
  return [ago(at), name, backend, token_id ? `${by} (${token_id})` : by, run_id ?? session_id ?? "-"];
}
