import { existsSync, readFileSync, statSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { GatewayClient } from "../src/client/gateway-client.js";
import { isAlive } from "./harness.js";
import { type Home, newHome } from "./run-cerver.js";

let home: Home;
beforeEach(async () => {
  home = await newHome();
});
afterEach(() => home.remove());

interface Ready {
  gateway_url: string;
  api_token: string;
  compute_id: string;
  dashboard_url: string;
}

async function startUp(args: string[] = []) {
  const up = home.start(["up", "--json", "--port", "0", ...args]);
  await up.prints(/^\{.*\}\n/m);
  const ready = JSON.parse(up.stdout()) as Ready;
  return { up, ready, client: new GatewayClient({ gatewayUrl: ready.gateway_url, token: ready.api_token }) };
}

/** Processes that carry this home in their environment. */
async function processesOf(folder: string): Promise<number[]> {
  const found: number[] = [];
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/.test(name) || !(await isAlive(Number(name)))) continue;
    const environ = await readFile(`/proc/${name}/environ`, "utf8").catch(() => "");
    if (environ.includes(folder)) found.push(Number(name));
  }
  return found;
}

describe("cerver up", () => {
  test("prints one line of JSON when ready, works, and leaves nothing behind after Ctrl-C", async () => {
    const { up, ready, client } = await startUp(["--name", "this-host"]);
    expect(Object.keys(ready)).toEqual(["gateway_url", "api_token", "compute_id", "dashboard_url"]);
    expect(up.stdout().split("\n")).toEqual([expect.any(String), ""]);
    expect(await client.computes()).toMatchObject([
      { compute_id: ready.compute_id, label: "this-host", status: "ready" },
    ]);
    const { session_id } = await client.createSession({});
    expect((await client.run(session_id, { code: "echo up" })).result.stdout).toBe("up\n");
    const events = client.runStream(session_id, {
      code: "sleep 300 & setsid sleep 300 & sleep 300",
      timeout: 300,
    });
    await events.next();

    up.child.kill("SIGINT");
    expect(await up.exited).toEqual({ code: 0, signal: null });
    await expect.poll(() => processesOf(home.folder), { timeout: 5_000 }).toEqual([]);
    await events.return(undefined).catch(() => {});
  });

  test("is the same gateway the next time: token, compute, sessions", async () => {
    const first = await startUp();
    const { session_id } = await first.client.createSession({ session_name: "kept" });
    await first.client.run(session_id, { code: "echo kept > file" });
    first.up.child.kill("SIGTERM");
    await first.up.exited;

    const second = await startUp();
    expect(second.ready.api_token).toBe(first.ready.api_token);
    const client = new GatewayClient({ gatewayUrl: second.ready.gateway_url, token: first.ready.api_token });
    expect((await client.session(session_id)).transcriptTotal).toBe(2);
    expect(second.ready.compute_id).toMatch(/^cmp_/);
    second.up.child.kill("SIGTERM");
    await second.up.exited;
  });

  test("keeps its files to the user alone, and no token in the log or the arguments", async () => {
    const { up, ready } = await startUp();
    const data = join(home.folder, ".local/share/cerver");
    expect(statSync(data).mode & 0o777).toBe(0o700);
    for (const file of ["cerver.db", "local.json"])
      expect(statSync(join(data, file)).mode & 0o777).toBe(0o600);
    for (const file of ["credentials.json", "computes.json"]) {
      expect(statSync(join(home.folder, ".config/cerver", file)).mode & 0o777).toBe(0o600);
    }
    expect(readFileSync(join(data, "cerver.db")).includes(ready.api_token)).toBe(false);
    expect(up.stderr()).not.toContain(ready.api_token);
    for (const pid of await processesOf(home.folder)) {
      expect(readFileSync(`/proc/${pid}/cmdline`, "utf8")).not.toContain("ck_");
      expect(readFileSync(`/proc/${pid}/environ`, "utf8")).not.toContain("ck_");
    }
  });

  test("a second one on the same data says who holds it and exits 1; a dead one's hold is taken over", async () => {
    const { up, ready } = await startUp();
    const second = await home.run(["up", "--port", "0"]);
    expect(second.code).toBe(1);
    expect(second.stderr).toContain(`is held by process ${up.pid}, since `);
    expect(second.stderr).toContain(ready.gateway_url);
    up.child.kill("SIGKILL");
    await up.exited;
    const third = await startUp();
    expect(third.ready.compute_id).toMatch(/^cmp_/);
  });

  test("takes the next free port when the wanted one is taken, and says so", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => other.once("listening", resolve));
    const { port } = other.address() as { port: number };
    const up = home.start(["up", "--json", "--port", String(port)]);
    await up.prints(/^\{.*\}\n/m);
    expect(up.stderr()).toContain(`Port ${port} is taken, so the gateway is on port `);
    expect(JSON.parse(up.stdout()).gateway_url).not.toContain(`:${port}`);
    other.close();
  });

  test("says which folder it cannot write", async () => {
    const { code, stderr } = await home.run(["up", "--data-dir", "/proc/nothing/here"]);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^error: The data folder \/proc\/nothing\/here cannot be written \(ENOENT\)\.\nhint: /,
    );
  });
});

