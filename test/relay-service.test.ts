import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { chmod, mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { GatewayClient } from "../src/client/gateway-client.js";
import { launchdPlist } from "../src/relay/daemon/launchd.js";
import { type ServiceSpec, serviceManager } from "../src/relay/daemon/service.js";
import { lastingPath, serviceSpec } from "../src/relay/daemon/service-spec.js";
import { systemdUnit } from "../src/relay/daemon/systemd.js";
import { isAlive } from "./harness.js";
import { type Home, newHome } from "./run-cerver.js";
import { startUserManager, type UserManager } from "./user-manager.js";

const GOLDEN = join(import.meta.dirname, "fixtures/service");

let home: Home;
let manager: UserManager | undefined;
beforeEach(async () => {
  home = await newHome();
});
afterEach(async () => {
  await manager?.stop();
  manager = undefined;
  await home.remove();
});

async function startGateway() {
  const gateway = home.start(["gateway", "--port", "0"]);
  const [, url] = await gateway.prints(/Gateway +(\S+)/);
  await gateway.prints(/Attach/);
  const file = join(home.folder, ".local/share/cerver/local.json");
  const token: string = JSON.parse(readFileSync(file, "utf8")).api_token;
  return { gateway, url: url!, token, client: new GatewayClient({ gatewayUrl: url!, token }) };
}

/** A user's systemd, or a test that says loudly why it was not run. */
async function userManager(skip: (why: string) => never): Promise<Record<string, string>> {
  const started = await startUserManager(home.folder, home.env);
  if ("why" in started) {
    if (process.env.CERVER_SLOW_TESTS) process.stderr.write(`NOT RUN under a real systemd: ${started.why}\n`);
    return skip(started.why);
  }
  manager = started;
  return { XDG_RUNTIME_DIR: started.runtimeDir };
}

const SPEC: ServiceSpec = {
  command: [
    "/opt/node 24/bin/node",
    "/home/ada/.local/share/cerver/current/node_modules/.bin/cerver",
    "relay",
    "--service",
    "systemd",
    "--gateway=https://gateway.cerver.ai",
    `--name=Ada's "box" at 100% of $HOME & <more> \\`,
    "--label=gpu=yes",
    "--allow-dir=/home/ada/my work",
  ],
  env: { PATH: "/opt/node 24/bin:/usr/bin:/bin", LANG: "C.UTF-8", CERVER_LABELS: "rate=5%" },
  user: { name: "ada", uid: 1000, home: "/home/ada" },
  configDir: "/home/ada/.config/cerver",
  stateDir: "/home/ada/.local/state/cerver",
};

describe("under a real systemd of the user", () => {
  test("a service is installed once, restarts and crashes lose no run, and uninstalling leaves nothing", async ({
    skip,
  }) => {
    const env = await userManager(skip);
    const { url, token, client } = await startGateway();
    const unit = join(home.folder, ".config/systemd/user/cerver-relay.service");
    // As quick as a test wants it; everything else is the unit's own.
    await mkdir(`${unit}.d`, { recursive: true });
    await writeFile(join(`${unit}.d`, "quick.conf"), "[Service]\nRestartSec=100ms\n");
    const install = ["relay", "service", "install", "--gateway", url, "--name", "a $HOME 100% 'box'"];
    const first = await home.run([...install, "--label", "gpu=yes"], {
      env: { ...env, CERVER_API_TOKEN: token },
    });
    expect(first).toMatchObject({ code: 0, stdout: "" });
    expect(first.stderr).toContain(`Wrote ${unit}\nConnected to ${url} as cmp_`);
    expect(readFileSync(unit, "utf8")).not.toMatch(/ck_/);
    const again = await home.run([...install, "--label", "gpu=yes"], { env });
    expect(again.stderr).toContain("Nothing had to be changed.");

    const [compute] = await client.computes();
    expect(compute).toMatchObject({
      label: "a $HOME 100% 'box'",
      status: "ready",
      metadata: { labels: { gpu: "yes" } },
    });
    const status = async () => JSON.parse((await home.run(["relay", "status", "--json"], { env })).stdout);
    const { relay, service } = await status();
    expect(service).toMatchObject({
      manager: "systemd",
      scope: "user",
      state: "running",
      enabled: true,
      pid: relay.pid,
    });

    const doctor = await home.run(["doctor", "--json", "--gateway", url], {
      env: { ...env, CERVER_API_TOKEN: token },
    });
    expect(JSON.parse(doctor.stdout).checks).toContainEqual(
      expect.objectContaining({
        name: "service",
        status: "ok",
        what: `systemd user unit, running (process ${relay.pid})`,
      }),
    );

    // Runs that read until somebody writes, each with an end of its own.
    const { session_id } = await client.createSession({});
    const go = join(home.folder, "go");
    execFileSync("mkfifo", [go]);
    const runs = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        client.startRun(session_id, { code: `cat '${go}'; exit ${index}`, timeout: 300 }),
      ),
    );
    const systemctl = (...args: string[]) =>
      execFileSync("systemctl", ["--user", ...args], { env: { ...home.env, ...env }, encoding: "utf8" });
    const pid = () => Number(systemctl("show", "cerver-relay", "--property=MainPID", "--value"));
    const servesAgain = async (before: number) => {
      await expect
        .poll(async () => pid() !== before && (await client.computes())[0]?.status, { timeout: 20_000 })
        .toBe("ready");
      return pid();
    };
    systemctl("restart", "cerver-relay");
    const second = await servesAgain(relay.pid);
    process.kill(second, "SIGKILL");
    const third = await servesAgain(second);
    expect((await home.run(["relay", "service", "stop"], { env })).code).toBe(0);
    expect(await isAlive(third)).toBe(false);
    expect((await home.run(["relay", "service", "status"], { env })).code).toBe(1);
    expect((await home.run(["relay", "service", "start"], { env })).code).toBe(0);
    await servesAgain(third);
    const now = await status();
    expect(now).toMatchObject({ serving: true, runs: 20 });
    expect(now.errors.map(({ what }: { what: string }) => what)).toContain(
      `The relay before this one, process ${second}, was killed or crashed.`,
    );
    await writeFile(go, "");
    for (const [index, { run_id }] of runs.entries()) {
      await expect
        .poll(async () => client.getRun(session_id, run_id), { timeout: 20_000 })
        .toMatchObject({ exit_code: index, status: index === 0 ? "succeeded" : "failed" });
    }

    const log = await home.run(["relay", "service", "logs", "-n", "3"], { env });
    expect(log.stdout).toMatch(/info {3}Connected\. This machine is a compute now\.\n/);
    expect(statSync(join(home.folder, ".local/state/cerver/relay.log")).mode & 0o777).toBe(0o600);

    const gone = await home.run(["relay", "service", "uninstall"], { env });
    expect(gone).toMatchObject({ code: 0 });
    expect(existsSync(unit)).toBe(false);
    expect(systemctl("show", "cerver-relay", "--property=LoadState,ActiveState")).toContain(
      "ActiveState=inactive",
    );
    expect((await home.run(["relay", "service", "uninstall"], { env })).stderr).toContain(
      "There is no service to remove",
    );
  }, 120_000);

  test("what waiting cannot mend ends the service for good, and the log says what to do", async ({
    skip,
  }) => {
    const env = await userManager(skip);
    const { url, token, client } = await startGateway();
    await home.run(["relay", "service", "install", "--gateway", url], {
      env: { ...env, CERVER_API_TOKEN: token },
    });
    const [compute] = await client.computes();
    await client.deleteCompute(compute!.compute_id);
    const service = async () =>
      JSON.parse((await home.run(["relay", "service", "status", "--json"], { env })).stdout);
    await expect.poll(service, { timeout: 15_000 }).toMatchObject({ state: "failed", pid: null });
    const { stdout } = await home.run(["relay", "logs"], { env });
    expect(stdout).toMatch(
      /error {2}The compute cmp_\w+ was removed from its account\. Run `cerver relay` again/,
    );
    const told = await home.run(["relay", "status"], { env });
    expect(told.code).toBe(1);
    // Installing it again finds that the stored login is not accepted any more, and takes the token that it is given.
    const anew = await home.run(["relay", "service", "install", "--gateway", url], {
      env: { ...env, CERVER_API_TOKEN: token },
    });
    expect(anew.stderr).toContain("The stored login of this machine is no longer accepted");
    expect(anew.stderr).toMatch(/Connected to \S+ as cmp_/);
    expect(told.stdout).toMatch(/^Errors +\S+ ago: The compute cmp_\w+ was removed from its account\.$/m);
  }, 60_000);
});

