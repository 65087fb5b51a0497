import { homedir } from "node:os";
import { Command, InvalidArgumentError, Option } from "commander";
import type { GatewayChoice } from "../../login/gateway-choice.js";
import type { ConfigScope } from "../../mcp-clients/clients.js";
import type { InstallPlan } from "../../mcp-clients/installation.js";
import type { Machine } from "../../mcp-clients/machine.js";
import type { ClientStatus, ConfigPlace } from "../../mcp-clients/status.js";
import { CerverError } from "../../protocol/errors.js";
import { confirm } from "../confirm.js";
import type { CliContext } from "../context.js";
import { EXIT } from "../exit-codes.js";
import { JSON_OPTION } from "../options.js";
import { harmless } from "../output.js";

interface Options {
  client?: string;
  scope: ConfigScope;
  name: string;
  gateway?: string;
  url?: boolean;
  portable?: boolean;
  print?: boolean;
  uninstall?: boolean;
  yes?: boolean;
  json?: boolean;
}

/** `cerver mcp install`. */
export const mcpInstallCommand = (context: CliContext) =>
  new Command("install")
    .summary("put cerver into an MCP client's settings, or take it out")
    .description(
      "Puts cerver into an MCP client's own settings; without --client it says which clients are here and what they have. No token is written: cerver reads this machine's login, from the keychain or the file that holds it, when the client starts it.",
    )
    .option("--client <name>", "claude-code, claude-desktop, cursor, vscode, codex, gemini or windsurf")
    .addOption(
      new Option("--scope <scope>", "the settings of this user, or of the project in this folder")
        .choices(["user", "project"])
        .default("user"),
    )
    .option("--gateway <url>", "the gateway that cerver speaks to there (else that of your login)")
    .option("--url", "register the gateway's own MCP endpoint by its URL, so that nothing is started here")
    .option("--portable", "start it by npx, without a path of this machine: for a file that others share")
    .option("--name <name>", "what the server is called there", serverName, "cerver")
    .option("--print", "print what to put in, and change nothing")
    .option("--uninstall", "take cerver out again, and nothing else")
    .option("--yes", "write without asking")
    .option(...JSON_OPTION)
    .addHelpText(
      "after",
      "\nExamples:\n  $ cerver mcp install                               which clients are here\n  $ cerver mcp install --client claude-code\n  $ cerver mcp install --client vscode --scope project --portable\n  $ cerver mcp install --client cursor --uninstall",
    )
    .action(async (_: Options, command: Command) => {
      // `cerver mcp` has --gateway too, and takes it wherever it stands.
      const options = command.optsWithGlobals<Options>();
      const machine = thisMachine(context);
      if (options.client === undefined) return list(context, options, machine);
      return options.uninstall
        ? uninstall(context, options, options.client, machine)
        : install(context, options, options.client, machine);
    });

async function install(context: CliContext, options: Options, id: string, machine: Machine): Promise<void> {
  const { mcpClient, wantedEntry } = await import("../../mcp-clients/clients.js");
  const client = mcpClient(id);
  const gateway = await gatewayThere(context, options, machine, { login: true });
  const entry = wantedEntry(
    client,
    options.url ? { url: mcpUrl(gateway) } : { command: await commandThere(context, options, gateway) },
  );
  if (options.print) {
    const { configFileOf } = await import("../../mcp-clients/clients.js");
    const { configBlock } = await import("../../mcp-clients/config-block.js");
    const file = configFileOf(client, options.scope, machine);
    const block = await configBlock(client, options.name, entry);
    if (options.json) return context.out.json({ client: id, scope: options.scope, file, entry, text: block });
    context.out.say(`For ${file}:`);
    return void context.out.stdout.write(block);
  }
  const { planInstall } = await import("../../mcp-clients/installation.js");
  const plan = await planInstall({ client, scope: options.scope, name: options.name, machine }, entry, {
    dropTokens: !options.url && gateway.token !== undefined,
  });
  const done = {
    add: `${client.label} has cerver now`,
    change: `${client.label} has this cerver now`,
    remove: "",
    nothing: `${client.label} has cerver already: nothing was changed`,
  }[plan.action];
  if (!(await finish(context, options, plan, done, { needs_login: needsLogin(options, gateway) }))) return;
  if (options.json) return;
  if (plan.action !== "nothing")
    context.out.say(`Restart ${client.label} if it is open: it reads this when it starts.`);
  for (const line of nextSteps(options, plan, gateway)) context.out.say(line);
}

