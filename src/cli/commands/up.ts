import { basename, join, relative } from "node:path";
import { Command } from "commander";
import type { Gateway } from "../../gateway/start.js";
import { CerverError } from "../../protocol/errors.js";
import type { CliContext } from "../context.js";
import { openMcpEndpoint } from "../mcp-endpoint.js";
import { addComputeOptions, type ComputeOptions, computeSettings, port } from "../options.js";
import { untilStopped } from "../until-stopped.js";

interface UpOptions extends ComputeOptions {
  port?: number;
  dataDir?: string;
  open: boolean;
  auth: boolean;
  json?: boolean;
}

export const upCommand = (context: CliContext) =>
  addComputeOptions(new Command("up"))
    .summary("start a gateway and attach this machine to it")
    .description(
      "Starts a gateway on this machine, attaches the machine to it as a compute, and says how to use both.",
    )
    .option("--port <port>", "port to listen on; the next free one when it is taken (default: 8787)", port)
    .option("--data-dir <folder>", "where the database is kept (default: $XDG_DATA_HOME/cerver)")
    .option("--no-auth", "whoever is on this machine needs no token; for trying things out")
    .option("--no-open", "do not open the web page in a browser")
    .option("--json", "print one line of JSON when ready")
    .addHelpText("after", "\nExamples:\n  $ cerver up\n  $ cerver up --port 9000 --no-open --json")
    .action((options: UpOptions) => up(context, options));

async function up(context: CliContext, options: UpOptions): Promise<void> {
  const { isLock, takeLock } = await import("../../util/lock-file.js");
  const { gatewayConfig } = await import("../../gateway/config.js");
  const { env, out, paths } = context;
  const stopped = untilStopped(context);
  const wantedPort = options.port ?? 8787;
  const config = gatewayConfig(
    {
      port: wantedPort,
      portFallback: true,
      noAuth: !options.auth,
      ...(options.dataDir && { dataDir: options.dataDir }),
    },
    env,
  );
  const lock = await takeLock(join(config.dataDir, "up.lock"), "starting").catch(cannotWrite(config.dataDir));
  if (!isLock(lock)) {
    throw new CerverError(
      "conflict",
      `The data in ${config.dataDir} is held by process ${lock.pid}, since ${lock.since}.`,
      {
        hint: `That cerver is ${lock.note}. Stop it first, or give this one its own folder with --data-dir.`,
      },
    );
  }
  try {
    const { startGateway } = await import("../../gateway/start.js");
    const gateway = await startGateway(config, { mcp: openMcpEndpoint });
    try {
      if (gateway.port !== wantedPort && wantedPort !== 0) {
        out.say(`Port ${wantedPort} is taken, so the gateway is on port ${gateway.port}.`);
      }
      await lock.note(`at ${gateway.url}`);
      const { ownToken } = await import("../own-token.js");
      const token = await ownToken(context, gateway, config.dataDir);
      const relay = await attach(context, options, gateway, token);
      try {
        const dashboardUrl = await gateway.createSigninLink();
        if (options.json) {
          out.line(
            JSON.stringify({
              gateway_url: gateway.url,
              api_token: token,
              compute_id: relay.computeId,
              dashboard_url: dashboardUrl,
            }),
          );
        } else {
          welcome(context, {
            ...gateway,
            dashboardUrl,
            token,
            computeId: relay.computeId,
            dataDir: config.dataDir,
            name: relay.name,
            program: programName(context),
          });
          if (options.open && out.isTerminal) {
            const { openBrowser } = await import("../../login/open-browser.js");
            await openBrowser(dashboardUrl, env);
          }
        }
        await Promise.race([stopped, relay.done]);
      } finally {
        await relay.stop();
      }
    } finally {
      await gateway.stop();
    }
  } finally {
    await lock.release();
  }
  // Nothing is left to run; a handle that some library keeps must not keep the process.
  context.process.exit(0);

  function cannotWrite(folder: string) {
    return (error: NodeJS.ErrnoException): never => {
      throw new CerverError(
        "forbidden",
        `The data folder ${folder} cannot be written (${error.code ?? error.message}).`,
        {
          hint: `Choose another with --data-dir, or change who owns that one. The default is ${paths.data}.`,
          cause: error,
        },
      );
    };
  }
}

async function attach(context: CliContext, options: UpOptions, gateway: Gateway, token: string) {
  const { env, out } = context;
  const { relayConfig } = await import("../../relay/config.js");
  const { startRelay } = await import("../../relay/start.js");
  const { hasDisplay } = await import("../../login/open-browser.js");
  const config = relayConfig(
    {
      gatewayUrl: gateway.url,
      token,
      ...computeSettings(options),
    },
    env,
  );
  const relay = await startRelay(config, {
    credentials: await context.credentials(),
    openBrowser: async () => false,
    hasDisplay: hasDisplay(env),
    say: (line) => out.say(line),
    onState: () => {},
    localLink: (computeId) => gateway.localLink(computeId),
  });
  return { ...relay, name: config.name };
}

interface Ready {
  url: string;
  dashboardUrl: string;
  token: string;
  computeId: string;
  dataDir: string;
  name: string;
  /** How this program is called here. */
  program: string;
}

/** `cerver` when it was installed under that name; else what was typed to start it. */
function programName({ process, cwd }: CliContext): string {
  const script = process.argv[1]!;
  return basename(script) === "cerver" ? "cerver" : `node ${relative(cwd, script) || script}`;
}

function welcome({ out }: CliContext, ready: Ready): void {
  const auth = `-H "Authorization: Bearer ${ready.token}"`;
  out.line();
  out.line(`  ${out.bold("cerver is up.")}`);
  out.line();
  out.line(`  Gateway   ${ready.url}`);
  out.line(`  Compute   ${ready.name}  ${out.dim(ready.computeId)}`);
  out.line(`  Web page  ${ready.dashboardUrl}`);
  out.line(`  Data      ${ready.dataDir}`);
  out.line();
  out.line("  In another terminal:");
  out.line();
  out.line(`    ${ready.program} run 'echo hello from cerver && node -v'`);
  out.line();
  out.line("  or, from anything that speaks HTTP:");
  out.line();
  out.line(`    SESSION=$(curl -s ${ready.url}/v2/sessions ${auth} \\`);
  out.line(
    `      -H "Content-Type: application/json" -d '{"task": "Try it"}' | sed 's/.*"session_id":"\\([^"]*\\)".*/\\1/')`,
  );
  out.line(`    curl -s ${ready.url}/v2/sessions/$SESSION/run ${auth} \\`);
  out.line(`      -H "Content-Type: application/json" -d '{"code": "echo hello from cerver && node -v"}'`);
  out.line();
  out.line("  Ctrl-C stops both, and everything that runs.");
  out.line();
}
