import { symlinkSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Home, newHome } from "./run-cerver.js";

let home: Home;
beforeAll(async () => {
  home = await newHome();
});
afterAll(() => home.remove());

test("--version prints the package's version", async () => {
  const { version } = JSON.parse(
    await (await import("node:fs/promises")).readFile(join(import.meta.dirname, "../package.json"), "utf8"),
  );
  expect(await home.run(["--version"])).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
});

test("--help lists every verb, and each verb's help has an example", async () => {
  const { stdout } = await home.run(["--help"]);
  const verbs = [...stdout.matchAll(/^ {2}([a-z-]+)(?: (?:\[|<)| {2,})/gm)]
    .map((match) => match[1]!)
    .filter((verb) => verb !== "help");
  expect(verbs).toEqual([
    "up",
    "run",
    "runs",
    "logs",
    "attach",
    "kill",
    "sessions",
    "peek",
    "export",
    "import",
    "search",
    "pause",
    "resume",
    "move",
    "why",
    "port",
    "computes",
    "gateway",
    "relay",
    "sync",
    "provider",
    "route",
    "stress-test",
    "limits",
    "audit",
    "mcp",
    "doctor",
    "secrets",
    "login",
    "logout",
    "whoami",
    "signin-link",
    "completion",
  ]);
  for (const verb of verbs)
    expect((await home.run([verb, "--help"])).stdout, verb).toMatch(/Examples?[^\n]*:\n {2}\$ /);
});

test.each([
  [["sesions"], 2, "(Did you mean sessions?)"],
  [["run"], 2, "missing required argument 'code'"],
  [["run", "true", "--timeout", "soon"], 2, "It has to be a time such as 30s, 5m or 1h."],
  [["up", "--port", "99999"], 2, "It has to be a whole number from 0 to 65535."],
  [["export", "x", "--format", "pdf"], 2, "Allowed choices are text, markdown, jsonl."],
  [["whoami", "--gateway", "ftp://x"], 1, "There is no token for the gateway ftp://x."],
  [["completion", "tcsh"], 1, 'There is no completion for the shell "tcsh".'],
])("%j exits %i and says why", async (args, code, text) => {
  const result = await home.run(args);
  expect({ code: result.code, stdout: result.stdout }).toEqual({ code, stdout: "" });
  expect(result.stderr).toContain(text);
});

test.each(["bash", "zsh"])("the completion for %s is a script that shell accepts", async (shell) => {
  const { stdout } = await home.run(["completion", shell]);
  expect(stdout).toContain("sessions");
  if (shell !== "bash") return;
  const { spawnSync } = await import("node:child_process");
  const script = `${stdout}\nCOMP_WORDS=(cerver ses); COMP_CWORD=1; _cerver; echo "\${COMPREPLY[@]}"`;
  expect(spawnSync("bash", ["-c", script], { encoding: "utf8" })).toMatchObject({
    status: 0,
    stdout: "sessions\n",
  });
});

test("as cerver-mcp it is cerver mcp", async () => {
  const link = join(home.folder, "cerver-mcp");
  symlinkSync(join(import.meta.dirname, "../bin/cerver.js"), link);
  const { spawnSync } = await import("node:child_process");
  const initialize = {
    jsonrpc: "2.0",
    id: 1,
    method: "initialize",
    params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "t", version: "1" } },
  };
  const { stdout } = spawnSync(process.execPath, [link], {
    env: home.env,
    input: `${JSON.stringify(initialize)}\n`,
    encoding: "utf8",
    timeout: 15_000,
  });
  expect(JSON.parse(stdout.split("\n")[0] || "{}")).toMatchObject({
    result: { serverInfo: { name: "cerver" } },
  });
});
