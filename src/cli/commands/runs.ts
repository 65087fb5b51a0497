import { Command, Option } from "commander";
import type { RunRecord, RunStatus } from "../../protocol/runs.js";
import { ago } from "../ago.js";
import type { CliContext } from "../context.js";
import { GATEWAY_OPTION, JSON_OPTION, wholeNumber } from "../options.js";
import { resolveSession } from "../resolve-session.js";

/** Written out here: schemas are loaded when there is something to read with them. */
const STATUSES = [
  "queued",
  "running",
  "succeeded",
  "failed",
  "cancelled",
  "timed_out",
  "lost",
] as const satisfies readonly RunStatus[];

interface RunsOptions {
  session?: string;
  status?: RunStatus;
  limit?: number;
  json?: boolean;
  gateway?: string;
}

export const runsCommand = (context: CliContext) =>
  new Command("runs")
    .summary("list runs, newest first")
    .option("--session <id>", "only those of this session; the beginning of its id is enough")
    .addOption(new Option("--status <status>", "only those that are").choices(STATUSES))
    .option("-n, --limit <count>", "how many (default: 20)", wholeNumber(1, 200))
    .option(...JSON_OPTION)
    .option(...GATEWAY_OPTION)
    .addHelpText(
      "after",
      "\nExamples:\n  $ cerver runs --status running\n  $ cerver runs --session sess_01a2 --json",
    )
    .action(async ({ session, json, gateway, ...query }: RunsOptions) => {
      const { out } = context;
      const client = await context.client(gateway);
      const list =
        session === undefined
          ? await client.allRuns(query)
          : await client.runs(await resolveSession(client, session), query);
      if (json) return out.json(list);
      if (list.runs.length === 0)
        return out.say("There are no such runs. Try: cerver run --detach 'sleep 60'");
      out.table(["RUN", "STATUS", "SESSION", "BEGAN", "EXIT", "BYTES"], list.runs.map(row));
      if (list.next_cursor) out.say(`There are more; the newest ${list.runs.length} are shown (--limit).`);
    });

function row(run: RunRecord): string[] {
  const { status, since } = run;
  return [
    run.run_id,
    status === "lost" && since !== undefined ? `lost since ${since}` : status,
    run.session_id,
    ago(run.created_at),
    run.signal ?? (run.exit_code === null ? "-" : String(run.exit_code)),
    // How much a run that is under way has printed is known on its machine, and in `cerver logs`.
    run.ended_at !== null ? String(run.stdout_bytes + run.stderr_bytes) : "-",
  ];
}
