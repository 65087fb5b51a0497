import { Command } from "commander";
import { CerverError } from "../../protocol/errors.js";
import type { ConnectionState } from "../../relay/connection.js";
import type { RelayMessage } from "../../relay/daemon/relay-process.js";
import type { CliContext } from "../context.js";
import { addComputeOptions, type ComputeOptions, GATEWAY_OPTION } from "../options.js";
import { untilStopped } from "../until-stopped.js";

interface RelayOptions extends ComputeOptions {
  gateway?: string;
}

export const relayCommand = (context: CliContext) =>
  addComputeOptions(new Command("relay"))
    .summary("make this machine a compute of your account")
    .description(
      "Makes this machine a private compute of your account: logs in through the browser, registers, and keeps a connection open. No port is opened here.",
    )
    .option(...GATEWAY_OPTION)
    .addHelpText(
      "after",
      "\nExamples:\n  $ cerver relay\n  $ CERVER_API_TOKEN=ck_… cerver relay --name mac-mini --allow-dir ~/work",
    )
    .action(async (options: RelayOptions) => {
      const { env } = context;
      const { relayConfig } = await import("../../relay/config.js");
      const { startRelay } = await import("../../relay/start.js");
      const { hasDisplay, openBrowser } = await import("../../login/open-browser.js");
      const { gatewayUrl, token, tokenFrom } = await context.gateway(options.gateway);
      const given = await givenToken(context, tokenFrom === "env" ? token : undefined);
      const abort = new AbortController();
      // Ctrl-C ends this machine's runs; what stops a service leaves them to the next relay, which finds them again.
      void untilStopped(context).then((signal) =>
        abort.abort({ leaveRuns: signal !== "SIGINT" && !context.process.send }),
      );
      const report = reporter(context, abort);
      report.begins(gatewayUrl);
      const relay = await startRelay(
        relayConfig(
          {
            gatewayUrl,
            token: given,
            name: options.name,
            maxRuns: options.maxRuns,
            allowDirs: options.allowDir,
            allowEnv: options.allowEnv,
          },
          env,
        ),
        {
          credentials: await context.credentials(),
          openBrowser: (url) => openBrowser(url, env),
          hasDisplay: hasDisplay(env),
          say: report.say,
          signal: abort.signal,
          onState: report.onState,
        },
      ).catch((error: unknown) => {
        if (abort.signal.aborted) context.process.exit(0);
        throw report.failed(error);
      });
      report.ready(relay.computeId);
      await relay.done.catch((error: unknown) => {
        throw report.failed(error);
      });
      context.process.exit(0);
    });

/**
 * The token to register with: what the process that started this relay sends, or what the environment holds. What the
 * user stored is for commands; a relay has a credential of its own.
 */
async function givenToken({ process }: CliContext, fromEnv: string | undefined): Promise<string | undefined> {
  if (!process.send) return fromEnv;
  const { tokenFromParent } = await import("../../relay/daemon/relay-process.js");
  return tokenFromParent(process);
}

/** Tells how it goes: the person at the terminal, or the process that this relay belongs to. */
function reporter({ process, out }: CliContext, abort: AbortController) {
  const tell = process.send && ((message: RelayMessage) => process.send!(message, () => {}));
  if (!tell) {
    return {
      begins: (gatewayUrl: string) => out.say(`Gateway: ${gatewayUrl}`),
      say: (line: string) => out.say(line),
      onState: (state: ConnectionState) => {
        if (state.state === "connected")
          out.say("Connected. This machine is a compute now; Ctrl-C detaches it.");
        if (state.state === "waiting")
          out.say(`Not connected: ${state.why}. Next try in ${(state.waitMs / 1000).toFixed(1)} s.`);
      },
      ready: (computeId: string) => out.say(`Compute: ${computeId}`),
      failed: (error: unknown) => error,
    };
  }
  // The other process died: what runs here is found again by the next one, or ends in its time.
  process.on("disconnect", () => abort.abort({ leaveRuns: true }));
  return {
    begins: () => {},
    say: (line: string) => tell({ type: "say", line }),
    onState: (state: ConnectionState) => tell({ type: "state", state }),
    ready: (computeId: string) => tell({ type: "ready", computeId }),
    failed: (error: unknown) => {
      if (!(error instanceof CerverError)) return error;
      tell({ type: "failed", error: error.toBody() });
      // The other process says it: once is enough.
      return process.exit(1);
    },
  };
}
