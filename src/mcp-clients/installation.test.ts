import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { MCP_CLIENTS, type McpClient, mcpClient } from "./clients.js";
import { readConfigText } from "./config-text.js";
import { carryOut, planInstall, planUninstall } from "./installation.js";
import type { Machine } from "./machine.js";
import { clientStatuses } from "./status.js";

const TOKEN = "ck_0123456789abcdef";
const COMMAND = { command: "/usr/bin/node", args: ["/opt/cerver/bin/cerver.js", "mcp"] };

let home: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "mcp clients-"));
});
afterEach(() => rm(home, { recursive: true, force: true }));

/** A client on another system, with its files on this one: only the separators of its paths differ. */
function on(platform: NodeJS.Platform, { ...client }: McpClient) {
  const machine: Machine = { platform, home, cwd: join(home, "project"), env: {} };
  const userFile = client.userFile(machine).replaceAll("\\", "/");
  return { client: { ...client, userFile: () => userFile }, machine, scope: "user", name: "cerver" } as const;
}

type Target = ReturnType<typeof on>;
const fileOf = ({ client }: Target) => client.userFile();
const wanted = ({ client }: Target) => client.local(COMMAND);

async function install(target: Target, dropTokens = true) {
  const plan = await planInstall(target, wanted(target), { dropTokens });
  return { ...plan, ...(await carryOut(plan)) };
}

async function uninstall(target: Target) {
  const plan = await planUninstall(target);
  return { ...plan, ...(await carryOut(plan)) };
}

async function write(path: string, text: string, mode = 0o600) {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text, { mode });
  await chmod(path, mode);
}

async function servers(target: Target) {
  const text = await readFile(fileOf(target), "utf8");
  return Object.fromEntries((await readConfigText(text, target.client.syntax, target.client.key)).servers);
}

/** Settings as a person has them, with as much in them as that client allows. */
function lived({ client: { syntax, key } }: Target): string {
  if (syntax.format === "toml")
    return '# mine\nmodel = "o9"\n\n[mcp_servers.other] # theirs\ncommand = "x"\nenv = { PAT = "ghp_other" }\n';
  const [comment, comma] = [syntax.comments ? " // mine" : "", syntax.trailingCommas ? "," : ""];
  return `{${comment}\n    "theme": "dark",\n    "${key}": {${comment}\n        "other": {"command": "x", "env": {"PAT": "ghp_other"}}${comma}${comment}\n    }${comma}\n}`;
}

/** What older instructions said, with the token in the file. */
function older({ client: { syntax, key } }: Target): string {
  if (syntax.format === "toml")
    return `[mcp_servers.cerver]\ncommand = "npx"\nargs = ["-y", "cerver-mcp"]\nenv = { CERVER_API_TOKEN = "${TOKEN}", STRIPE_KEY = "sk_1" }\n`;
  const entry = {
    command: "npx",
    args: ["-y", "cerver-mcp"],
    env: { CERVER_API_TOKEN: TOKEN, STRIPE_KEY: "sk_1" },
    timeout: 9,
  };
  return `${JSON.stringify({ [key]: { cerver: entry } }, null, 2)}\n`;
}

const broken = ({ client: { syntax } }: Target) =>
  syntax.format === "toml" ? "a = 1\nb = [" : '{\n  "a": tru';

const everywhere = (["linux", "darwin", "win32"] as const).flatMap((platform) =>
  MCP_CLIENTS.map((client) => [client.id, platform] as const),
);

