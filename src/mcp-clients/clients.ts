import { CerverError } from "../protocol/errors.js";
import type { ServerEntry } from "./entry.js";
import type { LaunchCommand } from "./launch-command.js";
import { type Machine, pathOn, settingsFolder } from "./machine.js";

export type ConfigScope = "user" | "project";

/** How a client keeps its list of MCP servers. */
export interface McpClient {
  id: string;
  /** Its name, for people. */
  label: string;
  syntax: ConfigSyntax;
  /** The key that holds the servers by name. */
  key: string;
  /** Its file for this user. */
  userFile(machine: Machine): string;
  /** Its file for one project, where it has such. */
  projectFile?(machine: Machine): string;
  /** Files or folders of which one is there when the client was used on this machine. */
  signs(machine: Machine): string[];
  /** A server that the client starts. */
  local(command: LaunchCommand): ServerEntry;
  /** A server that the client reaches by its URL, where its file can say so. */
  remote?(url: string): ServerEntry;
}

/** What the client's own parser takes. */
export type ConfigSyntax =
  | { format: "json"; comments: boolean; trailingCommas: boolean }
  | { format: "toml" };

const STRICT_JSON: ConfigSyntax = { format: "json", comments: false, trailingCommas: false };
const JSON_WITH_COMMENTS: ConfigSyntax = { format: "json", comments: true, trailingCommas: false };
const LOOSE_JSON: ConfigSyntax = { format: "json", comments: true, trailingCommas: true };

const claudeFolder = (machine: Machine) => pathOn(machine, settingsFolder(machine), "Claude");
const codeFolder = (machine: Machine) => pathOn(machine, settingsFolder(machine), "Code", "User");
const codexFolder = (machine: Machine) => machine.env.CODEX_HOME || pathOn(machine, machine.home, ".codex");
const inHome = (machine: Machine, ...parts: string[]) => pathOn(machine, machine.home, ...parts);
const inProject = (machine: Machine, ...parts: string[]) => pathOn(machine, machine.cwd, ...parts);

/** Every client that `cerver mcp install` knows. */
export const MCP_CLIENTS: readonly McpClient[] = [
  {
    id: "claude-code",
    label: "Claude Code",
    syntax: STRICT_JSON,
    key: "mcpServers",
    userFile: (machine) => pathOn(machine, machine.env.CLAUDE_CONFIG_DIR || machine.home, ".claude.json"),
    projectFile: (machine) => inProject(machine, ".mcp.json"),
    signs: (machine) => [
      machine.env.CLAUDE_CONFIG_DIR || inHome(machine, ".claude"),
      inHome(machine, ".claude.json"),
    ],
    local: (command) => ({ type: "stdio", ...command }),
    remote: (url) => ({ type: "http", url }),
  },
  {
    id: "claude-desktop",
    label: "Claude Desktop",
    syntax: STRICT_JSON,
    key: "mcpServers",
    userFile: (machine) => pathOn(machine, claudeFolder(machine), "claude_desktop_config.json"),
    signs: (machine) => [claudeFolder(machine)],
    local: (command) => ({ ...command }),
  },
  {
    id: "cursor",
    label: "Cursor",
    syntax: LOOSE_JSON,
    key: "mcpServers",
    userFile: (machine) => inHome(machine, ".cursor", "mcp.json"),
    projectFile: (machine) => inProject(machine, ".cursor", "mcp.json"),
    signs: (machine) => [inHome(machine, ".cursor")],
    local: (command) => ({ ...command }),
    remote: (url) => ({ url }),
  },
  {
    id: "vscode",
    label: "VS Code",
    syntax: LOOSE_JSON,
    key: "servers",
    userFile: (machine) => pathOn(machine, codeFolder(machine), "mcp.json"),
    projectFile: (machine) => inProject(machine, ".vscode", "mcp.json"),
    signs: (machine) => [codeFolder(machine)],
    local: (command) => ({ type: "stdio", ...command }),
    remote: (url) => ({ type: "http", url }),
  },
  {
    id: "codex",
    label: "Codex",
    syntax: { format: "toml" },
    key: "mcp_servers",
    userFile: (machine) => pathOn(machine, codexFolder(machine), "config.toml"),
    signs: (machine) => [codexFolder(machine)],
    local: (command) => ({ ...command }),
    remote: (url) => ({ url }),
  },
  {
    id: "gemini",
    label: "Gemini CLI",
    syntax: JSON_WITH_COMMENTS,
    key: "mcpServers",
    userFile: (machine) => inHome(machine, ".gemini", "settings.json"),
    projectFile: (machine) => inProject(machine, ".gemini", "settings.json"),
    signs: (machine) => [inHome(machine, ".gemini")],
    local: (command) => ({ ...command }),
    remote: (url) => ({ httpUrl: url }),
  },
  {
    id: "windsurf",
    label: "Windsurf",
    syntax: STRICT_JSON,
    key: "mcpServers",
    userFile: (machine) => inHome(machine, ".codeium", "windsurf", "mcp_config.json"),
    signs: (machine) => [inHome(machine, ".codeium", "windsurf")],
    local: (command) => ({ ...command }),
    remote: (url) => ({ serverUrl: url }),
  },
];

/** The client of that name. Throws `invalid_request` where there is none. */
export function mcpClient(id: string): McpClient {
  const client = MCP_CLIENTS.find((one) => one.id === id);
  if (client) return client;
  throw new CerverError("invalid_request", `"${id}" is no MCP client that cerver can configure.`, {
    hint: `Use one of: ${MCP_CLIENTS.map((one) => one.id).join(", ")}.`,
  });
}

/** The file that a scope means. Throws `invalid_request` where the client has no such. */
export function configFileOf(client: McpClient, scope: ConfigScope, machine: Machine): string {
  if (scope === "user") return client.userFile(machine);
  if (client.projectFile) return client.projectFile(machine);
  throw new CerverError("invalid_request", `${client.label} has no MCP settings for one project.`, {
    hint: "Leave out --scope: the settings of this user are meant then.",
  });
}

/** The server as that client's file says it: by URL where one is given, else by the command that starts it. */
export function wantedEntry(
  client: McpClient,
  how: { url: string } | { command: LaunchCommand },
): ServerEntry {
  if ("command" in how) return client.local(how.command);
  if (client.remote) return client.remote(how.url);
  throw new CerverError("unsupported", `${client.label} takes no URL of a server from its file.`, {
    hint: `Leave out --url to let it start cerver, or add ${how.url} as a connector in its settings.`,
  });
}