describe("a gateway and a relay apart", () => {
  test("a relay that is killed is offline at the next look, and comes back as the same compute", async () => {
    const gateway = home.start(["gateway", "--port", "0"]);
    const [, url] = await gateway.prints(/Gateway +(\S+)/);
    await gateway.prints(/Attach/);
    const token = JSON.parse(
      readFileSync(join(home.folder, ".local/share/cerver/local.json"), "utf8"),
    ).api_token;
    const client = new GatewayClient({ gatewayUrl: url!, token });

    const relay = home.start(["relay", "--gateway", url!], { CERVER_API_TOKEN: token });
    await relay.prints(/Compute: (\S+)/);
    const [compute] = await client.computes();
    expect(compute).toMatchObject({ status: "ready" });
    const { session_id } = await client.createSession({});
    const pidFile = join(home.folder, "running");
    const code = `echo $$ > '${pidFile}'; sleep 4; echo survived; exit 3`;
    const pending = client.run(session_id, { code, timeout: 300 });
    pending.catch(() => {});
    await expect.poll(() => existsSync(pidFile)).toBe(true);
    expect((await client.session(session_id)).status).toBe("running");

    relay.child.kill("SIGKILL");
    await relay.exited;
    expect(await client.computes()).toMatchObject([{ compute_id: compute!.compute_id, status: "offline" }]);
    const { runs } = await client.runs(session_id);
    expect(runs).toMatchObject([{ status: "lost", since: expect.any(String), end_reason: null }]);
    await expect(client.run(session_id, { code: "true" })).rejects.toMatchObject({
      code: "compute_offline",
      hint: expect.stringContaining("cerver relay"),
    });
    await expect(client.createSession({})).rejects.toMatchObject({
      code: "no_compute",
      message: "Every compute of this account is offline.",
    });

    // Its own credential is kept now: no token is given the second time.
    const again = home.start(["relay", "--gateway", url!]);
    await again.prints(/Compute: (\S+)/);
    expect(await client.computes()).toMatchObject([{ compute_id: compute!.compute_id, status: "ready" }]);
    expect((await client.run(session_id, { code: "echo back" })).result.stdout).toBe("back\n");
    // The run went on meanwhile, and its caller, who was kept waiting, gets its true end.
    expect(await pending).toMatchObject({ status: "failed", result: { stdout: "survived\n", exit_code: 3 } });
    expect((await client.getRun(session_id, runs[0]!.run_id)).status).toBe("failed");
    again.child.kill("SIGINT");
    expect((await again.exited).code).toBe(0);
  });

  test("a gateway that starts again finds its relay and its sessions", async () => {
    const first = home.start(["gateway", "--port", "0"]);
    const [, url] = await first.prints(/Gateway +(\S+)/);
    await first.prints(/Attach/);
    const token = JSON.parse(
      readFileSync(join(home.folder, ".local/share/cerver/local.json"), "utf8"),
    ).api_token;
    const client = new GatewayClient({ gatewayUrl: url!, token });
    const relay = home.start(["relay", "--gateway", url!], { CERVER_API_TOKEN: token });
    await relay.prints(/Compute: /);
    const { session_id } = await client.createSession({});
    await client.run(session_id, { code: "echo before > file" });
    // A run is on the record a moment after its answer; whoever reads the session waits for it.
    expect((await client.session(session_id)).transcriptTotal).toBe(2);

    first.child.kill("SIGKILL");
    await first.exited;
    await relay.prints(/Not connected/);
    home.start(["gateway", "--port", new URL(url!).port]);
    await relay.prints(/Connected[\s\S]*Connected/, 30_000);
    expect((await client.run(session_id, { code: "cat file" })).result.stdout).toBe("before\n");
    expect((await client.session(session_id)).transcriptTotal).toBe(4);
  });

  test("a relay whose token is refused stops and says what to do", async () => {
    const { ready } = await startUp();
    const relay = await home.run(["relay", "--gateway", ready.gateway_url], {
      env: { CERVER_API_TOKEN: "ck_nonsense", XDG_STATE_HOME: join(home.folder, "other") },
    });
    expect(relay.code).toBe(1);
    expect(relay.stderr).toMatch(/error: The token in the Authorization header is wrong[\s\S]*hint: /);
  });

  test("two relays do not serve from one folder", async () => {
    const { ready } = await startUp();
    const relay = await home.run(["relay", "--gateway", ready.gateway_url], {
      env: { CERVER_API_TOKEN: ready.api_token },
    });
    expect(relay.code).toBe(1);
    expect(relay.stderr).toMatch(/A relay of this machine runs already: process \d+, since /);
  });
});

