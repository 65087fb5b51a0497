import { spawnSync } from "node:child_process";
import { chmod, mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { apiKey, openCredentialStore } from "../src/login/credential-store.js";
import { MCP_CLIENTS } from "../src/mcp-clients/clients.js";
import { type Cerver, startCerver } from "./harness.js";
import { type Home, newHome } from "./run-cerver.js";

const ROOT = join(import.meta.dirname, "..");
const BIN = join(ROOT, "bin", "cerver.js");

let home: Home;
beforeEach(async () => {
  home = await newHome();
});
afterEach(() => home.remove());

const install = (args: string[], env?: Record<string, string>) =>
  home.run(["mcp", "install", ...args], { ...(env && { env }) });
const read = (...path: string[]) => readFile(join(home.folder, ...path), "utf8");

describe("the command that is written", () => {
  let cerver: Cerver;
  beforeAll(async () => {
    cerver = await startCerver();
  });
  afterAll(() => cerver.stop());

  /** Starts what a client's file says as a program with windows does: with hardly any variables, and no Node in its PATH. */
  async function start({
    command,
    args,
    env,
  }: {
    command: string;
    args: string[];
    env?: Record<string, string>;
  }) {
    const client = new Client({ name: "test", version: "1" });
    const poor = {
      HOME: home.folder,
      PATH: "/nowhere",
      LANG: "",
      SHELL: "",
      USER: "",
      TERM: "",
      LOGNAME: "",
    };
    await client.connect(
      new StdioClientTransport({ command, args, env: { ...poor, ...env }, cwd: "/", stderr: "pipe" }),
    );
    return client;
  }

  test.each([
    ["claude-code", ".claude.json"],
    ["cursor", ".cursor/mcp.json"],
  ])("%s: starts cerver with a login, and no token in the file", async (client, file) => {
    const { url } = cerver.gateway;
    const credentials = openCredentialStore({
      configDir: join(home.folder, ".config", "cerver"),
      env: { CERVER_CREDENTIALS: "file" },
    });
    await credentials.set(apiKey(url), cerver.token);
    const { code, stdout, stderr } = await install(["--client", client, "--gateway", url]);
    expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringContaining("has cerver now.\n") });
    expect(stderr).not.toContain("cerver login");
    const text = await read(file);
    expect(text).not.toContain(cerver.token);
    const session = await cerver.session({ session_name: `seen by ${client}` });
    const started = await start(JSON.parse(text).mcpServers.cerver);
    try {
      const result = (await started.callTool({
        name: "cerver_session_list",
        arguments: { limit: 1 },
      })) as any;
      expect(result).toMatchObject({
        structuredContent: { sessions: [{ session_id: session, name: `seen by ${client}` }] },
      });
    } finally {
      await started.close();
    }
  });

  test("codex, started by a link that an update moves, with files elsewhere and the gateway of the settings", async () => {
    const files = join(home.folder, "elsewhere");
    const link = join(home.folder, "cerver-mcp");
    await symlink(BIN, link);
    await openCredentialStore({
      configDir: join(files, ".config"),
      env: { CERVER_CREDENTIALS: "file" },
    }).set(apiKey(cerver.gateway.url), cerver.token);
    await writeFile(
      join(files, ".config", "config.json"),
      JSON.stringify({ gateway_url: cerver.gateway.url }),
    );
    const env = { ...home.env, CERVER_HOME: files };
    const { status, stderr } = spawnSync(process.execPath, [link, "install", "--client", "codex"], {
      env,
      encoding: "utf8",
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: expect.not.stringContaining("cerver login") });
    const lines = (await read(".codex", "config.toml")).trimEnd().split("\n");
    expect(lines.slice(2)).toEqual([
      `args = [${JSON.stringify(link)}]`,
      `env = { CERVER_HOME = ${JSON.stringify(files)} }`,
    ]);
    const started = await start({
      command: JSON.parse(/^command = (.+)$/.exec(lines[1]!)![1]!),
      args: [link],
      env: { CERVER_HOME: files },
    });
    try {
      const result = (await started.callTool({ name: "cerver_session_list", arguments: {} })) as any;
      expect(result.isError ?? false).toBe(false);
    } finally {
      await started.close();
    }
  });
});

test("without a login it says what comes next; a second time changes nothing; --uninstall takes it out", async () => {
  const args = ["--client", "vscode", "--gateway", "http://127.0.0.1:9"];
  const file = join(home.folder, ".config", "Code", "User", "mcp.json");
  const first = await install(args);
  expect(first.code).toBe(0);
  expect(first.stdout).toContain(`${file}\n@@ line 1 @@\n+{\n+  "servers": {\n`);
  expect(first.stderr).toContain("Next: cerver login --gateway http://127.0.0.1:9");
  const text = await readFile(file, "utf8");
  expect((await install(args)).stdout).toBe(`VS Code has cerver already: nothing was changed in ${file}.\n`);
  expect(await readFile(file, "utf8")).toBe(text);
  expect(JSON.parse((await install([...args, "--json"])).stdout)).toEqual({
    client: "vscode",
    scope: "user",
    name: "cerver",
    file,
    action: "nothing",
    diff: [],
    backup: null,
    holds_token: false,
    needs_login: true,
  });
  const list = await install([]);
  expect(list.stdout).toMatch(/^CLIENT +HERE +CERVER +FILE\n/);
  expect(list.stdout).toMatch(/^vscode +yes +yes +\S/m);
  expect(list.stdout).toMatch(/^windsurf +no +no +\S/m);
  const out = await install(["--client", "vscode", "--uninstall"]);
  expect(out).toMatchObject({ code: 0, stdout: expect.stringContaining("cerver is out of VS Code.\n") });
  expect(await readFile(file, "utf8")).toBe('{\n  "servers": {}\n}\n');
  const again = await install(["--client", "vscode", "--uninstall"]);
  expect(again.stdout).toBe(`VS Code has no server "cerver": nothing was changed in ${file}.\n`);
});

