import { type ChildProcess, execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import {
  chmod,
  copyFile,
  cp,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  realpath,
  rm,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Cerver, startCerver } from "./harness.js";
import { type PackageServer, startPackageServer } from "./package-server.js";

const exec = promisify(execFile);
const root = join(import.meta.dirname, "..");
const script = join(root, "install-cerver.sh");
const shells = ["dash", "bash"].filter(
  (name) => existsSync(`/bin/${name}`) || existsSync(`/usr/bin/${name}`),
);
const TOOLS =
  "sh env uname id find mkdir rm rmdir mv cp ln readlink cat cut head tail sed grep awk cmp chmod mktemp dirname basename tar gzip curl sha256sum sleep ls git";

/** Made once: a tarball of this package, as npm packs it, and a Node as nodejs.org packs one. */
let folder: string;
let tarball: string;
let archive: string;
/** A PATH with the tools of a bare system, and no Node. */
let bare: string;
let server: PackageServer;
const sums = { right: "", wrong: "" };

let home: string;
let env: Record<string, string>;
const running = new Set<ChildProcess>();

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cerver-install-"));
  const packed = await exec("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder], {
    cwd: root,
  });
  tarball = join(folder, JSON.parse(packed.stdout)[0].filename);
  archive = await packNode();
  bare = join(folder, "bare");
  await mkdir(bare);
  for (const tool of TOOLS.split(" ")) {
    await symlink((await exec("sh", ["-c", `command -v ${tool}`])).stdout.trim(), join(bare, tool));
  }
  const sum = createHash("sha256")
    .update(await readFile(archive))
    .digest("hex");
  const name = archive.slice(folder.length + 1);
  sums.right = `${"0".repeat(64)}  ${name.replace(".gz", ".xz")}\n${sum}  ${name}\n`;
  sums.wrong = `${"0".repeat(64)}  ${name}\n`;
  const versions = await Promise.all(["0.2.0", "0.3.0", "0.4.0", "0.5.0"].map(repack));
  server = await startPackageServer(versions, archive);
}, 120_000);
afterAll(async () => {
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "cerver it's home-"));
  await mkdir(join(folder, "tmp"), { recursive: true });
  server.stall = false;
  server.sums = sums.right;
  server.requests.length = 0;
  env = {
    PATH: `${dirname(process.execPath)}:${process.env.PATH}`,
    HOME: home,
    SHELL: "/bin/bash",
    TMPDIR: join(folder, "tmp"),
    npm_config_registry: server.registry,
    npm_config_cache: join(folder, "cache"),
    CERVER_NODE_MIRROR: server.url,
  };
});
afterEach(async () => {
  for (const child of running) killGroup(child, "SIGKILL");
  await rm(home, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
});

/** `bin/node` is the one of this machine; npm is its own. */
async function packNode(): Promise<string> {
  const name = `node-v${process.versions.node}-${process.platform}-${process.arch}`;
  const tree = join(folder, name);
  const npm = dirname(dirname(await realpath((await exec("sh", ["-c", "command -v npm"])).stdout.trim())));
  await mkdir(join(tree, "bin"), { recursive: true });
  await mkdir(join(tree, "lib/node_modules"), { recursive: true });
  await copyFile(process.execPath, join(tree, "bin/node"));
  await cp(npm, join(tree, "lib/node_modules/npm"), { recursive: true });
  await symlink("../lib/node_modules/npm/bin/npm-cli.js", join(tree, "bin/npm"));
  await exec("sh", ["-c", `tar -cf - '${name}' | gzip -1 >'${name}.tar.gz'`], { cwd: folder });
  await rm(tree, { recursive: true });
  return join(folder, `${name}.tar.gz`);
}

/** The package under another number, for a registry. */
async function repack(version: string) {
  const tree = join(folder, version);
  await mkdir(tree);
  await exec("tar", ["-xzf", tarball, "-C", tree]);
  const manifest = join(tree, "package/package.json");
  const { optionalDependencies, ...rest } = JSON.parse(await readFile(manifest, "utf8"));
  await writeFile(manifest, JSON.stringify({ ...rest, optionalDependencies, version }));
  const file = join(folder, `cerver-${version}.tgz`);
  await exec("tar", ["-czf", file, "-C", tree, "package"]);
  await rm(tree, { recursive: true });
  return { name: "cerver", version, file, optionalDependencies };
}

function start(args: string[], more: Record<string, string> = {}, shell = "sh") {
  const child = spawn(shell, [script, ...args], {
    env: { ...env, ...more },
    cwd: home,
    stdio: ["ignore", "pipe", "pipe"],
    // A group of its own, as a terminal gives it, and no terminal.
    detached: true,
  });
  running.add(child);
  let said = "";
  for (const stream of [child.stdout!, child.stderr!]) stream.on("data", (chunk: Buffer) => (said += chunk));
  const ended = new Promise<{ code: number | null; said: string }>((resolve) =>
    child.once("close", (code) => {
      running.delete(child);
      resolve({ code, said });
    }),
  );
  return { child, ended, said: () => said };
}
const install = (args: string[], more?: Record<string, string>, shell?: string) =>
  start(args, more, shell).ended;

function killGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  try {
    process.kill(-child.pid!, signal);
  } catch {
    // It has ended.
  }
}

