import { randomUUID } from "node:crypto";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { Command } from "commander";
import { CerverError } from "../../protocol/errors.js";
import type { ServiceManager } from "../../relay/daemon/service.js";
import { makePrivateFolder } from "../../util/private-folder.js";
import type { CliContext } from "../context.js";
import { EXIT } from "../exit-codes.js";
import { type ComputeOptions, computeSettings, JSON_OPTION } from "../options.js";
import { chosenService, serviceWords, type WhoseService } from "../relay-services.js";
import { relayLogsCommand } from "./relay-logs.js";

interface InstallOptions extends WhoseService, ComputeOptions {
  gateway?: string;
  listen?: string | true;
  dryRun?: boolean;
  json?: boolean;
}

const SYSTEM_OPTION = ["--system", "the machine's service, not the user's; needs root"] as const;
const USER_OPTION = ["--user <name>", "with --system: whose relay it is (default: who typed sudo)"] as const;

/** Where the flags begin in what a service starts. */
const FLAGS_AT = 5;
/** How long an installation waits for the relay to serve before it leaves the rest to `cerver relay status`. */
const SERVING_MS = 15_000;
const LOOK_MS = 200;

export const relayServiceCommand = (context: CliContext) =>
  new Command("service")
    .summary("keep the relay running: as a service of systemd or launchd")
    .description(
      "Lets the system's own service manager keep the relay running. Stopping, restarting or updating the service leaves runs going.",
    )
    .addHelpText(
      "after",
      "\nExamples:\n  $ cerver relay service install --name mac-mini --label gpu=yes --allow-dir ~/work\n  $ cerver relay service status\n  $ sudo cerver relay service install --system --user ada\n  $ cerver relay service uninstall",
    )
    .addCommand(installCommand(context))
    .addCommand(uninstallCommand(context))
    .addCommand(
      changeCommand(context, "start", "start the service", (manager) => manager.start(), "The service runs."),
    )
    .addCommand(
      changeCommand(
        context,
        "stop",
        "stop the service; runs go on, and it starts again with the machine",
        (manager) => manager.stop(),
        "The service is stopped. Runs in the background go on; it starts again with the machine.",
      ),
    )
    .addCommand(statusCommand(context))
    .addCommand(relayLogsCommand(context));

const installCommand = (context: CliContext) =>
  new Command("install")
    .summary("write the service, and start it now and with the machine")
    .description(
      "Writes the service and starts it, now and with the machine. Takes the options of `cerver relay`, such as --gateway, --name, --label and --allow-dir, and hands them on. Logs in first if this machine has no login; no token is written into the service. May be run again: it changes what has to be changed.",
    )
    .option("--dry-run", "print what would be written, and do nothing")
    .option(...SYSTEM_OPTION)
    .option(...USER_OPTION)
    .action(async (_: unknown, command: Command) => {
      // The options of `cerver relay` are its own, wherever they stand.
      const options = command.optsWithGlobals<InstallOptions>();
      await install(context, options, command.parent!.parent!);
    });

async function install(context: CliContext, options: InstallOptions, relay: Command): Promise<void> {
  const { out, env, process } = context;
  if (options.listen !== undefined)
    throw new CerverError("unsupported", "A relay that listens cannot be installed as a service yet.", {
      hint: "Leave out --listen: a service connects to its gateway.",
    });
  const { manager, user, isRoot, ofAnother } = await chosenService(context, options);
  const { serviceSpec } = await import("../../relay/daemon/service-spec.js");
  const { gatewayUrl } = await context.namedGateway(options.gateway);
  const { spec, left } = serviceSpec({
    env,
    program: process.argv[1]!,
    flags: [`--gateway=${gatewayUrl}`, ...flagsOf(relay)],
    user,
    ofAnother,
    manager: manager.name,
  });
  const text = manager.fileText(spec);
  if (options.dryRun) {
    out.say(`Would write ${manager.file}`);
    return void out.stdout.write(text);
  }
  if (options.system && !isRoot)
    throw new CerverError("forbidden", "A service of the machine is installed by root.", {
      hint: `sudo ${[...spec.command.slice(0, 2).map(shellWord), "relay service install --system --user", user.name, ...spec.command.slice(FLAGS_AT).map(shellWord)].join(" ")}`,
    });
  if (ofAnother) await requireLoginOf(spec.configDir, user.name, gatewayUrl);
  else {
    await logInFirst(context, options, gatewayUrl, manager.name);
    // launchd opens files there before the relay can make their folder.
    await makePrivateFolder(spec.stateDir);
  }
  for (const name of left)
    out.say(
      `Not written, because it holds a password: ${name}. Put it into ${spec.configDir}/relay.env, for you alone.`,
    );
  const changed = await writeService(manager.file, text);
  await manager.load({ changed });
  out.say(changed ? `Wrote ${manager.file}` : `There already: ${manager.file}. Nothing had to be changed.`);
  const status = await manager.status();
  if (!ofAnother) out.say(await servingWords(context));
  out.say(`Service: ${serviceWords(status)}`);
  for (const { why, type } of await manager.advice()) out.say(`${why}\n  ${type}`);
  out.say("Next: cerver relay status, cerver relay logs -f");
}

