import { CerverError } from "../protocol/errors.js";
import { type ConfigScope, configFileOf, type McpClient } from "./clients.js";
import { type ConfigFile, readConfigFile, replaceConfigFile } from "./config-file.js";
import { ConfigFault, type ConfigText, readConfigText } from "./config-text.js";
import { changesTo, holdsToken, isOurs, isTable, type ServerEntry, urlOf } from "./entry.js";
import type { Machine } from "./machine.js";
import { textDiff } from "./text-diff.js";

/** One server in one client's settings. */
export interface InstallTarget {
  client: McpClient;
  scope: ConfigScope;
  /** What the server is called there. */
  name: string;
  machine: Machine;
  /** The gateway's MCP address: a server with it is ours whatever its name. */
  knownUrl?: string | undefined;
}

/** What would be done, before anything is. */
export interface InstallPlan {
  action: "add" | "change" | "remove" | "nothing";
  file: ConfigFile;
  /** The whole text afterwards. */
  after: string;
  /** Only the lines that differ, with secrets hidden. */
  diff: string[];
  /** The entry, as it is before, has a token of cerver in plain text. */
  heldToken: boolean;
  /** And it has one afterwards. */
  holdsToken: boolean;
}

const BOM = "\ufeff";
/** What is for this user alone may hold variables for secrets; a project's file is read by its team. */
const NEW_MODE: Record<ConfigScope, number> = { user: 0o600, project: 0o644 };

/**
 * Plans to have a server in a client's settings.
 *
 * Throws `conflict` where the name is another server's, `invalid_request` with the place where the file is broken,
 * `forbidden` where it may not be read.
 */
export async function planInstall(
  target: InstallTarget,
  wanted: ServerEntry,
  { dropTokens }: { dropTokens: boolean },
): Promise<InstallPlan> {
  const { client, name, knownUrl } = target;
  return plan(target, (config, file) => {
    if (!config.servers.has(name)) return { action: "add", after: config.add(name, wanted) };
    const entry = config.servers.get(name);
    if (!isTable(entry) || !isOurs(name, entry, knownUrl ?? urlOf(wanted)))
      throw notOurs(
        file.path,
        name,
        `Choose another name for cerver with --name, or take that one out of ${client.label}.`,
      );
    const changes = changesTo(entry, wanted, { dropTokens });
    return changes.length > 0 ? { action: "change", after: config.change(name, changes) } : undefined;
  });
}

/** Plans to take our server out of a client's settings. Throws as {@link planInstall} does. */
export async function planUninstall(target: InstallTarget): Promise<InstallPlan> {
  const { name, knownUrl } = target;
  return plan(target, (config, file) => {
    if (!config.servers.has(name)) return undefined;
    if (!isOurs(name, config.servers.get(name), knownUrl))
      throw notOurs(
        file.path,
        name,
        "Say the name of cerver's own with --name, or take this one out by hand.",
      );
    return { action: "remove", after: config.remove(name) };
  });
}

/** Does what was planned. Gives the path of the copy of what was there before. */
export async function carryOut({
  action,
  file,
  after,
}: InstallPlan): Promise<{ backup: string | undefined }> {
  return action === "nothing" ? { backup: undefined } : replaceConfigFile(file, after);
}

type Change = { action: "add" | "change" | "remove"; after: string };

async function plan(
  { client, scope, name, machine }: InstallTarget,
  decide: (config: ConfigText, file: ConfigFile) => Change | undefined,
): Promise<InstallPlan> {
  const file = await readConfigFile(configFileOf(client, scope, machine), NEW_MODE[scope]);
  const bom = file.text?.startsWith(BOM) ? BOM : "";
  const before = (file.text ?? "").slice(bom.length);
  try {
    const config = await readConfigText(before, client.syntax, client.key);
    const change = decide(config, file);
    const heldToken = holdsToken(config.servers.get(name));
    if (!change)
      return { action: "nothing", file, after: file.text ?? "", diff: [], heldToken, holdsToken: heldToken };
    // What was made is read again as the client will read it: a file that it could not read is never written.
    const made = await readConfigText(change.after, client.syntax, client.key);
    if (others(made, name) !== others(config, name))
      throw new Error("a change would have touched another server");
    return {
      action: change.action,
      file,
      after: bom + change.after,
      diff: textDiff(before, change.after),
      heldToken,
      holdsToken: holdsToken(made.servers.get(name)),
    };
  } catch (error) {
    throw error instanceof ConfigFault ? error.inFile(file.path) : error;
  }
}

/** Every server but one, to compare. */
function others({ servers }: ConfigText, name: string): string {
  return JSON.stringify([...servers].filter(([one]) => one !== name));
}

function notOurs(path: string, name: string, hint: string): CerverError {
  return new CerverError(
    "conflict",
    `"${name}" in ${path} is a server that is not cerver's. It was left alone.`,
    { hint },
  );
}
