import { Command } from "commander";
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
      const { env, out } = context;
      const { relayConfig } = await import("../../relay/config.js");
      const { startRelay } = await import("../../relay/start.js");
      const { hasDisplay, openBrowser } = await import("../../login/open-browser.js");
      const { gatewayUrl, token, tokenFrom } = await context.gateway(options.gateway);
      const abort = new AbortController();
      // Ctrl-C ends this machine's runs; what stops a service leaves them to the next relay, which finds them again.
      void untilStopped(context).then((signal) => abort.abort({ leaveRuns: signal !== "SIGINT" }));
      out.say(`Gateway: ${gatewayUrl}`);
      const relay = await startRelay(
        relayConfig(
          {
            gatewayUrl,
            // What the user stored is for commands; a relay has a credential of its own.
            token: tokenFrom === "env" ? token : undefined,
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
          say: (line) => out.say(line),
          signal: abort.signal,
          onState: (state) => {
            if (state.state === "connected")
              out.say("Connected. This machine is a compute now; Ctrl-C detaches it.");
            if (state.state === "waiting")
              out.say(`Not connected: ${state.why}. Next try in ${(state.waitMs / 1000).toFixed(1)} s.`);
          },
        },
      ).catch((error: unknown) => {
        if (abort.signal.aborted) context.process.exit(0);
        throw error;
      });
      out.say(`Compute: ${relay.computeId}`);
      await relay.done;
      context.process.exit(0);
    });