/** The options that were given to `cerver relay`, as they have to be given again; each is one word. */
function flagsOf(relay: Command): string[] {
  const own = ["gateway", "listen", "listenName", "printToken", "service"];
  return relay.options.flatMap((option) => {
    const name = option.attributeName();
    if (own.includes(name) || relay.getOptionValueSource(name) !== "cli") return [];
    const value: unknown = relay.getOptionValue(name);
    if (typeof value === "boolean") return value ? [option.long!] : [];
    if (Array.isArray(value)) return value.map((one) => `${option.long}=${one}`);
    if (typeof value === "object" && value !== null)
      return Object.entries(value).map(([key, one]) => `${option.long}=${key}=${one}`);
    return [`${option.long}=${value}`];
  });
}

/** A service asks nobody for a login, so this machine has to have one that is accepted. */
async function logInFirst(
  context: CliContext,
  options: InstallOptions,
  gatewayUrl: string,
  service: string,
): Promise<void> {
  const { env, out } = context;
  const { relayKey } = await import("../../login/credential-store.js");
  const { relayConfig } = await import("../../relay/config.js");
  const { attachMachine } = await import("../../relay/start.js");
  const { hasDisplay, openBrowser } = await import("../../login/open-browser.js");
  const credentials = await context.credentials({ unattended: true });
  const attach = (more: { token?: string | undefined; service?: string }) =>
    attachMachine(relayConfig({ gatewayUrl, token: more.token, ...computeSettings(options) }, env), {
      credentials,
      openBrowser: (url) => openBrowser(url, env),
      hasDisplay: hasDisplay(env),
      say: (line) => out.say(line),
      service: more.service,
    });
  if ((await credentials.get(relayKey(gatewayUrl))) !== undefined) {
    try {
      return void (await attach({ service }));
    } catch (error) {
      if (!(error instanceof CerverError)) throw error;
      if (error.code === "gateway_unreachable")
        return out.say(`${error.message} The service waits until one does.`);
      if (error.code !== "unauthenticated") throw error;
    }
  }
  const { token, tokenFrom } = await context.namedGateway(options.gateway);
  const { computeId } = await attach({ token: tokenFrom === "env" ? token : undefined });
  out.say(`This machine is ${computeId}; its login is in ${await credentials.where(relayKey(gatewayUrl))}.`);
}

/** Another user's login is that user's to read: what shows that there is one is the compute that it was given. */
async function requireLoginOf(configDir: string, user: string, gatewayUrl: string): Promise<void> {
  const { Identity } = await import("../../relay/identity.js");
  const { openCredentialStore, relayKey } = await import("../../login/credential-store.js");
  const { keysInKeychain } = await openCredentialStore({ configDir, env: {} }).places();
  if (keysInKeychain.includes(relayKey(gatewayUrl)))
    throw new CerverError(
      "unauthenticated",
      `The login of ${user} is in a keychain, which nobody unlocks for a service.`,
      {
        hint: `As ${user}, run \`CERVER_CREDENTIALS=file cerver relay --gateway ${gatewayUrl}\` once, and end it with Ctrl-C when it is connected: that moves it into a file.`,
      },
    );
  if ((await new Identity(configDir).get(gatewayUrl)) !== undefined) return;
  throw new CerverError("unauthenticated", `${user} has not logged this machine in to ${gatewayUrl} yet.`, {
    hint: `As ${user}, run \`cerver relay --gateway ${gatewayUrl}\` once, and end it with Ctrl-C when it is connected; or name the gateway it has with --gateway.`,
  });
}

