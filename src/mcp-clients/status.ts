import { access } from "node:fs/promises";
import { CerverError } from "../protocol/errors.js";
import { type ConfigScope, configFileOf, MCP_CLIENTS, type McpClient } from "./clients.js";
import { readConfigFile } from "./config-file.js";
import { ConfigFault, readConfigText } from "./config-text.js";
import { holdsToken, isOurs, isTable, urlOf } from "./entry.js";
import type { Machine } from "./machine.js";

/** What is known of one client on this machine. */
export interface ClientStatus {
  client: string;
  label: string;
  /** Whether it seems to be used here. */
  found: boolean;
  /** Its settings for this user, and for this folder where it has such. */
  places: ConfigPlace[];
}

export interface ConfigPlace {
  scope: ConfigScope;
  file: string;
  exists: boolean;
  /** The servers in it that are cerver's. */
  servers: OurServer[];
  /** Why it could not be read, and what to do. */
  problem?: { error: string; hint?: string };
}

export interface OurServer {
  name: string;
  /** What the client starts, program first; or else the URL that it asks. */
  command?: string[];
  url?: string;
  /** The file has a token in plain text. */
  holds_token: boolean;
}

/** Looks at every client that cerver can configure: which are on this machine, and whether cerver is in each. */
export async function clientStatuses(machine: Machine): Promise<ClientStatus[]> {
  return Promise.all(
    MCP_CLIENTS.map(async (client) => {
      // In the home folder both may be one file.
      const hasProject = client.projectFile && client.projectFile(machine) !== client.userFile(machine);
      const scopes: ConfigScope[] = hasProject ? ["user", "project"] : ["user"];
      const [found, ...places] = await Promise.all([
        anyIsThere(client.signs(machine)),
        ...scopes.map((scope) => place(client, scope, machine)),
      ]);
      return { client: client.id, label: client.label, found, places };
    }),
  );
}

async function place(client: McpClient, scope: ConfigScope, machine: Machine): Promise<ConfigPlace> {
  const file = configFileOf(client, scope, machine);
  try {
    const { text } = await readConfigFile(file, 0);
    if (text === undefined) return { scope, file, exists: false, servers: [] };
    const { servers } = await readConfigText(text.replace(/^\ufeff/, ""), client.syntax, client.key);
    const ours = [...servers].filter(([name, entry]) => isOurs(name, entry));
    return { scope, file, exists: true, servers: ours.map(([name, entry]) => describe(name, entry)) };
  } catch (error) {
    const failure = error instanceof ConfigFault ? error.inFile(file) : error;
    if (!(failure instanceof CerverError)) throw failure;
    const problem = { error: failure.message, ...(failure.hint && { hint: failure.hint }) };
    return { scope, file, exists: true, servers: [], problem };
  }
}

function describe(name: string, entry: unknown): OurServer {
  const fields = isTable(entry) ? entry : {};
  const url = urlOf(fields);
  const args = Array.isArray(fields.args) ? fields.args.map(String) : [];
  return {
    name,
    ...(url === undefined ? { command: [String(fields.command), ...args] } : { url }),
    holds_token: holdsToken(entry),
  };
}

async function anyIsThere(paths: string[]): Promise<boolean> {
  const found = await Promise.all(
    paths.map((path) =>
      access(path).then(
        () => true,
        () => false,
      ),
    ),
  );
  return found.includes(true);
}