async function uninstall(context: CliContext, options: Options, id: string, machine: Machine): Promise<void> {
  if (options.print)
    throw new CerverError("invalid_request", "--print and --uninstall do not go together.", {
      hint: "Without --yes and on a terminal, --uninstall shows what it would change and asks.",
    });
  const { mcpClient } = await import("../../mcp-clients/clients.js");
  const { planUninstall } = await import("../../mcp-clients/installation.js");
  const client = mcpClient(id);
  const knownUrl = mcpUrl(await gatewayThere(context, options, machine, { login: false }));
  const plan = await planUninstall({ client, scope: options.scope, name: options.name, machine, knownUrl });
  const done =
    plan.action === "remove"
      ? `cerver is out of ${client.label}`
      : `${client.label} has no server "${options.name}": nothing was changed`;
  await finish(context, options, plan, done, {});
}

/** Shows a plan, asks where there is somebody to ask, and does it. Gives whether it was done. */
async function finish(
  context: CliContext,
  options: Options,
  plan: InstallPlan,
  done: string,
  more: object,
): Promise<boolean> {
  const { out } = context;
  const { path } = plan.file;
  if (!options.json && plan.action !== "nothing") {
    out.line(path);
    for (const line of plan.diff) out.line(line.startsWith("@@") ? out.dim(line) : harmless(line));
  }
  if (plan.action !== "nothing" && !options.yes && (await confirm(context, "Write this?")) === false) {
    out.say("Nothing was changed.");
    context.process.exitCode = EXIT.failed;
    return false;
  }
  const { carryOut } = await import("../../mcp-clients/installation.js");
  const { backup } = await carryOut(plan);
  if (options.json) {
    out.json({
      client: options.client,
      scope: options.scope,
      name: options.name,
      file: path,
      action: plan.action,
      diff: plan.diff,
      backup: backup ?? null,
      holds_token: plan.holdsToken,
      ...more,
    });
    return true;
  }
  out.line(`${done}${plan.action === "nothing" ? ` in ${path}` : ""}.`);
  if (backup) out.say(`What was there before is in ${backup}`);
  if (backup && plan.heldToken) out.say("That copy has a token in it: delete it when all works.");
  return true;
}

function nextSteps(options: Options, plan: InstallPlan, gateway: GatewayChoice): string[] {
  const login = `cerver login --gateway ${gateway.gatewayUrl}`;
  const steps: string[] = [];
  if (options.scope === "project" && !options.url && !options.portable)
    steps.push("The file has paths of this machine in it. For a file that others share, add --portable.");
  if (needsLogin(options, gateway))
    steps.push(`This machine has no login for ${gateway.gatewayUrl} yet. Next: ${login}`);
  if (plan.holdsToken && !options.url)
    steps.push(`The file has a token in plain text. After \`${login}\`, run this again to take it out.`);
  if (plan.holdsToken && options.url)
    steps.push(
      'The file has a token in plain text under "headers". Take it out when the client has logged in by itself.',
    );
  return steps;
}

