import { hostname } from "node:os";
import { Command, Option } from "commander";
import { CerverError } from "../../protocol/errors.js";
import { SCOPES, type Scope } from "../../protocol/scopes.js";
import type { CliContext } from "../context.js";
import { GATEWAY_OPTION, JSON_OPTION } from "../options.js";

export const loginCommand = (context: CliContext) =>
  new Command("login")
    .summary("log in to a gateway through the browser")
    .option(...GATEWAY_OPTION)
    .addOption(new Option("--scope <scope>", "what the token may do").choices([...SCOPES]).default("run"))
    .addHelpText("after", "\nExample:\n  $ cerver login --gateway https://cerver.example.com")
    .action(async (options: { gateway?: string; scope: Scope }) => {
      const { env, out, paths } = context;
      const { GatewayClient } = await import("../../client/gateway-client.js");
      const { deviceLogin } = await import("../../login/device-login.js");
      const { openBrowser } = await import("../../login/open-browser.js");
      const { apiKey } = await import("../../login/credential-store.js");
      const { readUserConfig, writeUserConfig } = await import("../../login/user-config.js");
      const { gatewayUrl } = await context.namedGateway(options.gateway);
      const abort = new AbortController();
      context.process.once("SIGINT", () =>
        abort.abort(new CerverError("timed_out", "The login was interrupted.")),
      );
      const { token } = await deviceLogin({
        client: new GatewayClient({ gatewayUrl }),
        machineName: hostname(),
        scopes: [options.scope],
        openBrowser: (url) => openBrowser(url, env),
        say: (line) => out.say(line),
        signal: abort.signal,
      }).catch((error: unknown) => {
        throw abort.signal.aborted ? abort.signal.reason : error;
      });
      const credentials = await context.credentials();
      const where = await credentials.set(apiKey(gatewayUrl), token);
      await writeUserConfig(paths.config, {
        ...(await readUserConfig(paths.config)),
        gateway_url: gatewayUrl,
        gateway_set_by: "login",
      });
      out.say(`Logged in to ${gatewayUrl}. The token is in ${where}.`);
    });

export const logoutCommand = (context: CliContext) =>
  new Command("logout")
    .summary("revoke this machine's token and forget it")
    .option(...GATEWAY_OPTION)
    .addHelpText("after", "\nExample:\n  $ cerver logout")
    .action(async ({ gateway }: { gateway?: string }) => {
      const { out } = context;
      const { GatewayClient } = await import("../../client/gateway-client.js");
      const { apiKey } = await import("../../login/credential-store.js");
      const { gatewayUrl } = await context.namedGateway(gateway);
      const credentials = await context.credentials();
      const token = await credentials.get(apiKey(gatewayUrl));
      if (token === undefined)
        return out.say(`No token for ${gatewayUrl} is kept here, so there is nothing to do.`);
      const revoked = await new GatewayClient({ gatewayUrl, token }).revokeKey(token).then(
        () => true,
        (error: unknown) => error instanceof CerverError && error.code === "unauthenticated",
      );
      await credentials.delete(apiKey(gatewayUrl));
      out.say(
        revoked
          ? `Logged out of ${gatewayUrl}: the token is revoked and forgotten.`
          : `The token for ${gatewayUrl} is forgotten here, but the gateway could not be told. Revoke it there when it is back.`,
      );
    });

export const whoamiCommand = (context: CliContext) =>
  new Command("whoami")
    .summary("say which gateway and account commands use")
    .option(...JSON_OPTION)
    .option(...GATEWAY_OPTION)
    .addHelpText("after", "\nExample:\n  $ cerver whoami")
    .action(async ({ json, gateway }: { json?: boolean; gateway?: string }) => {
      const { out } = context;
      const choice = await context.gateway(gateway);
      const who = await (await context.client(gateway)).whoami();
      const answer = {
        gateway_url: choice.gatewayUrl,
        gateway_from: choice.from,
        token_from: choice.tokenFrom,
        account_id: who.account_id,
        scopes: who.scopes,
      };
      if (json) return out.json(answer);
      out.line(`Gateway  ${answer.gateway_url}  ${out.dim(`(${choice.from})`)}`);
      out.line(`Account  ${answer.account_id ?? "unknown"}`);
      out.line(
        `Scopes   ${answer.scopes?.join(", ") ?? "unknown"}  ${out.dim(`(token: ${choice.tokenFrom})`)}`,
      );
    });