describe("a relay that a service manager starts", () => {
  test("waits for its gateway, and for another relay of this machine to end", async () => {
    const { gateway, url, token } = await startGateway();
    const relay = home.start(["relay", "--gateway", url], { CERVER_API_TOKEN: token });
    await relay.prints(/Compute: (\S+)/);
    const service = home.start(["relay", "--service", "systemd", "--gateway", url]);
    await service.prints(/A relay of this machine runs already: process \d+, since .* Next try in/);
    gateway.child.kill("SIGKILL");
    relay.child.kill("SIGTERM");
    await relay.exited;
    await service.prints(/No gateway answers at .* Next try in/);
    home.start(["gateway", "--port", new URL(url).port]);
    await service.prints(/Connected\. This machine is a compute now\./, 45_000);
    const status = JSON.parse((await home.run(["relay", "status", "--json"])).stdout);
    expect(status).toMatchObject({ serving: true, relay: { pid: service.pid }, reconnects: 0 });
    expect(status.errors.at(-1).what).toContain("No gateway answers at");
    service.child.kill("SIGTERM");
    expect(await service.exited).toEqual({ code: 0, signal: null });
  }, 90_000);

  test.each([
    ["systemd", 78],
    ["launchd", 0],
  ])(
    "asks nobody for a login: under %s it exits with %i, which means not to start it again",
    async (name, code) => {
      const { url } = await startGateway();
      const service = home.start(["relay", "--service", name, "--gateway", url]);
      expect(await service.exited).toEqual({ code, signal: null });
      const { stdout } = await home.run(["relay", "logs"]);
      expect(stdout).toContain(`This machine has no login for ${url}. Run \`cerver relay service install`);
      expect(stdout).toContain("The relay has given up, and is not started again by itself.");
      // launchd keeps stderr in a file that nothing empties.
      expect(service.stderr() === "").toBe(name === "launchd");
    },
  );
});