/** Every path of the home with what tells a change; nothing for an empty home. */
async function look(at = home): Promise<string[]> {
  const paths = await readdir(at, { recursive: true });
  const lines = paths.map(async (path) => {
    const found = await lstat(join(at, path));
    // A folder in which something was made and removed is the same folder.
    return found.isDirectory()
      ? `${path}/ ${found.ino}`
      : `${path} ${found.ino} ${found.mtimeMs} ${found.size}`;
  });
  return (await Promise.all(lines)).sort();
}

const current = () => readlink(join(home, ".local/share/cerver/current"));
const cerver = async (args: string[], name = "cerver", more: Record<string, string> = {}) =>
  (await exec(join(home, ".local/bin", name), args, { env: { ...env, ...more } })).stdout;

describe.each(shells)("under %s", (shell) => {
  test("installs a tarball, a second time changes nothing, and --uninstall leaves nothing", async () => {
    const first = await install(["--no-start"], { CERVER_SOURCE: tarball }, shell);
    expect(first, first.said).toMatchObject({ code: 0 });
    expect(first.said).toContain(`Next: ${home}/.local/bin/cerver relay`);
    expect(first.said).toContain(`export PATH="$HOME/.local/bin:$PATH"' >>~/.bashrc`);
    expect((await cerver(["--version"])).trim()).toBe("0.1.0");
    expect(await current()).toMatch(/^versions\/0\.1\.0-[0-9a-f]{12}$/);
    // Both names, and the second one speaks MCP.
    const mcp = execFile(join(home, ".local/bin/cerver-mcp"), { env });
    mcp.stdin!.end(
      '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}\n',
    );
    let answer = "";
    for await (const chunk of mcp.stdout!) answer += chunk;
    expect(answer).toContain('"serverInfo"');

    const before = await look();
    const second = await install(["--no-start"], { CERVER_SOURCE: tarball }, shell);
    expect(second, second.said).toMatchObject({ code: 0 });
    expect(second.said).toContain("Nothing had to be changed.");
    expect(await look()).toEqual(before);

    expect(second.said).toContain(`To keep it running: ${home}/.local/bin/cerver relay service install`);
    const unit = join(home, ".config/systemd/user/cerver-relay.service");
    await mkdir(dirname(unit), { recursive: true });
    await writeFile(unit, "[Service]\nExecStart=/bin/false\n");

    const removed = await install(["--uninstall"], {}, shell);
    expect(removed, removed.said).toMatchObject({ code: 0 });
    expect(removed.said).toContain(`Removed ${unit}`);
    await rm(join(home, ".config"), { recursive: true });
    expect(await look()).toEqual([]);
    expect((await install(["--uninstall"], {}, shell)).said).toContain("nothing of cerver to remove");
  });
});

