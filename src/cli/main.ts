import { basename } from "node:path";
import { Command, CommanderError } from "commander";
import { CerverError } from "../protocol/errors.js";
import { VERSION } from "../util/version.js";
import { auditCommand } from "./commands/audit.js";
import { completionCommand } from "./commands/completion.js";
import { computesCommand } from "./commands/computes.js";
import { doctorCommand } from "./commands/doctor.js";
import { exportCommand } from "./commands/export.js";
import { gatewayCommand } from "./commands/gateway.js";
import { importCommand } from "./commands/import.js";
import { killCommand } from "./commands/kill.js";
import { limitsCommand } from "./commands/limits.js";
import { loginCommand, logoutCommand, whoamiCommand } from "./commands/login.js";
import { attachCommand, logsCommand } from "./commands/logs.js";
import { mcpCommand } from "./commands/mcp.js";
import { peekCommand } from "./commands/peek.js";
import { portCommand } from "./commands/port.js";
import { providerCommand } from "./commands/provider.js";
import { relayCommand } from "./commands/relay.js";
import { moveCommand, pauseCommand, resumeCommand } from "./commands/rest.js";
import { routeCommand } from "./commands/route.js";
import { runCommand } from "./commands/run.js";
import { runsCommand } from "./commands/runs.js";
import { searchCommand } from "./commands/search.js";
import { secretsCommand } from "./commands/secrets.js";
import { sessionsCommand } from "./commands/sessions.js";
import { signinLinkCommand } from "./commands/signin-link.js";
import { stressTestCommand } from "./commands/stress-test.js";
import { syncCommand } from "./commands/sync.js";
import { upCommand } from "./commands/up.js";
import { whyCommand } from "./commands/why.js";
import { type CliContext, cliContext } from "./context.js";
import { EXIT } from "./exit-codes.js";

/** Runs the command line of a process, and leaves its exit code behind. */
export async function run(process: NodeJS.Process): Promise<void> {
  const context = cliContext(process);
  for (const stream of [process.stdout, process.stderr]) {
    // Whoever read the output has gone, as `| head` does: there is nobody left to tell.
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EPIPE") process.exit(process.exitCode ?? 0);
      throw error;
    });
  }
  // As `cerver-mcp` this is `cerver mcp`: what MCP clients are told to start.
  const asMcp = /^cerver-mcp(?:\.js|\.cmd)?$/.test(basename(process.argv[1] ?? ""));
  const args = asMcp ? ["mcp", ...process.argv.slice(2)] : process.argv.slice(2);
  try {
    await createProgram(context).parseAsync(args, { from: "user" });
  } catch (error) {
    process.exitCode = report(error, context, args[0]);
  }
}

/** Every verb, in the order of their help. */
function createProgram(context: CliContext): Command {
  const program = new Command("cerver")
    .description("Apps use sessions. Providers supply compute.")
    .version(VERSION, "-V, --version", "print the version")
    .helpOption("-h, --help", "print help; also: cerver help COMMAND")
    .showSuggestionAfterError()
    .showHelpAfterError("(run with --help for what there is)")
    .configureOutput({
      writeOut: (text) => context.out.stdout.write(text),
      writeErr: (text) => context.out.stderr.write(text),
    })
    .exitOverride()
    .addHelpText(
      "after",
      "\nStart here:\n  $ cerver up                  a gateway and this machine, together\n  $ cerver run 'echo hello'    in another terminal",
    );
  const commands = [
    upCommand,
    runCommand,
    runsCommand,
    logsCommand,
    attachCommand,
    killCommand,
    sessionsCommand,
    peekCommand,
    exportCommand,
    importCommand,
    searchCommand,
    pauseCommand,
    resumeCommand,
    moveCommand,
    whyCommand,
    portCommand,
    computesCommand,
    gatewayCommand,
    relayCommand,
    syncCommand,
    providerCommand,
    routeCommand,
    stressTestCommand,
    limitsCommand,
    auditCommand,
    mcpCommand,
    doctorCommand,
    secretsCommand,
    loginCommand,
    logoutCommand,
    whoamiCommand,
    signinLinkCommand,
    completionCommand,
  ];
  for (const make of commands) {
    const command = make(context);
    inheritSettings(command, program);
    program.addCommand(command);
  }
  return program;
}

function inheritSettings(command: Command, program: Command): void {
  command.copyInheritedSettings(program);
  for (const inner of command.commands) inheritSettings(inner, program);
}

/** Says what went wrong and what to do, and returns the exit code that stands for it. */
function report(error: unknown, { out, env }: CliContext, verb: string | undefined): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  // The code of these belongs to the command that was run: our own failures have one that none of them should use.
  const failed = ["run", "logs", "attach"].includes(verb ?? "") ? EXIT.cerverFailed : EXIT.failed;
  if (error instanceof CerverError) {
    out.say(`error: ${error.message}`);
    if (error.hint) out.say(`hint: ${error.hint}`);
    return failed;
  }
  if (["ENOSPC", "EDQUOT"].includes((error as NodeJS.ErrnoException)?.code ?? "")) {
    out.say("error: The disk is full, so cerver cannot write its files.");
    out.say("hint: Free some space where $XDG_STATE_HOME and $XDG_DATA_HOME are, then run it again.");
    return failed;
  }
  out.say(
    `error: something unexpected went wrong: ${error instanceof Error ? error.message : String(error)}`,
  );
  if (env.CERVER_LOG === "debug" && error instanceof Error) out.say(error.stack ?? "");
  else out.say("hint: run it again with CERVER_LOG=debug to see where.");
  return failed;
}
