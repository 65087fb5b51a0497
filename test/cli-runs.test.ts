import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { GatewayClient } from "../src/client/gateway-client.js";
import { isAlive } from "./harness.js";
import { type Home, newHome, type Started } from "./run-cerver.js";

let home: Home;
let gateway: Started;
let relay: Started;
let url: string;
let client: GatewayClient;
let session: string;

beforeAll(async () => {
  home = await newHome();
  gateway = home.start(["gateway", "--port", "0"]);
  url = (await gateway.prints(/Gateway +(\S+)/))[1]!;
  await gateway.prints(/Attach/);
  const token = JSON.parse(
    readFileSync(join(home.folder, ".local/share/cerver/local.json"), "utf8"),
  ).api_token;
  client = new GatewayClient({ gatewayUrl: url, token });
  relay = home.start(["relay", "--gateway", url], { CERVER_API_TOKEN: token });
  await relay.prints(/Compute: /);
  session = (await client.createSession({})).session_id;
});
afterAll(async () => {
  relay.child.kill("SIGINT");
  await relay.exited;
  await home.remove();
});

/** Starts a run of its own in the session, and returns its id. */
async function detached(code: string, ...more: string[]): Promise<string> {
  const { stdout, code: exit } = await home.run(["run", "-d", "--session", session, ...more, code]);
  expect(exit).toBe(0);
  expect(stdout).toMatch(/^run_[0-9a-f]{32}\n$/);
  return stdout.trim();
}

async function startGatewayAgain(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
  gateway.child.kill(signal);
  await gateway.exited;
  await sleep(300);
  gateway = home.start(["gateway", "--port", new URL(url).port]);
  await gateway.prints(/Attach/);
}

const ended = (run: string) =>
  expect.poll(async () => (await client.findRun(run)).ended_at, { timeout: 10_000 }).not.toBeNull();

describe("cerver run --detach", () => {
  test("prints the run's id, says how to follow it, and leaves a session that is its own", async () => {
    const { code, stdout, stderr } = await home.run(["run", "--detach", "sleep 0.5; echo done"]);
    const run = stdout.trim();
    expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringMatching(/^run_[0-9a-f]{32}\n$/) });
    expect(stderr).toContain(`cerver logs -f ${run}`);
    const followed = await home.run(["attach", run]);
    expect(followed).toEqual({ code: 0, stdout: "done\n", stderr: "" });
    const { session_id, status } = await client.findRun(run);
    expect(status).toBe("succeeded");
    expect((await client.session(session_id)).status).toBe("ready");
  });

  test("prints the record with --json, and takes its own timeout", async () => {
    const { stdout } = await home.run([
      "run",
      "-d",
      "--json",
      "--session",
      session,
      "--timeout",
      "2h",
      "exit 0",
    ]);
    expect(JSON.parse(stdout)).toMatchObject({ session_id: session, background: true, timeout: 7_200 });
  });
});

test("cerver runs lists the newest first, as a table or as JSON", async () => {
  const first = await detached("printf 123; exit 3");
  const second = await detached("kill -KILL $$");
  await Promise.all([ended(first), ended(second)]);
  const { stdout } = await home.run(["runs", "--session", session.slice(0, 30), "--limit", "2"]);
  const [head, ...rows] = stdout.trimEnd().split("\n");
  expect(head).toMatch(/^RUN +STATUS +SESSION +BEGAN +EXIT +BYTES$/);
  expect(rows.map((line) => line.split(/ {2,}/).filter((_, column) => column !== 3))).toEqual([
    [second, "failed", session, "SIGKILL", "0"],
    [first, "failed", session, "3", "3"],
  ]);
  const { runs } = JSON.parse((await home.run(["runs", "--json", "--status", "failed"])).stdout);
  expect(runs.slice(0, 2).map((run: { run_id: string }) => run.run_id)).toEqual([second, first]);
  const wrong = await home.run(["runs", "--status", "done"]);
  expect({ code: wrong.code, stderr: wrong.stderr }).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("Allowed choices are queued, running"),
  });
});

describe("cerver logs", () => {
  test("prints what there is to the right descriptors, and with -f exits with the run's own code", async () => {
    const run = await detached(
      "printf 'out\\377'; echo err >&2; until [ -e go ]; do sleep 0.05; done; echo late; exit 7",
    );
    await expect.poll(async () => (await client.getRun(session, run)).stderr_bytes).toBe(4);
    const prefix = run.slice(0, 24);
    const now = await home.run(["logs", prefix]);
    expect(now).toMatchObject({ code: 0, stderr: "err\n" });
    expect(now.stdout).not.toContain("late");
    await client.run(session, { code: "touch go" });
    expect((await home.run(["logs", "--follow", "--stdout-only", prefix])).stderr).toBe("");
    expect(await home.run(["logs", "-f", "--stderr-only", run])).toEqual({
      code: 7,
      stdout: "",
      stderr: "err\n",
    });
    expect((await client.runOutput(session, run)).headers.get("x-cerver-output-bytes")).toBe("9");
  });

  test("exits 124 after a timeout and 125 when there is no such run", async () => {
    const run = await detached("echo on; sleep 60", "--timeout", "1s");
    expect(await home.run(["logs", "-f", run])).toMatchObject({ code: 124, stdout: "on\n" });
    const none = await home.run(["logs", "run_nothing"]);
    expect({ code: none.code, stderr: none.stderr }).toMatchObject({
      code: 125,
      stderr: expect.stringContaining("run_nothing"),
    });
  });

  test("asks for more of an id that several runs begin with", async () => {
    const { code, stderr } = await home.run(["kill", "run_"]);
    expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringMatching(/\d+ runs begin with/) });
  });
});

