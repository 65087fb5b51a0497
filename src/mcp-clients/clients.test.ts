import { expect, test } from "vitest";
import { configFileOf, MCP_CLIENTS, mcpClient, wantedEntry } from "./clients.js";
import { launchCommand } from "./launch-command.js";
import type { Machine } from "./machine.js";

const LINUX: Machine = { platform: "linux", home: "/home/ada", cwd: "/home/ada/p", env: {} };
const MAC: Machine = { platform: "darwin", home: "/Users/ada", cwd: "/Users/ada/p", env: {} };
const WINDOWS: Machine = {
  platform: "win32",
  home: "C:\\Users\\ada",
  cwd: "C:\\p",
  env: { APPDATA: "D:\\Roaming" },
};

test.each([
  ["claude-code", LINUX, "/home/ada/.claude.json", "/home/ada/p/.mcp.json"],
  ["claude-code", MAC, "/Users/ada/.claude.json", "/Users/ada/p/.mcp.json"],
  ["claude-code", WINDOWS, "C:\\Users\\ada\\.claude.json", "C:\\p\\.mcp.json"],
  ["claude-desktop", LINUX, "/home/ada/.config/Claude/claude_desktop_config.json", undefined],
  [
    "claude-desktop",
    MAC,
    "/Users/ada/Library/Application Support/Claude/claude_desktop_config.json",
    undefined,
  ],
  ["claude-desktop", WINDOWS, "D:\\Roaming\\Claude\\claude_desktop_config.json", undefined],
  ["cursor", LINUX, "/home/ada/.cursor/mcp.json", "/home/ada/p/.cursor/mcp.json"],
  ["cursor", MAC, "/Users/ada/.cursor/mcp.json", "/Users/ada/p/.cursor/mcp.json"],
  ["cursor", WINDOWS, "C:\\Users\\ada\\.cursor\\mcp.json", "C:\\p\\.cursor\\mcp.json"],
  ["vscode", LINUX, "/home/ada/.config/Code/User/mcp.json", "/home/ada/p/.vscode/mcp.json"],
  [
    "vscode",
    MAC,
    "/Users/ada/Library/Application Support/Code/User/mcp.json",
    "/Users/ada/p/.vscode/mcp.json",
  ],
  ["vscode", WINDOWS, "D:\\Roaming\\Code\\User\\mcp.json", "C:\\p\\.vscode\\mcp.json"],
  ["codex", LINUX, "/home/ada/.codex/config.toml", undefined],
  ["codex", MAC, "/Users/ada/.codex/config.toml", undefined],
  ["codex", WINDOWS, "C:\\Users\\ada\\.codex\\config.toml", undefined],
  ["gemini", LINUX, "/home/ada/.gemini/settings.json", "/home/ada/p/.gemini/settings.json"],
  ["gemini", MAC, "/Users/ada/.gemini/settings.json", "/Users/ada/p/.gemini/settings.json"],
  ["gemini", WINDOWS, "C:\\Users\\ada\\.gemini\\settings.json", "C:\\p\\.gemini\\settings.json"],
  ["windsurf", LINUX, "/home/ada/.codeium/windsurf/mcp_config.json", undefined],
  ["windsurf", MAC, "/Users/ada/.codeium/windsurf/mcp_config.json", undefined],
  ["windsurf", WINDOWS, "C:\\Users\\ada\\.codeium\\windsurf\\mcp_config.json", undefined],
] as const)("%s has its files where it looks for them: %o", (id, machine, user, project) => {
  const client = mcpClient(id);
  expect(configFileOf(client, "user", machine)).toBe(user);
  expect(client.projectFile?.(machine)).toBe(project);
  if (project === undefined)
    expect(() => configFileOf(client, "project", machine)).toThrow("has no MCP settings for one project");
});

test("the variables that move a client's files are followed", () => {
  const env = { CLAUDE_CONFIG_DIR: "/c", CODEX_HOME: "/x", XDG_CONFIG_HOME: "/g" };
  const files = Object.fromEntries(
    MCP_CLIENTS.map((client) => [client.id, client.userFile({ ...LINUX, env })]),
  );
  expect(files).toMatchObject({
    "claude-code": "/c/.claude.json",
    codex: "/x/config.toml",
    vscode: "/g/Code/User/mcp.json",
  });
  expect(mcpClient("vscode").userFile({ ...WINDOWS, env: {} })).toBe(
    "C:\\Users\\ada\\AppData\\Roaming\\Code\\User\\mcp.json",
  );
});

test("a URL is written under the key that each client reads", () => {
  const url = "https://cerver.example.com/mcp";
  const entryOf = (id: string) => wantedEntry(mcpClient(id), { url });
  expect(entryOf("claude-code")).toEqual({ type: "http", url });
  expect(entryOf("vscode")).toEqual({ type: "http", url });
  expect(entryOf("cursor")).toEqual({ url });
  expect(entryOf("codex")).toEqual({ url });
  expect(entryOf("gemini")).toEqual({ httpUrl: url });
  expect(entryOf("windsurf")).toEqual({ serverUrl: url });
  expect(() => entryOf("claude-desktop")).toThrow("Claude Desktop takes no URL of a server from its file.");
  expect(() => mcpClient("emacs")).toThrow('"emacs" is no MCP client');
});

const NODE = { platform: "linux" as const, execPath: "/opt/n/v20/bin/node", env: {} };

test.each([
  [
    { program: "/opt/cerver/bin/cerver.js" },
    { command: NODE.execPath, args: ["/opt/cerver/bin/cerver.js", "mcp"] },
  ],
  [
    { program: "/home/ada/.local/bin/cerver-mcp" },
    { command: NODE.execPath, args: ["/home/ada/.local/bin/cerver-mcp"] },
  ],
  [
    { program: "/bin/cerver", gatewayUrl: "http://x:1" },
    { command: NODE.execPath, args: ["/bin/cerver", "mcp", "--gateway", "http://x:1"] },
  ],
  [
    { program: "/home/ada/.npm/_npx/0a/node_modules/.bin/cerver" },
    {
      command: "/opt/n/v20/bin/npx",
      args: ["-y", "-p", "cerver", "cerver-mcp"],
      env: { PATH: "/opt/n/v20/bin:/usr/local/bin:/usr/bin:/bin" },
    },
  ],
  [
    { program: "C:\\npm-cache\\_npx\\0a\\node_modules\\cerver\\bin\\cerver.js", platform: "win32" as const },
    { command: "cmd", args: ["/c", "npx", "-y", "-p", "cerver", "cerver-mcp"] },
  ],
  [
    {
      program: "/opt/cerver/bin/cerver.js",
      portable: true,
      gatewayUrl: "http://x:1",
      env: { CERVER_HOME: "/x" },
    },
    { command: "npx", args: ["-y", "-p", "cerver", "cerver-mcp", "--gateway", "http://x:1"] },
  ],
  [
    { program: "/bin/cerver", env: { CERVER_HOME: "/x", CERVER_API_TOKEN: "ck_1" } },
    { command: NODE.execPath, args: ["/bin/cerver", "mcp"], env: { CERVER_HOME: "/x" } },
  ],
])("the command for %o", (options, expected) => {
  expect(launchCommand({ ...NODE, ...options })).toEqual(expected);
});