describe("cerver relay status", () => {
  test("counts reconnects, tells the last error, and serves again after its gateway came back", async () => {
    const { gateway, url, token } = await startGateway();
    const relay = home.start(["relay", "--gateway", url, "--label", "disk=fast"], {
      CERVER_API_TOKEN: token,
    });
    await relay.prints(/Connected\./);
    const before = await home.run(["relay", "status"]);
    expect(before.code).toBe(0);
    expect(before.stdout).toMatch(/^Serving +yes\nCompute +\S+ \(cmp_\w+\)\nRelay +process \d+, version /);
    expect(before.stdout).toMatch(/^Gateway +version \S+; sees this machine as ready$/m);
    expect(before.stdout).toMatch(/^Labels +disk=fast$/m);
    gateway.child.kill("SIGKILL");
    await relay.prints(/Not connected: /);
    const during = await home.run(["relay", "status"]);
    expect(during.code).toBe(1);
    expect(during.stdout).toMatch(/^Serving +no$/m);
    expect(during.stdout).toMatch(/^Gateway +does not answer; No gateway answers at /m);
    home.start(["gateway", "--port", new URL(url).port]);
    const status = async () => JSON.parse((await home.run(["relay", "status", "--json"])).stdout);
    await expect.poll(status, { timeout: 30_000 }).toMatchObject({ serving: true, reconnects: 1 });
    expect(statSync(join(home.folder, ".local/state/cerver/relay-status.json")).mode & 0o777).toBe(0o600);
  }, 60_000);

  test("on a machine without a relay says how to start one, and exits 1", async () => {
    const { code, stdout, stderr } = await home.run(["relay", "status"]);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^Serving +no\nRelay +none runs on this machine\nService +none is installed\n$/);
    expect(stderr).toContain("`cerver relay service install`");
    expect((await home.run(["relay", "logs"])).stderr).toContain(
      "hint: A relay writes one while it runs as a service",
    );
  });
});

