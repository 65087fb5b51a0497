import { Command, Option } from "commander";
import { DIRECT_PORT } from "../../protocol/direct.js";
import { CerverError } from "../../protocol/errors.js";
import { type AsService, asService } from "../as-service.js";
import type { CliContext } from "../context.js";
import {
  addComputeOptions,
  type ComputeOptions,
  collect,
  computeSettings,
  GATEWAY_OPTION,
} from "../options.js";
import { untilStopped } from "../until-stopped.js";
import { relayLogsCommand } from "./relay-logs.js";
import { relayServiceCommand } from "./relay-service.js";
import { relayStatusCommand } from "./relay-status.js";
import { gatewayFor } from "./sync.js";

interface RelayOptions extends ComputeOptions {
  gateway?: string;
  listen?: string | true;
  listenName?: string[];
  printToken?: boolean;
  sync?: boolean;
  service?: "systemd" | "launchd";
}

export const relayCommand = (context: CliContext) =>
  addComputeOptions(new Command("relay"))
    .summary("make this machine a compute of your account")
    .description(
      "Makes this machine a private compute of your account: logs in through the browser, registers, and keeps a connection open. No port is opened here.",
    )
    .option(...GATEWAY_OPTION)
    .option(
      "--listen [address]",
      "serve gateways that come to this port or HOST:PORT (default: 127.0.0.1:18081), and connect to none",
    )
    .option(
      "--listen-name <name>",
      "with --listen: a name it may be called under; may be given again",
      collect,
    )
    .option("--sync", "also keep the transcripts of this machine's agents, as `cerver sync` does")
    .option("--print-token", "with --listen: print the token that gateways need")
    .addOption(
      new Option("--service <manager>", "how `cerver relay service` starts it")
        .choices(["systemd", "launchd"])
        .hideHelp(),
    )
    .addCommand(relayServiceCommand(context))
    .addCommand(relayStatusCommand(context))
    .addCommand(relayLogsCommand(context))
    .addHelpText(
      "after",
      "\nExamples:\n  $ cerver relay\n  $ cerver relay service install    keep it running from now on\n  $ CERVER_API_TOKEN=ck_… cerver relay --name mac-mini --allow-dir ~/work\n  $ cerver relay --listen --print-token    for a gateway with P69_BASE_URL and P69_API_TOKEN",
    )
    .action(async (options: RelayOptions) => {
      if (options.listen !== undefined) return listen(context, options, options.listen);
      if (options.printToken || options.listenName)
        throw new CerverError("invalid_request", "--print-token and --listen-name belong to --listen.");
      const service = options.service && (await asService(context, options.service));
      return service ? serve(context, options, service).catch(service.end) : serve(context, options);
    });

/** Serves one gateway until it is told to stop. */
async function serve(context: CliContext, options: RelayOptions, service?: AsService): Promise<void> {
  const { env, out } = context;
  const say = service ? service.say : (line: string) => out.say(line);
  const { relayConfig } = await import("../../relay/config.js");
  const { startRelay } = await import("../../relay/start.js");
  const { hasDisplay, openBrowser } = await import("../../login/open-browser.js");
  const { gatewayUrl, token, tokenFrom } = await context.namedGateway(options.gateway);
  const abort = new AbortController();
  // Ctrl-C ends this machine's runs; what stops a service leaves them to the next relay, which finds them again.
  void untilStopped(context).then((signal) => abort.abort({ leaveRuns: signal !== "SIGINT" }));
  say(`Gateway: ${gatewayUrl}`);
  const relay = await startRelay(
    relayConfig(
      {
        gatewayUrl,
        // What the user stored is for commands; a relay has a credential of its own.
        token: tokenFrom === "env" ? token : undefined,
        ...computeSettings(options),
      },
      env,
    ),
    {
      credentials: await context.credentials({ unattended: service !== undefined }),
      openBrowser: (url) => openBrowser(url, env),
      hasDisplay: hasDisplay(env),
      say,
      signal: abort.signal,
      ...(service && { service: options.service, logger: service.logger }),
      onState: (state) => {
        if (state.state === "connected")
          say(`Connected. This machine is a compute now${service ? "." : "; Ctrl-C detaches it."}`);
        if (state.state === "waiting")
          say(`Not connected: ${state.why}. Next try in ${(state.waitMs / 1000).toFixed(1)} s.`);
      },
    },
  ).catch((error: unknown) => {
    if (abort.signal.aborted) context.process.exit(0);
    throw error;
  });
  say(`Compute: ${relay.computeId}`);
  if (options.sync) void sync(context, options.gateway, abort.signal);
  await relay.done;
  context.process.exit(0);
}

/** Follows this machine's transcripts beside the relay. A relay without them is still one. */
async function sync(context: CliContext, flag: string | undefined, signal: AbortSignal): Promise<void> {
  const { out, env } = context;
  try {
    const { syncConfig } = await import("../../sync/config.js");
    const { followSync } = await import("../../sync/start.js");
    await followSync(syncConfig(env), {
      ...(await gatewayFor(context, flag)),
      signal,
      onPass: ({ entries, sessions }) => {
        if (entries > 0) out.say(`Sync: sent ${entries} entries of ${sessions} sessions.`);
      },
      onWaiting: (why) => out.say(`Sync: ${why}`),
    });
  } catch (error) {
    const { message, hint } = error as CerverError;
    out.say(`Sync has ended: ${message}${hint ? ` ${hint}` : ""}`);
  }
}

/** `cerver relay --listen`: gateways come here. */
async function listen(context: CliContext, options: RelayOptions, address: string | true): Promise<void> {
  const { env, out } = context;
  if (options.gateway !== undefined) {
    throw new CerverError("invalid_request", "With --listen this machine connects to no gateway.", {
      hint: "Leave out --gateway, or leave out --listen.",
    });
  }
  if (options.sync) {
    throw new CerverError(
      "invalid_request",
      "With --listen this machine has no gateway to send transcripts to.",
      {
        hint: "Leave out --sync, and run `cerver sync --gateway URL` beside it.",
      },
    );
  }
  const { relayConfig } = await import("../../relay/config.js");
  const { startListening } = await import("../../relay/start.js");
  const { hasDisplay } = await import("../../login/open-browser.js");
  const abort = new AbortController();
  void untilStopped(context).then((signal) => abort.abort({ leaveRuns: signal !== "SIGINT" }));
  const relay = await startListening(
    relayConfig(
      {
        listen: address === true ? String(DIRECT_PORT) : address,
        listenNames: options.listenName,
        ...computeSettings(options),
      },
      env,
    ),
    { hasDisplay: hasDisplay(env), signal: abort.signal },
  );
  out.say(`Listening: ${relay.url}`);
  out.say(
    relay.tokenFile === undefined
      ? "Token: from P69_API_TOKEN"
      : `Token: kept in ${relay.tokenFile}, as P69_API_TOKEN`,
  );
  if (options.printToken) out.line(relay.token);
  if (!isLoopbackUrl(relay.url))
    out.say("This is plain HTTP: on a network that others use, put TLS in front of it.");
  await relay.done;
  context.process.exit(0);
}

function isLoopbackUrl(url: string): boolean {
  return /^(?:localhost|127\..*|\[::1\])$/.test(new URL(url).hostname);
}