describe.each(everywhere)("%s on %s", (id, platform) => {
  let target: Target;
  beforeEach(() => {
    target = on(platform, mcpClient(id));
  });

  test("a fresh file is for its user alone, and a second install changes nothing", async () => {
    expect(await install(target)).toMatchObject({ action: "add", backup: undefined });
    expect(await servers(target)).toEqual({ cerver: wanted(target) });
    expect((await stat(fileOf(target))).mode & 0o777).toBe(0o600);
    const before = await stat(fileOf(target));
    expect(await install(target)).toMatchObject({ action: "nothing", diff: [], backup: undefined });
    expect((await stat(fileOf(target))).mtimeMs).toBe(before.mtimeMs);
  });

  test("what is there stays byte for byte, over an install and an uninstall", async () => {
    const text = lived(target);
    await write(fileOf(target), text, 0o640);
    const { action, diff, backup } = await install(target);
    expect(action).toBe("add");
    expect(diff.slice(1).every((line) => line.startsWith("+"))).toBe(true);
    expect(diff.join("\n")).not.toContain("ghp_other");
    expect(await readFile(backup!, "utf8")).toBe(text);
    expect(await servers(target)).toMatchObject({ cerver: wanted(target), other: { command: "x" } });
    expect((await stat(fileOf(target))).mode & 0o777).toBe(0o640);
    expect(await uninstall(target)).toMatchObject({ action: "remove" });
    expect(await readFile(fileOf(target), "utf8")).toBe(text);
    expect(await uninstall(target)).toMatchObject({ action: "nothing", backup: undefined });
  });

  test("an older form of ours is brought up to date: the token goes, the owner's fields stay", async () => {
    await write(fileOf(target), older(target));
    const kept = await planInstall(target, wanted(target), { dropTokens: false });
    expect(kept).toMatchObject({ action: "change", heldToken: true, holdsToken: true });
    const done = await install(target);
    expect(done).toMatchObject({ action: "change", heldToken: true, holdsToken: false });
    expect(done.diff.join("\n")).not.toContain(TOKEN);
    expect(done.diff.join("\n")).not.toContain("sk_1");
    const { cerver } = await servers(target);
    expect(cerver).toMatchObject({ ...wanted(target), env: { STRIPE_KEY: "sk_1" } });
    expect(JSON.stringify(cerver)).not.toContain(TOKEN);
    if (target.client.syntax.format === "json") expect(cerver).toMatchObject({ timeout: 9 });
  });

  test("a broken file is refused with its place, and left alone", async () => {
    await write(fileOf(target), broken(target));
    const refusal = await install(target).catch((error: Error) => error);
    expect(refusal).toMatchObject({
      code: "invalid_request",
      hint: expect.stringContaining("Mend the file there"),
    });
    expect((refusal as Error).message).toMatch(/:2:\d+: .+\. The file was left alone\.$/);
    expect(await readFile(fileOf(target), "utf8")).toBe(broken(target));
    expect(await readdir(dirname(fileOf(target)))).toHaveLength(1);
  });

  test("a link is followed, and stays one", async () => {
    const dotfiles = join(home, "dotfiles", "settings");
    await write(dotfiles, lived(target), 0o644);
    await mkdir(dirname(fileOf(target)), { recursive: true });
    await symlink(dotfiles, fileOf(target));
    const { backup } = await install(target);
    expect((await lstat(fileOf(target))).isSymbolicLink()).toBe(true);
    expect(await readFile(dotfiles, "utf8")).toContain("/opt/cerver/bin/cerver.js");
    // The copy may hold others' secrets, and a repository of settings is no place for it.
    expect(dirname(backup!)).toBe(dirname(fileOf(target)));
    expect(await readdir(dirname(dotfiles))).toEqual(["settings"]);
  });

  test("a server of that name that is not ours is left alone", async () => {
    const text = older(target).replaceAll("cerver-mcp", "another");
    await write(fileOf(target), text);
    await expect(install(target)).rejects.toMatchObject({ code: "conflict" });
    await expect(uninstall(target)).rejects.toMatchObject({ code: "conflict" });
    expect(await readFile(fileOf(target), "utf8")).toBe(text);
    const other = { ...target, name: "cerver2" };
    await install(other as unknown as Target);
    expect(await servers(target)).toMatchObject({
      cerver2: wanted(target),
      cerver: { args: ["-y", "another"] },
    });
  });
});

test("of the copies the newest three stay", async () => {
  const target = on("linux", mcpClient("cursor"));
  await write(fileOf(target), lived(target));
  for (let round = 0; round < 3; round++) {
    await install(target);
    await uninstall(target);
  }
  const copies = (await readdir(dirname(fileOf(target)))).filter((name) => name.includes(".cerver-backup-"));
  expect(copies).toHaveLength(3);
});