describe("cerver run", () => {
  test("streams to both descriptors and exits with the command's own code", async () => {
    const { ready } = await startUp();
    expect(await home.run(["run", "echo out; echo err >&2; exit 7"])).toEqual({
      code: 7,
      stdout: "out\n",
      stderr: "err\n",
    });
    expect(await home.run(["run", "--node", "console.log(process.argv.length)"])).toMatchObject({
      code: 0,
      stdout: "1\n",
    });
    expect((await home.run(["run", "--timeout", "300ms", "sleep 60"])).code).toBe(124);
    expect((await home.run(["run", "-", "-e", "A=b c"], { input: 'echo "$A"' })).stdout).toBe("b c\n");
    expect((await home.run(["run", "-i", "wc -c"], { input: "12345" })).stdout).toBe("5\n");
    const json = await home.run(["run", "--json", "exit 3"]);
    expect({ code: json.code, status: JSON.parse(json.stdout).status }).toEqual({
      code: 3,
      status: "failed",
    });
    const piped = await home.run(["run", "--", "head -c 300000 /dev/zero | tr '\\0' z"]);
    expect(piped.stdout.length).toBe(300_000);
    // A session of its own is ended; one that is named goes on.
    const { sessions } = JSON.parse((await home.run(["sessions", "--json"])).stdout);
    expect(sessions.every((session: { status: string }) => session.status === "ended")).toBe(true);
    const own = await new GatewayClient({
      gatewayUrl: ready.gateway_url,
      token: ready.api_token,
    }).createSession({});
    expect((await home.run(["run", "--session", own.session_id.slice(0, 30), "pwd"])).stdout).toContain(
      "/sandboxes/",
    );
  });

  test("Ctrl-C ends the run's processes and exits 130", async () => {
    await startUp();
    const run = home.start(["run", "--timeout", "5m", "echo pid=$$; sleep 300"]);
    const [, pid] = await run.prints(/pid=(\d+)/);
    run.child.kill("SIGINT");
    expect((await run.exited).code).toBe(130);
    await expect.poll(() => isAlive(Number(pid)), { timeout: 5_000 }).toBe(false);
  });

  test("exits 125 when there is nobody to ask", async () => {
    const { code, stderr } = await home.run(["run", "true", "--gateway", "http://127.0.0.1:59999"], {
      env: { CERVER_API_TOKEN: "ck_x" },
    });
    expect({ code, stderr }).toEqual({
      code: 125,
      stderr:
        "error: No gateway answers at http://127.0.0.1:59999 (ECONNREFUSED).\nhint: Start one with `cerver up`, or name another with --gateway or CERVER_GATEWAY_URL.\n",
    });
  });

  test("never sends the environment's token to a gateway that only the project names", async () => {
    const { writeFile } = await import("node:fs/promises");
    await writeFile(join(home.folder, ".cerver.json"), '{"gateway_url":"http://127.0.0.1:59999"}');
    const { code, stderr } = await home.run(["whoami"], { env: { CERVER_API_TOKEN: "ck_x" } });
    expect(code).toBe(1);
    expect(stderr).toContain("CERVER_API_TOKEN is not sent to http://127.0.0.1:59999");
  });
});

test("the other verbs: peek, export, computes, sessions, logout", async () => {
  const { ready, client } = await startUp(["--name", "verbs"]);
  const { session_id } = await client.createSession({ session_name: "evil \u001b[31mred" });
  await client.run(session_id, { code: "echo shown" });
  expect((await home.run(["peek", session_id, "-n", "1"])).stdout).toContain("shown\n[exit 0");
  expect((await home.run(["sessions"])).stdout).not.toContain("\u001b");
  expect((await home.run(["computes"])).stdout).toMatch(/verbs +p69 +ready/);
  const file = join(home.folder, "out.md");
  expect((await home.run(["export", session_id, "--format", "markdown", "-o", file])).code).toBe(0);
  expect(readFileSync(file, "utf8")).toMatch(/```\n<<<data (\w+)\nshown\n\[exit 0[^\n]*\n>>>data \1\n```/);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  const lines = (await home.run(["export", session_id, "--format", "jsonl"])).stdout.trimEnd().split("\n");
  expect(lines.map((line) => JSON.parse(line).seq)).toEqual([0, 1]);
  expect((await home.run(["signin-link"])).stdout).toMatch(
    new RegExp(`^${ready.gateway_url}/signin\\?token=`),
  );
  expect((await home.run(["logout"])).stderr).toContain("revoked and forgotten");
  await expect(client.whoami()).rejects.toMatchObject({ code: "unauthenticated" });
  expect(existsSync(file)).toBe(true);
});
