import { once } from "node:events";
import type { Readable, Writable } from "node:stream";
import { Command } from "commander";
import type { GatewayClient } from "../../client/gateway-client.js";
import { CerverError } from "../../protocol/errors.js";
import type { RunEvent, RunRequestInput } from "../../protocol/runs.js";
import type { CliContext } from "../context.js";
import { EXIT } from "../exit-codes.js";
import { collectVariables, GATEWAY_OPTION, seconds } from "../options.js";
import { resolveSession } from "../resolve-session.js";

interface RunOptions {
  session?: string;
  node?: boolean;
  timeout?: number;
  cwd?: string;
  env?: Record<string, string>;
  stdin?: boolean;
  json?: boolean;
  gateway?: string;
}

export const runCommand = (context: CliContext) =>
  new Command("run")
    .summary("run code in a session and stream its output")
    .description(
      "Runs shell text, or JavaScript with --node, and exits with its exit code: 124 after a timeout, 125 when cerver itself failed.",
    )
    .argument("<code>", "the text to run; - reads it from stdin")
    .option("--session <id>", "the session to run in; a new one that is ended afterwards when left out")
    .option("--node", "run the text as an ES module with Node")
    .option(
      "--timeout <time>",
      "end the whole process tree after this time, such as 30s or 5m (default: 30s)",
      seconds,
    )
    .option("--cwd <folder>", "working folder inside the session's")
    .option("-e, --env <name=value>", "set a variable for this run; may be given again", collectVariables)
    .option("-i, --stdin", "send this command's stdin along")
    .option("--json", "print the answer as JSON when the run is over")
    .option(...GATEWAY_OPTION)
    .addHelpText(
      "after",
      "\nExamples:\n  $ cerver run 'node -v'\n  $ cerver run --session sess_123 --timeout 5m 'npm test'\n  $ echo 'console.log(6 * 7)' | cerver run --node -",
    )
    .action((code: string, options: RunOptions) => runCode(context, code, options));

async function runCode(context: CliContext, code: string, options: RunOptions): Promise<void> {
  const { process } = context;
  if (code === "-" && options.stdin) {
    throw new CerverError("invalid_request", "stdin cannot be both the code and its input.", {
      hint: "Give the code as an argument to use --stdin.",
    });
  }
  const text = code === "-" ? await readAll(process.stdin) : code;
  const client = await context.client(options.gateway);
  const interrupt = new AbortController();
  process.once("SIGINT", () => interrupt.abort());
  process.once("SIGTERM", () => interrupt.abort());
  const sessionId = options.session
    ? await resolveSession(client, options.session)
    : (await client.createSession({ session_name: firstLine(text), metadata: { source: "cerver-cli" } }))
        .session_id;
  const request: RunRequestInput = {
    code: text,
    ...(options.node && { runtime: "node" as const }),
    ...(options.timeout !== undefined && { timeout: options.timeout }),
    ...(options.cwd !== undefined && { cwd: options.cwd }),
    ...(options.env && { envs: options.env }),
    ...(options.stdin && { stdin: await readAll(process.stdin) }),
  };
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

async function runAndStream(
  { out }: CliContext,
  client: GatewayClient,
  sessionId: string,
  request: RunRequestInput,
  signal: AbortSignal,
): Promise<number> {
  for await (const event of client.runStream(sessionId, request, signal)) {
    if (event.type === "stdout") await write(out.stdout, bytesOf(event));
    if (event.type === "stderr") await write(out.stderr, bytesOf(event));
    if (event.type === "error") throw CerverError.fromBody(502, event);
    if (event.type === "exit") return exitCode(event.status, event.exit_code);
  }
  return EXIT.cerverFailed;
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

function exitCode(status: string, code: number | null): number {
  if (status === "timed_out") return EXIT.timedOut;
  return code ?? EXIT.cerverFailed;
}

function bytesOf(event: Extract<RunEvent, { data: string }>): Buffer {
  return Buffer.from(event.data, event.encoding ?? "utf8");
}

/** Writes no faster than the reader reads. */
async function write(stream: Writable, bytes: Buffer): Promise<void> {
  if (!stream.write(bytes)) await once(stream, "drain");
}

async function readAll(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}

function firstLine(code: string): string {
  return code.trim().split("\n", 1)[0]!.slice(0, 48) || "run";
}