describe("the unit", () => {
  test("is the one that was looked at, with each word as it was given, and systemd takes it", async () => {
    const unit = systemdUnit(SPEC, { system: false });
    expect(unit).toBe(await readFile(join(GOLDEN, "cerver-relay.service"), "utf8"));
    expect(systemdUnit(SPEC, { system: true })).toBe(
      await readFile(join(GOLDEN, "cerver-relay.system.service"), "utf8"),
    );
    if (!existsSync("/usr/bin/systemd-analyze")) return;
    const file = join(home.folder, "cerver-relay.service");
    // What it starts has to be there; that is the only thing that is changed.
    await writeFile(
      file,
      systemdUnit(
        { ...SPEC, command: [process.execPath, ...SPEC.command.slice(1)] },
        { system: true },
      ).replace("User=ada", "User=root"),
    );
    execFileSync("systemd-analyze", ["verify", "--man=no", file], {
      stdio: "pipe",
      env: { ...home.env, SYSTEMD_LOG_LEVEL: "warning" },
    });
  });

  test("starts cerver by the link that the installer changes, wherever it was started from", async () => {
    const data = join(home.folder, "share/cerver");
    const bin = join(data, "versions/1.2.3/node_modules/.bin");
    await mkdir(bin, { recursive: true });
    await writeFile(join(bin, "cerver"), "");
    await symlink("versions/1.2.3", join(data, "current"));
    const lasting = join(data, "current/node_modules/.bin/cerver");
    expect(lastingPath(join(bin, "cerver"), data)).toBe(lasting);
    expect(lastingPath(lasting, data)).toBe(lasting);
    expect(lastingPath("/usr/lib/node_modules/.bin/cerver", data)).toBe("/usr/lib/node_modules/.bin/cerver");
  });

  test("saves the environment that a relay needs, and nothing that may be secret", () => {
    const env = {
      PATH: "/bin",
      HOME: "/home/ada",
      XDG_STATE_HOME: "/data/state",
      CERVER_API_TOKEN: "ck_secret",
      INFISICAL_TOKEN: "st.secret",
      https_proxy: "http://ada:secret@proxy:3128",
      no_proxy: "localhost",
    };
    const wish = {
      env,
      program: "/usr/bin/cerver",
      flags: [],
      user: SPEC.user,
      ofAnother: false,
      manager: "systemd",
    };
    const { spec, left } = serviceSpec(wish);
    expect(spec.env).toEqual({ PATH: "/bin", XDG_STATE_HOME: "/data/state", no_proxy: "localhost" });
    expect(left).toEqual(["https_proxy"]);
    expect(spec.stateDir).toBe("/data/state/cerver");
    expect(serviceSpec({ ...wish, ofAnother: true }).spec).toMatchObject({
      env: { PATH: "/bin", no_proxy: "localhost" },
      stateDir: "/home/ada/.local/state/cerver",
    });
    expect(() => serviceSpec({ ...wish, flags: ["--name=a\nUser=root"] })).toThrow(
      /A service cannot be given "--name=a\\nUser=root"/,
    );
  });

  test("--dry-run prints it and writes nothing; --user without --system is refused", async () => {
    const dry = await home.run(
      ["relay", "service", "install", "--dry-run", "--gateway", "http://127.0.0.1:1"],
      {
        env: { CERVER_API_TOKEN: "ck_not_to_be_written" },
      },
    );
    expect(dry.code).toBe(0);
    expect(dry.stdout).toMatch(
      /^ExecStart="\/.*" "relay" "--service" "systemd" "--gateway=http:\/\/127\.0\.0\.1:1"$/m,
    );
    expect(dry.stdout).not.toContain("ck_not_to_be_written");
    expect(existsSync(join(home.folder, ".config/systemd"))).toBe(false);
    const system = await home.run(
      [
        "relay",
        "service",
        "install",
        "--system",
        "--user",
        "daemon",
        "--dry-run",
        "--sync",
        "--label",
        "a=b",
      ],
      { env: { XDG_STATE_HOME: join(home.folder, "mine") } },
    );
    expect(system.stderr).toBe("Would write /etc/systemd/system/cerver-relay.service\n");
    expect(system.stdout).toMatch(/^User=daemon$/m);
    expect(system.stdout).toMatch(/"--label=a=b" "--sync"$/m);
    expect(system.stdout).not.toContain("XDG_STATE_HOME");
    const refused = await home.run(["relay", "service", "install", "--user", "ada"]);
    expect(refused.stderr).toBe(
      "error: --user belongs to --system.\nhint: Without --system the service is that of whoever installs it.\n",
    );
  });
});