test("installs versions of npm beside each other, into XDG_DATA_HOME, and keeps the two before", async () => {
  const more = { XDG_DATA_HOME: join(home, "da ta") };
  const versions = () => readdir(join(home, "da ta/cerver/versions"));
  for (const version of ["0.2.0", "0.3.0", "0.4.0"]) {
    const done = await install(["--version", version, "--no-start"], more);
    expect(done, done.said).toMatchObject({ code: 0 });
    expect(await readlink(join(home, "da ta/cerver/current"))).toBe(`versions/${version}`);
  }
  expect((await versions()).sort()).toEqual(["0.2.0", "0.3.0", "0.4.0"]);
  // The newest, unless said.
  expect((await install(["--no-start"], more)).said).toContain("Removed");
  expect((await versions()).sort()).toEqual(["0.3.0", "0.4.0", "0.5.0"]);
  const back = await install(["--version=0.4.0", "--no-start"], more);
  expect(back.said).toContain("There already");
  expect(await readlink(join(home, "da ta/cerver/current"))).toBe("versions/0.4.0");
  expect((await cerver(["--version"])).trim()).toBe("0.1.0");

  // Data and settings are the person's.
  await writeFile(join(home, "da ta/cerver/cerver.db"), "data");
  expect((await install(["--uninstall"], more)).said).toContain(
    `Left settings or data: ${home}/da ta/cerver`,
  );
  expect(await readdir(join(home, "da ta/cerver"))).toEqual(["cerver.db"]);
});

test("--dry-run says what it would do, and changes nothing", async () => {
  const npm = await install(["--dry-run", "--version", "0.2.0", "--name", "mac mini"]);
  expect(npm, npm.said).toMatchObject({ code: 0 });
  expect(npm.said).toContain(
    `Would install cerver 0.2.0 of npm into ${home}/.local/share/cerver/versions/0.2.0`,
  );
  expect(npm.said).toContain("Would start:");
  expect((await install(["--dry-run"], { CERVER_SOURCE: tarball })).said).toMatch(
    /versions\/0\.1\.0-[0-9a-f]{12}/,
  );
  const without = await install(["--dry-run"], { PATH: bare });
  expect(without, without.said).toMatchObject({ code: 0 });
  expect(without.said).toContain("Node: would be installed from");
  expect((await install(["--dry-run", "--uninstall"])).code).toBe(0);
  expect(await look()).toEqual([]);
  expect(await readdir(env.TMPDIR!)).toEqual([]);
  expect(server.requests.filter((path) => path.endsWith("gz"))).toEqual([]);
});

test("where Node is too old, and behind a proxy, brings one of its own", async () => {
  const old = join(folder, "old");
  await cp(bare, old, { recursive: true, verbatimSymlinks: true });
  await writeFile(join(old, "node"), "#!/bin/sh\necho v18.20.4\n");
  await chmod(join(old, "node"), 0o755);
  // Nothing listens on port 9: only through the proxy is there an answer.
  const behind = {
    PATH: old,
    http_proxy: server.url,
    CERVER_NODE_MIRROR: "http://127.0.0.1:9/dist/",
    npm_config_registry: "http://127.0.0.1:9/npm/",
    npm_config_cache: "",
    CERVER_SOURCE: tarball,
  };
  const done = await install(["--no-start"], behind);
  expect(done, done.said).toMatchObject({ code: 0 });
  expect(done.said).toContain(`Node: ${old}/node is v18.20.4; cerver needs 20.19 or newer`);
  expect(done.said).toContain("its checksum is right");
  expect(server.requests).toContain("http://127.0.0.1:9/dist/latest-v24.x/SHASUMS256.txt");
  expect(server.requests.some((url) => url.startsWith("http://127.0.0.1:9/npm/libsql"))).toBe(true);
  expect((await cerver(["--version"], "cerver", { PATH: old })).trim()).toBe("0.1.0");
  expect(await readFile(join(home, ".local/bin/cerver"), "utf8")).toContain(
    ".local/share/cerver/node/node-v",
  );

  server.requests.length = 0;
  const again = await install(["--no-start"], behind);
  expect(again.said).toContain("Nothing had to be changed.");
  expect(server.requests).toEqual([]);
  expect((await install(["--uninstall"], behind)).code).toBe(0);
  expect(await look()).toEqual([]);
});

