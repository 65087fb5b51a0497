import { Command } from "commander";
import { CerverError } from "../../protocol/errors.js";
import type { CliContext } from "../context.js";
import { hiddenPrompt } from "../hidden-prompt.js";
import { GATEWAY_OPTION, JSON_OPTION } from "../options.js";

interface Options {
  json?: boolean;
  gateway?: string;
}

/** `cerver provider ls`. */
export const providerListCommand = (context: CliContext) =>
  new Command("ls")
    .summary("list providers: what this account can use now, and what is missing")
    .option(...JSON_OPTION)
    .option(...GATEWAY_OPTION)
    .action(async ({ json, gateway }: Options) => {
      const { out } = context;
      const { providers } = await (await context.client(gateway)).providers();
      if (json) return out.json({ providers });
      out.table(
        ["PROVIDER", "LABEL", "USABLE", "WHY"],
        providers.map(({ provider, label, executable, reason }) => [
          provider,
          label,
          executable ? "yes" : "no",
          reason,
        ]),
      );
    });

/** `cerver provider enable NAME`. */
export const providerEnableCommand = (context: CliContext) =>
  new Command("enable")
    .summary("let sessions use a cloud provider, with credentials of your own")
    .description(
      "Gives the gateway this account's credentials for a provider; the vendor is asked whether they work before they are kept, sealed. They are read from the environment, as the vendor's own tools call them (E2B_API_KEY, VERCEL_TOKEN, CLOUDFLARE_SANDBOX_URL and CLOUDFLARE_SANDBOX_KEY), or asked for on the terminal: never from the command line.",
    )
    .argument("<name>", "e2b, vercel or cloudflare")
    .option(...JSON_OPTION)
    .option(...GATEWAY_OPTION)
    .addHelpText(
      "after",
      "\nExamples:\n  $ E2B_API_KEY=e2b_… cerver provider enable e2b\n  $ cerver provider enable vercel      asks for the token",
    )
    .action(async (name: string, { json, gateway }: Options) => {
      const { out } = context;
      const client = await context.client(gateway);
      const { providers } = await client.providers();
      const profile = providers.find(({ provider }) => provider === name)?.profile;
      const names = profile?.credentials ?? [];
      if (names.length === 0) {
        const known = providers
          .filter((one) => (one.profile?.credentials ?? []).length > 0)
          .map(({ provider }) => provider);
        throw new CerverError("invalid_request", `"${name}" is not a provider that takes credentials.`, {
          hint: `Those that do: ${known.join(", ")}.`,
        });
      }
      const credentials = await credentialsFor(context, names);
      const enabled = await client.enableProvider({ provider: name, credentials });
      if (json) return out.json(enabled);
      out.line(
        `${enabled.label} is enabled: sessions may go there, or ask for it as ${enabled.target_compute_id}.`,
      );
    });

/** `cerver provider disable NAME`. */
export const providerDisableCommand = (context: CliContext) =>
  new Command("disable")
    .summary("forget this account's credentials for a provider")
    .argument("<name>", "the provider")
    .option(...GATEWAY_OPTION)
    .action(async (name: string, { gateway }: Options) => {
      await (await context.client(gateway)).disableProvider(name);
      context.out.line(
        `The credentials for ${name} are gone. Sandboxes that are there go on until their own deadline.`,
      );
    });

/** What the environment holds of these, under the names in capitals; the first is asked for where it is missing. */
async function credentialsFor(
  context: CliContext,
  names: readonly string[],
): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const name of names) {
    const value = context.env[name.toUpperCase()];
    if (value) found[name] = value;
  }
  if (Object.keys(found).length > 0) return found;
  for (const name of names) {
    const value = await hiddenPrompt(context, `${name} (Enter to leave out)`);
    if (value) found[name] = value;
  }
  if (Object.keys(found).length > 0) return found;
  throw new CerverError("invalid_request", "There are no credentials to give.", {
    hint: `Set ${names.map((name) => name.toUpperCase()).join(", ")}, or run this on a terminal to be asked.`,
  });
}
