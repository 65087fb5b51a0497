import { Command } from "commander";
import type { CliContext } from "../context.js";
import { openMcpEndpoint } from "../mcp-endpoint.js";
import { port } from "../options.js";
import { untilStopped } from "../until-stopped.js";

interface GatewayOptions {
  host?: string;
  port?: number;
  dataDir?: string;
  publicUrl?: string;
  auth: boolean;
}

/** `cerver gateway rotate-key`. */
const rotateKeyCommand = (context: CliContext) =>
  new Command("rotate-key")
    .summary("seal the credentials of cloud providers with a new master key")
    .description(
      "Makes a new key in the key file and seals every credential with it, while the gateway runs or not. With CERVER_MASTER_KEY, put the new key in front of the old one there, separated by a comma, and run this.",
    )
    .option("--data-dir <folder>", "where the database is kept (default: $XDG_DATA_HOME/cerver)")
    .addHelpText("after", "\nExample:\n  $ cerver gateway rotate-key")
    .action(async (options: Pick<GatewayOptions, "dataDir">) => {
      const { gatewayConfig } = await import("../../gateway/config.js");
      const { rotateMasterKey } = await import("../../gateway/rotate-key.js");
      const count = await rotateMasterKey(gatewayConfig(options, context.env));
      context.out.line(
        `Sealed anew: ${count} ${count === 1 ? "provider's credentials" : "providers' credentials"}.`,
      );
    });

export const gatewayCommand = (context: CliContext) =>
  new Command("gateway")
    .summary("run the session API")
    .description("Runs the session API. Computes attach to it with `cerver relay`.")
    .option("--host <address>", "address to listen on (default: 127.0.0.1)")
    .option("--port <port>", "port to listen on (default: 8787)", port)
    .option("--data-dir <folder>", "where the database is kept (default: $XDG_DATA_HOME/cerver)")
    .option("--public-url <url>", "the address others reach it under, when it is behind a proxy")
    .option("--no-auth", "no tokens: one local account for whoever is on this machine; loopback only")
    .addHelpText(
      "after",
      "\nExamples:\n  $ cerver gateway --port 9000\n  $ CERVER_DATABASE_URL=postgres://localhost/cerver cerver gateway",
    )
    .action(async ({ auth, ...options }: GatewayOptions) => {
      const { gatewayConfig } = await import("../../gateway/config.js");
      const { startGateway } = await import("../../gateway/start.js");
      const { out } = context;
      const stopped = untilStopped(context);
      const config = gatewayConfig({ ...options, noAuth: !auth }, context.env);
      const gateway = await startGateway(config, { mcp: openMcpEndpoint });
      out.line(`Gateway   ${gateway.publicUrl}`);
      if (auth) {
        out.line(`Web page  ${await gateway.createSigninLink()}`);
        const { ownToken } = await import("../own-token.js");
        await ownToken(context, gateway, config.dataDir);
        out.line(`Attach    cerver relay --gateway ${gateway.publicUrl}`);
      } else {
        out.line("Tokens    none are needed (--no-auth): whoever is on this machine has full access");
      }
      await stopped;
      await gateway.stop();
      context.process.exit(0);
    })
    .addCommand(rotateKeyCommand(context));