test("the gateway and the place of this shell's variables go into the file, its token does not", async () => {
  const env = { CERVER_GATEWAY_URL: "http://127.0.0.1:9/", CERVER_API_TOKEN: "ck_of_this_shell" };
  const { stdout, stderr } = await install(["--client", "claude-desktop", "--yes"], env);
  const text = await read(".config", "Claude", "claude_desktop_config.json");
  expect(JSON.parse(text).mcpServers.cerver).toEqual({
    command: process.execPath,
    args: [BIN, "mcp", "--gateway", "http://127.0.0.1:9"],
  });
  expect(stdout + stderr + text).not.toContain("ck_of_this_shell");
  expect(stderr).toContain("cerver login");
});

test("a project's file is written in the project, and --url names the gateway's own endpoint", async () => {
  const { code, stderr } = await install(["--client", "claude-code", "--scope", "project"]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringContaining("add --portable") });
  expect((await stat(join(home.folder, ".mcp.json"))).mode & 0o777).toBe(0o644);
  await install([
    "--client",
    "claude-code",
    "--scope",
    "project",
    "--url",
    "--gateway",
    "https://c.example.com",
  ]);
  expect(JSON.parse(await read(".mcp.json"))).toEqual({
    mcpServers: { cerver: { type: "http", url: "https://c.example.com/mcp" } },
  });
});

test.each([
  [
    ["--client", "emacs"],
    1,
    "Use one of: claude-code, claude-desktop, cursor, vscode, codex, gemini, windsurf.",
  ],
  [["--client", "codex", "--scope", "project"], 1, "hint: Leave out --scope"],
  [["--client", "claude-desktop", "--url"], 1, "hint: Leave out --url"],
  [["--client", "cursor", "--gateway", "https://me:pw@x"], 1, "with no token in it"],
  [["--client", "cursor", "--name", "a b"], 2, "It has to be 1 to 64 letters"],
  [["--uninstall"], 1, "hint: Add --client"],
  [["--client", "cursor", "--uninstall", "--print"], 1, "do not go together"],
])("%j is refused, and nothing is written", async (args, code, text) => {
  const result = await install(args);
  expect({ code: result.code, stdout: result.stdout }).toEqual({ code, stdout: "" });
  expect(result.stderr).toContain(text);
  expect(await readdir(home.folder)).toEqual([]);
});

test("a folder that may not be written to is said, and nothing is left in it", async () => {
  const folder = join(home.folder, ".cursor");
  await mkdir(folder);
  await writeFile(join(folder, "mcp.json"), "{}\n", { mode: 0o644 });
  await chmod(folder, 0o555);
  await chmod(home.folder, 0o755);
  // The superuser may write everywhere, so somebody else runs it.
  const asOther = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};
  const { status, stderr } = spawnSync(process.execPath, [BIN, "mcp", "install", "--client", "cursor"], {
    env: home.env,
    encoding: "utf8",
    ...asOther,
  });
  await chmod(folder, 0o755);
  expect(status).toBe(1);
  expect(stderr).toContain(
    `error: cerver cannot write ${join(folder, "mcp.json")}: this user may not. Nothing was changed.`,
  );
  expect(stderr).toContain("--print");
  expect(await readdir(folder)).toEqual(["mcp.json"]);
});

const hasScript = spawnSync("script", ["--version"]).status === 0;
test.skipIf(!hasScript)("on a terminal it asks, and only yes is yes", async () => {
  const file = join(home.folder, ".cursor", "mcp.json");
  const answer = (input: string, flags = "") =>
    spawnSync(
      "script",
      ["-qec", `'${process.execPath}' '${BIN}' mcp install --client cursor ${flags}`, "/dev/null"],
      {
        env: home.env,
        input,
        encoding: "utf8",
        timeout: 15_000,
      },
    );
  const no = answer("n\n");
  expect(no.stdout).toContain("Write this? [y/N]");
  expect(no.stdout).toContain("Nothing was changed.");
  expect(no.status).toBe(1);
  await expect(stat(file)).rejects.toThrow("ENOENT");
  expect(answer("y\n").status).toBe(0);
  expect(await readFile(file, "utf8")).toContain(BIN);
  expect(answer("", "--uninstall --yes").stdout).not.toContain("[y/N]");
});

test.each(MCP_CLIENTS.map(({ id, label }) => [id, label]))(
  "the README's block for %s is what --print says",
  async (id, label) => {
    const { stdout, stderr } = await install(["--client", id, "--print", "--portable"]);
    expect(stderr).toMatch(/^For \/.+:\n$/);
    const language = id === "codex" ? "toml" : "json";
    const readme = await readFile(join(ROOT, "README.md"), "utf8");
    const [, details] = readme.split(`<details><summary>${label}`);
    expect(details?.split("</details>")[0]).toContain(`\n\`\`\`${language}\n${stdout}\`\`\`\n`);
    expect(await readdir(home.folder)).toEqual([]);
  },
);