describe("cerver kill", () => {
  test("says what was alive, what was sent and which ports came free, and exits 0", async () => {
    const server = `require("net").createServer().listen(0, "127.0.0.1", function () { console.log(this.address().port) })`;
    const run = await detached(`trap "" TERM; node -e '${server}' & sleep 60 & wait; sleep 60`);
    const output = async () => (await client.runOutput(session, run)).text();
    await expect.poll(output, { timeout: 10_000 }).toMatch(/^\d+\n$/);
    const port = (await output()).trim();
    const { code, stdout } = await home.run(["kill", run]);
    expect(code).toBe(0);
    expect(stdout).toMatch(new RegExp(`^Run ${run} is cancelled\\.\nAlive were \\d processes, known by `));
    expect(stdout).toMatch(/^ {2}\d+ {2}sleep 60 {2}\(.+\)$/m);
    expect(stdout).toMatch(/^Sent SIGTERM to \d process(es)? after \d+ ms\.$/m);
    expect(stdout).toMatch(/^Sent SIGKILL to /m);
    expect(stdout).toMatch(
      new RegExp(`^Free again: tcp 127\\.0\\.0\\.1:${port}, which process \\d+ had\\.$`, "m"),
    );
    expect(stdout).toMatch(/\nNothing of it is alive\.\n$/);
    const again = await home.run(["kill", "--json", run]);
    expect(again.code).toBe(0);
    expect(JSON.parse(again.stdout)).toMatchObject({ run_id: run, status: "cancelled" });
  });

  test("changes nothing about a run that had ended", async () => {
    const run = await detached("exit 4");
    await ended(run);
    const { code, stdout } = await home.run(["kill", run]);
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout: `Run ${run} had ended before: failed.\nNothing of it is alive.\n`,
    });
    expect(await client.getRun(session, run)).toMatchObject({ status: "failed", exit_code: 4 });
  });
});

describe("a gateway that is started again", () => {
  /** Counts to 40, and at 20 waits until it is let go: it is under way when the gateway is gone, however slow that is. */
  const count = (go: string) =>
    `i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo $i; echo e$i >&2; sleep 0.05; [ $i -ne 20 ] || until [ -e ${go} ]; do sleep 0.05; done; done; exit 9`;
  const lines = (text: string) => text.trimEnd().split("\n");
  const upTo40 = (before = "") => Array.from({ length: 40 }, (_, i) => `${before}${i + 1}`);

  test.each(["SIGKILL", "SIGTERM"] as const)(
    "by %s loses no run and no byte for those who wait",
    async (signal) => {
      const code = count(`go-${signal}`);
      const background = await detached(code);
      const foreground = home.start(["run", "--session", session, "--timeout", "60s", code]);
      const logs = home.start(["logs", "-f", background]);
      await Promise.all([foreground.prints(/^5$/m), logs.prints(/^5$/m)]);
      await startGatewayAgain(signal);
      // The relay comes back a moment later.
      const letGo = () => client.run(session, { code: `touch go-${signal}` }).then(() => "gone on", String);
      await expect.poll(letGo, { timeout: 20_000 }).toBe("gone on");
      for (const started of [foreground, logs]) {
        expect(await started.exited).toEqual({ code: 9, signal: null });
        expect(lines(started.stdout())).toEqual(upTo40());
        const said = lines(started.stderr());
        expect(said.filter((line) => line.startsWith("cerver: ")).length).toBe(1);
        expect(said.filter((line) => !line.startsWith("cerver: "))).toEqual(upTo40("e"));
      }
      const { runs } = await client.runs(session, { limit: 2, status: "failed" });
      expect(runs).toMatchObject([
        { status: "failed", exit_code: 9 },
        { status: "failed", exit_code: 9 },
      ]);
    },
  );

  test("still lets Ctrl-C end the run that was found again", async () => {
    const run = home.start(["run", "--session", session, "--timeout", "60s", "echo pid=$$; sleep 60"]);
    const [, pid] = await run.prints(/pid=(\d+)/);
    await startGatewayAgain("SIGKILL");
    await run.prints(/looking for the run again/);
    const { runs } = await client.runs(session, { limit: 1 });
    await expect
      .poll(async () => (await client.getRun(session, runs[0]!.run_id)).status, { timeout: 20_000 })
      .toBe("running");
    // By then the command is back as well: its longest wait is two seconds.
    await sleep(2_500);
    expect(await isAlive(Number(pid))).toBe(true);
    run.child.kill("SIGINT");
    expect((await run.exited).code).toBe(130);
    await expect.poll(() => isAlive(Number(pid)), { timeout: 5_000 }).toBe(false);
    expect(await client.getRun(session, runs[0]!.run_id)).toMatchObject({ status: "cancelled" });
  });
});