/** Replaces the service's file unless it says the same already. Its text holds nothing secret; managers have to read it. */
async function writeService(path: string, text: string): Promise<boolean> {
  if ((await readFile(path, "utf8").catch(() => undefined)) === text) return false;
  await mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.${randomUUID()}`;
  try {
    await writeFile(temporary, text, { mode: 0o644, flag: "wx" });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  return true;
}

/** Waits a little for the relay to serve. */
async function servingWords({ paths }: CliContext): Promise<string> {
  const { localStatus } = await import("../../relay/status.js");
  const started = Date.now();
  for (const since = performance.now(); ; await new Promise((resolve) => setTimeout(resolve, LOOK_MS))) {
    const { relay, record } = await localStatus(paths.state);
    const isOurs = relay !== undefined && record?.pid === relay.pid;
    if (isOurs && record.service === null)
      return `Another relay runs, process ${relay.pid}. The service waits for it to end, and takes over then.`;
    if (isOurs && record.link.state === "connected")
      return `Connected to ${record.gateway_url} as ${record.compute_id}.`;
    if (record?.link.state === "ended" && Date.parse(record.started_at) >= started)
      return `The relay has ended: ${record.errors.at(-1)?.what ?? "see cerver relay logs"}`;
    if (performance.now() - since > SERVING_MS)
      return `Not connected yet${isOurs ? `: ${record.errors.at(-1)?.what ?? record.link.state}` : ""}.`;
  }
}

const uninstallCommand = (context: CliContext) =>
  new Command("uninstall")
    .summary("stop the service, and remove it; login and data stay")
    .option(...SYSTEM_OPTION)
    .option(...USER_OPTION)
    .action(async (_: unknown, command: Command) => {
      const { out } = context;
      const { manager, isRoot } = await chosenService(context, command.opts<WhoseService>());
      const { file } = manager;
      if ((await readFile(file, "utf8").catch(() => undefined)) === undefined)
        return out.say(`There is no service to remove: ${file} is not there.`);
      if (command.opts<WhoseService>().system && !isRoot)
        throw new CerverError("forbidden", "A service of the machine is removed by root.", {
          hint: "Use sudo.",
        });
      // A manager that does not answer keeps nothing running; its file is removed all the same.
      const failure = await manager.unload().then(
        () => undefined,
        (error: CerverError) => error,
      );
      if (failure) out.say(`${failure.message} The file is removed all the same.`);
      await rm(file, { force: true });
      if (!failure) await manager.forget();
      out.say(`Removed ${file}. Runs that go on are left to themselves; login and data stay.`);
    });

const changeCommand = (
  context: CliContext,
  name: string,
  summary: string,
  change: (manager: ServiceManager) => Promise<void>,
  done: string,
) =>
  new Command(name)
    .summary(summary)
    .option(...SYSTEM_OPTION)
    .option(...USER_OPTION)
    .action(async (options: WhoseService) => {
      const { manager } = await chosenService(context, options);
      await requireInstalled(manager);
      await change(manager);
      context.out.say(done);
    });

const statusCommand = (context: CliContext) =>
  new Command("status")
    .summary("say whether the service runs")
    .description("Exits 0 when the service runs, 1 otherwise. `cerver relay status` says whether it serves.")
    .option(...SYSTEM_OPTION)
    .option(...USER_OPTION)
    .option(...JSON_OPTION)
    .action(async ({ json, ...whose }: WhoseService & { json?: boolean }) => {
      const { out, process } = context;
      const { manager } = await chosenService(context, whose);
      const status = await manager.status();
      if (status.state !== "running") process.exitCode = EXIT.failed;
      if (json) return out.json(status);
      if (!status.installed) return out.say("No service is installed. Next: cerver relay service install");
      out.line(`Service: ${serviceWords(status)}`);
      out.line(`File: ${status.file}`);
      out.line(
        status.enabled ? "It starts with the machine or its user's session." : "It does not start by itself.",
      );
      for (const { why, type } of await manager.advice()) out.say(`${why}\n  ${type}`);
    });

async function requireInstalled(manager: ServiceManager): Promise<void> {
  if ((await readFile(manager.file, "utf8").catch(() => undefined)) !== undefined) return;
  throw new CerverError("not_found", `No service is installed: ${manager.file} is not there.`, {
    hint: "Install it with `cerver relay service install`.",
  });
}

function shellWord(text: string): string {
  return /^[\w./@%+=:-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
