import { Command, Option } from "commander";
import type { GatewayClient } from "../../client/gateway-client.js";
import { CerverError } from "../../protocol/errors.js";
import type { RunRecord } from "../../protocol/runs.js";
import type { CliContext } from "../context.js";
import { GATEWAY_OPTION } from "../options.js";
import { resolveRun } from "../resolve-run.js";
import { missing, printEvents, write } from "../run-output.js";

/** How long `--follow` looks for a gateway that went away: an update of its machine takes less. */
const PATIENCE_MS = 10 * 60_000;

const STREAMS = ["stdout", "stderr"] as const;
type StreamName = (typeof STREAMS)[number];

interface LogsOptions {
  follow?: boolean;
  stdoutOnly?: boolean;
  stderrOnly?: boolean;
  gateway?: string;
}

export const logsCommand = (context: CliContext) =>
  shared(new Command("logs"))
    .summary("print what a run has printed")
    .description(
      "Prints the output of a run, stdout to stdout and stderr to stderr. With --follow it goes on to the run's end, also over a gateway that is started again, and exits with the run's own code: 124 after a timeout, 125 when nobody knows.",
    )
    .option("-f, --follow", "go on until the run has ended, and exit with its code")
    .addHelpText(
      "after",
      "\nExamples:\n  $ cerver logs run_01a2b3c4d5e6\n  $ cerver logs -f run_01a2b3c4d5e6 --stderr-only",
    )
    .action((run: string, options: LogsOptions) => logs(context, run, options));

export const attachCommand = (context: CliContext) =>
  shared(new Command("attach"))
    .summary("follow a run to its end: the same as logs --follow")
    .addHelpText("after", "\nExample:\n  $ cerver attach run_01a2b3c4d5e6")
    .action((run: string, options: LogsOptions) => logs(context, run, { ...options, follow: true }));

function shared(command: Command): Command {
  return command
    .argument("<run-id>", "the run, or the beginning of its id")
    .option("--stdout-only", "leave out what it printed to stderr")
    .addOption(
      new Option("--stderr-only", "leave out what it printed to stdout").conflicts([
        "stdoutOnly",
      ] as string[]),
    )
    .option(...GATEWAY_OPTION);
}

async function logs(context: CliContext, id: string, options: LogsOptions): Promise<void> {
  const { out, process } = context;
  const client = await context.client(options.gateway);
  const run = await resolveRun(client, id);
  const only: StreamName | undefined = options.stdoutOnly
    ? "stdout"
    : options.stderrOnly
      ? "stderr"
      : undefined;
  if (!options.follow) {
    for (const stream of only ? [only] : (["stdout", "stderr"] as const)) {
      await printKept(context, client, run, stream);
    }
    return;
  }
  const events = client.followRun(run.session_id, run.run_id, {
    patienceMs: PATIENCE_MS,
    onBreak: ({ message }) => out.say(`cerver: ${message} Looking for it again.`),
  });
  process.exitCode = await printEvents(out, events, only);
}

/** What there is of one stream now. */
async function printKept(
  { out }: CliContext,
  client: GatewayClient,
  { session_id, run_id }: RunRecord,
  stream: StreamName,
): Promise<void> {
  const response = await client.runOutput(session_id, run_id, stream);
  const first = Number(response.headers.get("x-cerver-output-from") ?? 0);
  if (first > 0) out.say(missing(stream, 0, first));
  const reader = response.body?.getReader();
  for (;;) {
    const piece = await reader?.read().catch((error: unknown) => {
      throw new CerverError("provider_failed", `The ${stream} of run ${run_id} broke off.`, {
        hint: "Ask again: what is kept can be read as often as you like.",
        cause: error,
      });
    });
    if (!piece?.value) return;
    await write(out[stream], piece.value);
  }
}