test("a file that another program writes in between is left alone", async () => {
  const target = on("linux", mcpClient("claude-code"));
  await write(fileOf(target), lived(target));
  const plan = await planInstall(target, wanted(target), { dropTokens: true });
  await write(fileOf(target), '{"new": 1}');
  await expect(carryOut(plan)).rejects.toMatchObject({ code: "conflict" });
  expect(await readFile(fileOf(target), "utf8")).toBe('{"new": 1}');
  expect((await readdir(home)).filter((name) => !name.includes("backup"))).toEqual([".claude.json"]);
});

test("a byte order mark stays, and what is not UTF-8 is refused", async () => {
  const target = on("win32", mcpClient("vscode"));
  await write(fileOf(target), `\ufeff${lived(target)}`);
  await install(target);
  expect((await readFile(fileOf(target), "utf8")).startsWith("\ufeff{")).toBe(true);
  await uninstall(target);
  expect(await readFile(fileOf(target), "utf8")).toBe(`\ufeff${lived(target)}`);
  await writeFile(fileOf(target), Buffer.from(lived(target), "utf16le"));
  await expect(install(target)).rejects.toMatchObject({ code: "invalid_request" });
  await writeFile(fileOf(target), Buffer.from([0xff, 0xfe, 0x7b, 0x00]));
  await expect(install(target)).rejects.toThrow("is not in UTF-8. The file was left alone.");
});

test("links in a circle, folders and files on the way are said", async () => {
  const target = on("linux", mcpClient("cursor"));
  await mkdir(dirname(fileOf(target)), { recursive: true });
  await symlink(fileOf(target), fileOf(target));
  await expect(install(target)).rejects.toThrow("is a link that leads back to itself.");
  await rm(fileOf(target));
  await mkdir(fileOf(target));
  await expect(install(target)).rejects.toThrow("is no file.");
  await rm(dirname(fileOf(target)), { recursive: true });
  await writeFile(dirname(fileOf(target)), "");
  await expect(install(target)).rejects.toMatchObject({ code: "forbidden" });
});

test("a change of how it is reached takes what belongs to the other way", async () => {
  const target = on("linux", mcpClient("claude-code"));
  await write(fileOf(target), older(target));
  const url = "https://gateway.cerver.ai/mcp";
  await carryOut(await planInstall(target, target.client.remote!(url), { dropTokens: false }));
  expect(await servers(target)).toEqual({ cerver: { type: "http", url, timeout: 9 } });
  await install(target);
  expect(await servers(target)).toEqual({ cerver: { ...wanted(target), timeout: 9 } });
});

test("says which clients are here, and what each has", async () => {
  await install(on("linux", mcpClient("codex")));
  const cursor = on("linux", mcpClient("cursor"));
  await write(fileOf(cursor), older(cursor));
  const gemini = on("linux", mcpClient("gemini"));
  await write(fileOf(gemini), broken(gemini));
  const vscode = on("linux", mcpClient("vscode"));
  await write(fileOf(vscode), lived(vscode));
  const { machine } = cursor;
  await write(
    join(machine.cwd, ".mcp.json"),
    '{"mcpServers":{"memory":{"type":"http","url":"https://cerver.example.com/mcp"}}}',
  );
  const statuses = await clientStatuses(machine);
  expect(statuses.map(({ client, found }) => [client, found])).toEqual([
    ["claude-code", false],
    ["claude-desktop", false],
    ["cursor", true],
    ["vscode", true],
    ["codex", true],
    ["gemini", true],
    ["windsurf", false],
  ]);
  const placesOf = (id: string) => statuses.find(({ client }) => client === id)!.places;
  expect(placesOf("codex")).toMatchObject([
    {
      exists: true,
      servers: [{ name: "cerver", command: [COMMAND.command, ...COMMAND.args], holds_token: false }],
    },
  ]);
  expect(placesOf("cursor")[0]!.servers).toMatchObject([{ holds_token: true }]);
  expect(placesOf("gemini")[0]!.problem!.error).toContain("settings.json:2:");
  expect(placesOf("vscode")[0]).toMatchObject({ exists: true, servers: [] });
  expect(placesOf("claude-code")[1]).toMatchObject({
    scope: "project",
    servers: [{ name: "memory", url: "https://cerver.example.com/mcp", holds_token: false }],
  });
  expect(JSON.stringify(statuses)).not.toContain(TOKEN);
});