describe("the property list", () => {
  test("is the one that was looked at, and reads back as what was meant", async () => {
    const plist = launchdPlist(SPEC, { system: false });
    expect(plist).toBe(await readFile(join(GOLDEN, "dev.kompany.cerver.relay.plist"), "utf8"));
    expect(launchdPlist(SPEC, { system: true })).toContain("\t<key>UserName</key>\n\t<string>ada</string>\n");
    if (!existsSync("/usr/bin/plistutil")) return;
    const file = join(home.folder, "relay.plist");
    await writeFile(file, plist);
    execFileSync("plistutil", ["-i", file, "-o", `${file}.bin`, "-f", "bin"]);
    const back = execFileSync("plistutil", ["-i", `${file}.bin`, "-f", "xml"], { encoding: "utf8" });
    const strings = [...back.matchAll(/<string>(.*)<\/string>/g)].map(([, text]) =>
      text!.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&"),
    );
    expect(strings).toEqual(expect.arrayContaining([...SPEC.command, ...Object.values(SPEC.env)]));
  });

  test("is loaded, loaded anew when it changed, and taken out with launchctl's own words", async () => {
    const bin = join(home.folder, "bin");
    const calls = join(home.folder, "calls");
    const loaded = join(home.folder, "loaded");
    await mkdir(bin);
    // Keeps in a file whether the service is loaded, as launchd would know it.
    await writeFile(
      join(bin, "launchctl"),
      `#!/bin/sh
echo "$*" >>'${calls}'
case $1 in
  bootstrap) touch '${loaded}' ;;
  bootout) [ -e '${loaded}' ] || exit 113; rm '${loaded}' ;;
  print) [ -e '${loaded}' ] || { echo 'Could not find service' >&2; exit 113; }; printf '\\tstate = running\\n\\tpid = 42\\n' ;;
esac
`,
    );
    await chmod(join(bin, "launchctl"), 0o755);
    const user = { name: "ada", uid: 501, home: home.folder };
    const env = { ...home.env, PATH: `${bin}:${home.env.PATH}` };
    const agent = serviceManager({ system: false, env, user }, "darwin");
    const told = async () => {
      const lines = (await readFile(calls, "utf8")).trim().split("\n");
      await writeFile(calls, "");
      return lines.filter((line) => !line.startsWith("print"));
    };
    const target = "gui/501/dev.kompany.cerver.relay";
    expect(agent.file).toBe(join(home.folder, "Library/LaunchAgents/dev.kompany.cerver.relay.plist"));
    expect(await agent.status()).toMatchObject({ installed: false, state: "stopped", without_login: false });
    await agent.load({ changed: true });
    expect(await told()).toEqual([`enable ${target}`, `bootstrap gui/501 ${agent.file}`]);
    expect(await agent.status()).toMatchObject({ installed: true, state: "running", pid: 42 });
    await agent.load({ changed: false });
    expect(await told()).toEqual([`enable ${target}`, `kickstart ${target}`]);
    await agent.load({ changed: true });
    expect(await told()).toEqual([
      `enable ${target}`,
      `bootout ${target}`,
      `bootstrap gui/501 ${agent.file}`,
    ]);
    await agent.unload();
    await agent.unload();
    expect(await told()).toEqual([`bootout ${target}`, `bootout ${target}`]);
    expect(await agent.advice()).toEqual([
      expect.objectContaining({ type: "sudo cerver relay service install --system --user ada" }),
    ]);
    expect(serviceManager({ system: true, env, user }, "darwin").file).toBe(
      "/Library/LaunchDaemons/dev.kompany.cerver.relay.plist",
    );
    expect(() => serviceManager({ system: false, env, user }, "win32")).toThrow(
      /no service manager of win32/,
    );
  });
});