async function list(
  { out }: CliContext,
  { json, uninstall, print }: Options,
  machine: Machine,
): Promise<void> {
  if (uninstall || print)
    throw new CerverError("invalid_request", `It has to be said which client is meant.`, {
      hint: "Add --client; `cerver mcp install` lists them.",
    });
  const { clientStatuses } = await import("../../mcp-clients/status.js");
  const clients = await clientStatuses(machine);
  if (json) return out.json({ clients });
  out.table(
    ["CLIENT", "HERE", "CERVER", "FILE"],
    clients.flatMap((one) =>
      one.places
        .filter(isWorthARow)
        .map((place) => [one.client, one.found ? "yes" : "no", inWords(place), place.file]),
    ),
  );
  for (const { problem } of clients.flatMap(({ places }) => places)) if (problem) out.say(problem.error);
  const next = clients.find((one) => one.found && !hasCerver(one));
  if (next) out.say(`Put it into one:  cerver mcp install --client ${next.client}`);
}

const hasCerver = ({ places }: ClientStatus) => places.some(({ servers }) => servers.length > 0);

function isWorthARow({ scope, servers, problem }: ConfigPlace): boolean {
  return scope === "user" || servers.length > 0 || problem !== undefined;
}

function inWords({ scope, servers, problem }: ConfigPlace): string {
  if (problem) return "cannot be read";
  if (servers.length === 0) return "no";
  const how = [...(scope === "project" ? ["this project"] : []), ...servers.flatMap(howReached)];
  return how.length > 0 ? `yes (${how.join(", ")})` : "yes";
}

function howReached({ name, url, holds_token }: ConfigPlace["servers"][number]): string[] {
  return [
    ...(name === "cerver" ? [] : [`as ${name}`]),
    ...(url === undefined ? [] : ["by URL"]),
    ...(holds_token ? ["token in the file"] : []),
  ];
}

/** This computer, as the settings of MCP clients see it. */
export function thisMachine({ env, cwd, process }: CliContext): Machine {
  const home = (process.platform === "win32" ? env.USERPROFILE : env.HOME) || homedir();
  return { platform: process.platform, home, cwd, env };
}

/**
 * The gateway as a cerver finds it that a client starts somewhere, without this shell's variables: only a login that is
 * kept counts, and no project's settings.
 */
async function gatewayThere(
  { env, paths, credentials }: CliContext,
  { gateway }: Options,
  { home }: Machine,
  { login }: { login: boolean },
): Promise<GatewayChoice> {
  const { chooseGateway } = await import("../../login/gateway-choice.js");
  const choice = await chooseGateway({
    flag: gateway,
    env: { CERVER_GATEWAY_URL: env.CERVER_GATEWAY_URL },
    cwd: home,
    configDir: paths.config,
    ...(login && { credentials: await credentials() }),
  });
  const url = URL.canParse(choice.gatewayUrl) ? new URL(choice.gatewayUrl) : undefined;
  if (url && /^https?:$/.test(url.protocol) && !url.username && !url.password && !url.search && !url.hash)
    return choice;
  throw new CerverError("invalid_request", "The gateway has to be a plain http:// or https:// address.", {
    hint: "For example --gateway https://cerver.example.com, with no token in it: `cerver login` keeps that.",
  });
}

async function commandThere({ env, process }: CliContext, { portable }: Options, gateway: GatewayChoice) {
  const { launchCommand } = await import("../../mcp-clients/launch-command.js");
  return launchCommand({
    platform: process.platform,
    execPath: process.execPath,
    program: process.argv[1]!,
    env,
    // What the user's own settings say is found there too.
    gatewayUrl: gateway.from === "flag" || gateway.from === "env" ? gateway.gatewayUrl : undefined,
    portable,
  });
}

function mcpUrl({ gatewayUrl }: GatewayChoice): string {
  return `${gatewayUrl}/mcp`;
}

function needsLogin({ url }: Options, { token }: GatewayChoice): boolean {
  return !url && token === undefined;
}

function serverName(text: string): string {
  if (/^[A-Za-z0-9_-]{1,64}$/.test(text)) return text;
  throw new InvalidArgumentError("It has to be 1 to 64 letters, digits, - or _.");
}