test("a Node with a wrong checksum is refused, and nothing stays", async () => {
  server.sums = sums.wrong;
  const done = await install(["--no-start"], { PATH: bare, CERVER_SOURCE: tarball });
  expect(done.code).toBe(1);
  expect(done.said).toMatch(/error: node-v.* is not what SHASUMS256\.txt says: its SHA-256 is [0-9a-f]{64}/);
  expect(await look()).toEqual([]);
});

describe("interrupted in the middle", () => {
  /** An installation that waits for the rest of a package. */
  async function inTheMiddle() {
    server.stall = true;
    const started = start(["--version", "0.5.0", "--no-start"], { npm_config_cache: "" });
    await expect
      .poll(() => server.requests.some((path) => path.endsWith(".tgz")), { timeout: 15_000 })
      .toBe(true);
    return started;
  }

  test.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)(
    "%s ends it at once, and leaves nothing",
    async (signal) => {
      const { child, ended } = await inTheMiddle();
      const since = Date.now();
      child.kill(signal);
      const { code, said } = await ended;
      expect(code).toBe({ SIGTERM: 143, SIGINT: 130, SIGHUP: 129 }[signal]);
      expect(said).toContain("Interrupted");
      expect(Date.now() - since).toBeLessThan(5000);
      // The group is empty: npm has ended too.
      expect(() => process.kill(-child.pid!, 0)).toThrow("ESRCH");
      expect(await look()).toEqual([]);
    },
  );

  test("an upgrade leaves the version before it at work; a second installer waits its turn", async () => {
    expect((await install(["--no-start", "--version", "0.2.0"])).code).toBe(0);
    const before = await look();
    const { child, ended } = await inTheMiddle();
    const other = await install(["--no-start", "--version", "0.3.0"]);
    expect(other.code).toBe(1);
    expect(other.said).toContain(`Another installation is running, as process ${child.pid}`);
    killGroup(child, "SIGINT");
    await ended;
    expect(await look()).toEqual(before);
    expect((await cerver(["--version"])).trim()).toBe("0.1.0");
  });

  test("after a kill that nobody can act on, the next one clears up", async () => {
    const { child, ended } = await inTheMiddle();
    killGroup(child, "SIGKILL");
    await ended;
    expect(await look()).not.toEqual([]);
    server.stall = false;
    const done = await install(["--version", "0.5.0", "--no-start"]);
    expect(done, done.said).toMatchObject({ code: 0 });
    expect(await current()).toBe("versions/0.5.0");
    expect((await readdir(join(home, ".local/share/cerver"))).sort()).toEqual(["current", "versions"]);
  });
});

describe("then the relay", () => {
  let gateway: Cerver;
  beforeAll(async () => {
    gateway = await startCerver({ relay: false });
  });
  afterAll(() => gateway.stop());

  test("is started with its own options, from a pipe and without a terminal", async () => {
    const child = spawn("sh", ["-s", "--", "--name", "mac mini", "--", "--max-runs", "3"], {
      env: {
        ...env,
        CERVER_SOURCE: tarball,
        CERVER_GATEWAY_URL: gateway.gateway.url,
        CERVER_API_TOKEN: gateway.token,
      },
      cwd: home,
      detached: true,
    });
    running.add(child);
    const ended = new Promise((resolve) => child.once("close", resolve));
    let said = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (said += chunk));
    child.stdin.end(await readFile(script));
    await expect.poll(() => said, { timeout: 20_000 }).toContain("Connected.");
    expect(await gateway.client.computes()).toMatchObject([{ label: "mac mini", status: "ready" }]);
    child.kill("SIGTERM");
    expect(await ended).toBe(0);
    running.delete(child);
  });

  test("logs in through the browser where there is no token", async () => {
    const { child, ended, said } = start([], {
      CERVER_SOURCE: tarball,
      CERVER_GATEWAY_URL: gateway.gateway.url,
    });
    await expect.poll(said, { timeout: 20_000 }).toContain(`${gateway.gateway.url}/approve?code=`);
    child.kill("SIGTERM");
    await ended;
  });
});

