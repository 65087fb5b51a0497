import type { Readable } from "node:stream";
import { Command } from "commander";
import type { GatewayClient } from "../../client/gateway-client.js";
import { CerverError } from "../../protocol/errors.js";
import type { RunRequestInput } from "../../protocol/runs.js";
import type { CliContext } from "../context.js";
import { EXIT } from "../exit-codes.js";
import { collect, collectVariables, GATEWAY_OPTION, seconds } from "../options.js";
import { resolveSession } from "../resolve-session.js";
import { exitCode, printEvents } from "../run-output.js";
import { whereToRun } from "../where-to-run.js";

interface RunOptions {
  session?: string;
  on?: string[];
  node?: boolean;
  timeout?: number;
  cwd?: string;
  env?: Record<string, string>;
  secret?: string[];
  stdin?: boolean;
  detach?: boolean;
  json?: boolean;
  gateway?: string;
}

export const runCommand = (context: CliContext) =>
  new Command("run")
    .summary("run code in a session and stream its output")
    .description(
      "Runs shell text, or JavaScript with --node, and exits with its exit code: 124 after a timeout, 125 when cerver itself failed. With --detach it prints the id of a run that goes on by itself.",
    )
    .argument("<code>", "the text to run; - reads it from stdin")
    .option(
      "--session <id>",
      "the session to run in; a new one that is ended afterwards when left out, or stays with --detach",
    )
    .option(
      "--on <machine>",
      "where a new session runs: a compute by its id or name, or a label it must carry, such as gpu=yes; labels may be given again",
      collect,
    )
    .option("--node", "run the text as an ES module with Node")
    .option(
      "--timeout <time>",
      "end the whole process tree after this time, such as 30s or 5m (default: 30s, or 1h with --detach)",
      seconds,
    )
    .option("--cwd <folder>", "working folder inside the session's")
    .option("-e, --env <name=value>", "set a variable for this run; may be given again", collectVariables)
    .option(
      "--secret <name>",
      "give the run a secret of the machine it runs on, as a variable of that name; may be given again",
      (name: string, before: string[] = []) => [...before, name],
    )
    .option("-i, --stdin", "send this command's stdin along")
    .option("-d, --detach", "start a run in the background, print its id, and leave it to itself")
    .option("--json", "print the answer as JSON when the run is over; with --detach, its record at once")
    .option(...GATEWAY_OPTION)
    .addHelpText(
      "after",
      "\nExamples:\n  $ cerver run 'node -v'\n  $ cerver run --session sess_123 --timeout 5m 'npm test'\n  $ cerver run --on gpu=yes 'nvidia-smi'\n  $ cerver run --detach --timeout 8h './train.sh'\n  $ cerver run --secret STRIPE_KEY 'node charge.mjs'\n  $ echo 'console.log(6 * 7)' | cerver run --node -",
    )
    .action((code: string, options: RunOptions) => runCode(context, code, options));

async function runCode(context: CliContext, code: string, options: RunOptions): Promise<void> {
  const { process } = context;
  if (code === "-" && options.stdin) {
    throw new CerverError("invalid_request", "stdin cannot be both the code and its input.", {
      hint: "Give the code as an argument to use --stdin.",
    });
  }
  if (options.on && options.session) {
    throw new CerverError("invalid_request", "--on chooses for a new session, and --session names one.", {
      hint: "Leave one of them out. `cerver move` takes a session to another machine.",
    });
  }
  const text = code === "-" ? await readAll(process.stdin) : code;
  const client = await context.client(options.gateway);
  const interrupt = new AbortController();
  process.once("SIGINT", () => interrupt.abort());
  process.once("SIGTERM", () => interrupt.abort());
  const sessionId = options.session
    ? await resolveSession(client, options.session)
    : (
        await client.createSession({
          session_name: firstLine(text),
          metadata: { source: "cerver-cli" },
          ...(await whereToRun(client, options.on ?? [])),
        })
      ).session_id;
  const request: RunRequestInput = {
    code: text,
    ...(options.node && { runtime: "node" as const }),
    ...(options.timeout !== undefined && { timeout: options.timeout }),
    ...(options.cwd !== undefined && { cwd: options.cwd }),
    ...(options.env && { envs: options.env }),
    ...(options.secret && { secrets: options.secret }),
    ...(options.stdin && { stdin: await readAll(process.stdin) }),
  };
  if (options.detach) return detach(context, client, sessionId, request, options);
  try {
    process.exitCode = options.json
      ? await runAndPrint(context, client, sessionId, request, interrupt.signal)
      : await runAndStream(context, client, sessionId, request, interrupt.signal);
  } catch (error) {
    if (!interrupt.signal.aborted) throw error;
    process.exitCode = EXIT.interrupted;
  } finally {
    // A session of one's own goes with its run; a failure to say goodbye changes nothing about the run.
    if (!options.session) await client.closeSession(sessionId).catch(() => {});
  }
}

/** Starts a run that nobody waits for. A session that was made for it stays, since it ends with its session. */
async function detach(
  { out }: CliContext,
  client: GatewayClient,
  sessionId: string,
  request: RunRequestInput,
  { json, session }: RunOptions,
): Promise<void> {
  const run = await client.startRun(sessionId, request).catch(async (error: unknown) => {
    if (!session) await client.closeSession(sessionId).catch(() => {});
    throw error;
  });
  if (json) return out.json(run);
  out.line(run.run_id);
  out.say(`It runs in session ${sessionId}. Follow it:  cerver logs -f ${run.run_id}`);
  out.say(`End it:  cerver kill ${run.run_id}`);
}

async function runAndStream(
  { out }: CliContext,
  client: GatewayClient,
  sessionId: string,
  request: RunRequestInput,
  signal: AbortSignal,
): Promise<number> {
  const onBreak = () => out.say("cerver: the connection to the gateway broke; looking for the run again.");
  return printEvents(out, client.runStream(sessionId, request, signal, { onBreak }));
}

async function runAndPrint(
  { out }: CliContext,
  client: GatewayClient,
  sessionId: string,
  request: RunRequestInput,
  signal: AbortSignal,
): Promise<number> {
  const answer = await client.run(sessionId, request, signal);
  out.json(answer);
  return exitCode(answer.status, answer.result.exit_code);
}

async function readAll(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}

function firstLine(code: string): string {
  return code.trim().split("\n", 1)[0]!.slice(0, 48) || "run";
}