test("what it cannot do it refuses, with the next step, and changes nothing", async () => {
  await mkdir(join(home, ".local/bin"), { recursive: true });
  const before = await look();
  const cases: [string[], Record<string, string>, RegExp][] = [
    [
      ["--no-start"],
      { CERVER_SOURCE: "cerver" },
      /CERVER_SOURCE is cerver, which is none of the known kinds/,
    ],
    [["--no-start"], { CERVER_SOURCE: "none.tgz" }, /There is no file none\.tgz/],
    [["--no-start"], { CERVER_SOURCE: archive }, /is not a package of npm/],
    [
      ["--no-start", "--version", "9.9.9"],
      { CERVER_SOURCE: tarball },
      /holds version 0\.1\.0, and --version says 9/,
    ],
    [["--no-start", "--version", "9.9.9"], {}, /npm has no cerver@9\.9\.9/],
    [["--no-start", "--version", "1"], { CERVER_SOURCE: "npm:cerver@0.2.0" }, /and --version says 1/],
    [["--no-start"], { CERVER_SOURCE: `git+file://${home}` }, /cannot be read/],
    [["--no-start", "--nmae", "x"], {}, /There is no option --nmae here/],
    [["--version"], {}, /--version needs a version/],
    [["--no-start"], { PATH: bare, CERVER_NODE_MIRROR: "http://example.com" }, /it is no https: address/],
    [["--no-start"], { HOME: join(home, "none") }, /HOME is not set to a folder/],
  ];
  for (const [args, more, message] of cases) {
    const { code, said } = await install(args, more);
    expect(said).toMatch(message);
    expect(said).toMatch(/^hint: ./m);
    expect(code).toBe(1);
  }
  expect(await look()).toEqual(before);

  await writeFile(join(home, ".local/bin/cerver"), "#!/bin/sh\necho mine\n");
  const { code, said } = await install(["--no-start"], { CERVER_SOURCE: tarball });
  expect(code).toBe(1);
  expect(said).toContain("is another program");
  await install(["--uninstall"]);
  expect(await readFile(join(home, ".local/bin/cerver"), "utf8")).toContain("mine");
});

test("git: names what there is not, before anything is built", async () => {
  const repository = await commitAll();
  const { code, said } = await install(["--no-start", "--version", "7.0.0"], {
    CERVER_SOURCE: `git+file://${repository}`,
  });
  expect(code).toBe(1);
  expect(said).toContain("has no branch, tag or commit 7.0.0");
  expect(await look()).toEqual([]);
});

// It builds the commit, with every library from npm's registry.
test.skipIf(process.env.CERVER_SLOW_TESTS !== "1")(
  "installs a tag of a git repository, and knows it the second time",
  async () => {
    const repository = await commitAll();
    const network = Object.entries(process.env).filter(([name]) =>
      /^(?:node_extra_ca_certs|npm_config_registry|\w+_proxy)$/i.test(name),
    );
    const from = {
      npm_config_registry: "https://registry.npmjs.org/",
      ...Object.fromEntries(network as [string, string][]),
      CERVER_SOURCE: `git+file://${repository}`,
    };
    const { code, said } = await install(["--no-start", "--version", "0.1.0"], from);
    expect(code, said).toBe(0);
    const commit = (await exec("git", ["-C", repository, "rev-parse", "HEAD"])).stdout;
    expect(await current()).toBe(`versions/git-${commit.slice(0, 12)}`);
    expect((await cerver(["--version"])).trim()).toBe("0.1.0");
    expect((await install(["--no-start", "--version", "0.1.0"], from)).said).toContain(
      "Nothing had to be changed.",
    );
    expect((await readdir(join(home, ".local/share/cerver"))).sort()).toEqual(["current", "versions"]);
  },
  300_000,
);

/** This folder as it is, as the one commit of a repository, with the tag v0.1.0. */
async function commitAll(): Promise<string> {
  const repository = await mkdtemp(join(folder, "git-"));
  const git = (...args: string[]) =>
    exec("git", [`--git-dir=${repository}`, `--work-tree=${root}`, ...args], { cwd: root });
  await exec("git", ["init", "-q", "--bare", repository]);
  // A folder is ignored by the project's own rules, a link to one is not.
  await writeFile(join(repository, "info", "exclude"), "node_modules\n");
  await git("add", "-A");
  await git("-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", "cerver");
  await git("-c", "user.name=t", "-c", "user.email=t@example.com", "tag", "-a", "v0.1.0", "-m", "0.1.0");
  return repository;
}
