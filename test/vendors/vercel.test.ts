import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { ProviderEnv, SandboxRecord } from "../../src/gateway/compute/contract.js";
import { vercelProvider } from "../../src/gateway/compute/providers/vercel.js";
import type { SandboxRunRequest } from "../../src/protocol/sandbox.js";
import { look } from "../proc-look.js";
import { startVercelServer, type VercelServer } from "./vercel-server.js";

const credentials = { vercel_token: "vcp_secret123", vercel_team_id: "team_1", vercel_project_id: "prj_1" };

let server: VercelServer;
let record: SandboxRecord;
beforeAll(async () => {
  server = await startVercelServer({ token: "vcp_secret123", teamId: "team_1", projectId: "prj_1" });
});
afterAll(() => server.close());
const provider = vercelProvider({ fetch: (...args) => server.fetch(...args) });

const env = (more: Partial<ProviderEnv> = {}): ProviderEnv => ({
  computeId: "provider_vercel",
  signal: new AbortController().signal,
  credentials,
  ...more,
});
const create = (more: Partial<ProviderEnv> = {}, timeout_ms = 600_000, metadata = {}) =>
  provider.createSandbox({ engine: "shell", timeout_ms, metadata }, env(more));
const run = async (request: Partial<SandboxRunRequest>, more: Partial<ProviderEnv> = {}): Promise<any> => {
  const response = await provider.runSandbox(
    record,
    { runtime: "shell", code: "true", ...request },
    env(more),
  );
  expect(response.status).toBe(200);
  return response.json();
};
const stream = (request: Partial<SandboxRunRequest>, more: Partial<ProviderEnv> = {}) =>
  provider.runSandboxStream(record, { runtime: "shell", code: "true", ...request }, env(more));

async function* events(response: Response): AsyncGenerator<any> {
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of response.body as any) {
    text += decoder.decode(chunk, { stream: true });
    for (let at = text.indexOf("\n\n"); at >= 0; at = text.indexOf("\n\n")) {
      const data = /^data: (.*)$/m.exec(text.slice(0, at))?.[1];
      text = text.slice(at + 2);
      if (data !== undefined) yield JSON.parse(data);
    }
  }
}
const all = async (response: Response) => {
  const list = [];
  for await (const event of events(response)) list.push(event);
  return list;
};
const until = async (isTrue: () => boolean) => {
  for (let look = 0; !isTrue(); look++) {
    if (look > 500) throw new Error("it did not happen within 5 s");
    await new Promise((done) => setTimeout(done, 10));
  }
};

beforeEach(async () => {
  record = await create();
});
afterEach(async () => {
  Object.assign(server.faults, {
    lostCreates: 0,
    createDelayMs: 0,
    commandDelayMs: 0,
    lostCommands: 0,
    cutCommands: 0,
    lostKills: 0,
    busyDeletes: 0,
    busyLooks: 0,
    hasNoNode: false,
    logsAreDown: false,
  });
  server.faults.creates.length = server.faults.cuts.length = 0;
  server.faults.longLines.length = server.faults.commands.length = 0;
  for (const sandboxId of server.sandboxes()) await provider.deleteSandbox({ ...record, sandboxId }, env());
  expect(server.sandboxes()).toEqual([]);
});

describe("a run", () => {
  test("tells its output apart, its exit code and its time", async () => {
    const answer = await run({ code: "echo out; echo err >&2; exit 3", run_id: "run_1" });
    expect(answer).toMatchObject({
      run_id: "run_1",
      success: false,
      status: "failed",
      exit_code: 3,
      signal: null,
      stdout: "out\n",
      stderr: "err\n",
      stdout_bytes: 4,
      stderr_bytes: 4,
      truncated: false,
      end_reason: "exit",
    });
    expect(answer.duration_ms).toBeGreaterThan(0);
    expect(await run({ code: "kill -9 $$" })).toMatchObject({
      exit_code: 137,
      signal: "SIGKILL",
      status: "failed",
    });
  });

  test("gets its variables, folder and input, and its own home of none of ours", async () => {
    await run({ code: "mkdir -p a/b" });
    expect(
      await run({ code: 'echo "$X"; pwd; cat', envs: { X: "é 1\n2" }, cwd: "a/b", stdin: "input\n" }),
    ).toMatchObject({
      stdout: `é 1\n2\n${join(server.folder(record.sandboxId), "a/b")}\ninput\n`,
    });
    expect(await run({ code: "readlink /proc/self/fd/0; env | grep -c CERVER_ORDER" })).toMatchObject({
      stdout: "/dev/null\n0\n",
    });
    // What would break the supervisor itself is the run's alone.
    expect(
      await run({ code: 'echo "$NODE_OPTIONS"', envs: { NODE_OPTIONS: "--no-such", PATH: "/bin:/usr/bin" } }),
    ).toMatchObject({
      stdout: "--no-such\n",
    });
  });

  test("does not leave the sandbox's folder", async () => {
    await expect(run({ cwd: ".." })).rejects.toMatchObject({ code: "forbidden" });
    await expect(run({ cwd: "/etc" })).rejects.toMatchObject({ code: "forbidden" });
    await expect(run({ cwd: "none" })).rejects.toMatchObject({
      code: "invalid_request",
      message: expect.stringMatching(/none/),
    });
  });

  test("that never ran is a failure and no stream, however slowly the vendor says so", async () => {
    server.faults.commandDelayMs = 200;
    await expect(stream({ cwd: "none" })).rejects.toMatchObject({
      code: "invalid_request",
      message: expect.stringMatching(/none/),
    });
    server.faults.commands.push({ status: 429, message: "Too many commands", retryAfter: 30 });
    await expect(stream({})).rejects.toMatchObject({ code: "too_many_requests" });
    // One that says nothing has begun all the same.
    const began = performance.now();
    const response = await stream({ code: "sleep 30" });
    expect(performance.now() - began).toBeLessThan(10_000);
    await response.body!.cancel();
    await until(() => seen().length === 0);
  });

  test("of Node is an ES module", async () => {
    const code = "import os from 'node:os'; console.log(await Promise.resolve(typeof os.cpus));";
    expect(await run({ code, runtime: "node" })).toMatchObject({ stdout: "function\n", exit_code: 0 });
    await provider.writeFile(record, { path: "m.mjs", content: "export default 7", encoding: "utf8" }, env());
    const long = `${" ".repeat(200_000)}import seven from './m.mjs'; console.log(seven);`;
    expect(await run({ code: long, runtime: "node" })).toMatchObject({ stdout: "7\n" });
    expect(await run({ code: "ls -A" })).toMatchObject({ stdout: "m.mjs\n" });
  });

  test("takes long code and long input", async () => {
    const stdin = "é".repeat(1_500_000);
    expect(await run({ code: `${"#".repeat(500_000)}\nwc -c`, stdin })).toMatchObject({
      stdout: "3000000\n",
    });
    expect(await run({ code: "ls -A; ls -A $TMPDIR" })).toMatchObject({ stdout: "" });
  });

  test("keeps bytes exactly, text or not", async () => {
    const code = "process.stdout.write(Buffer.from(Array.from({ length: 70000 }, (_, at) => at % 256)))";
    const answer = await run({ code, runtime: "node" });
    expect(answer).toMatchObject({ stdout_encoding: "base64", stdout_bytes: 70_000 });
    const wanted = Buffer.from(Array.from({ length: 70_000 }, (_, at) => at % 256));
    expect(Buffer.from(answer.stdout, "base64").equals(wanted)).toBe(true);
    expect(await run({ code: `printf '\\303'; sleep 0.1; printf '\\251'` })).toMatchObject({ stdout: "é" });
  });

  test("gives 10 MB of output as a stream, every byte of it", async () => {
    const code = "for (let i = 0; i < 10000; i++) process.stdout.write(String(i).padEnd(999, '.') + '\\n')";
    let bytes = 0;
    let text = "";
    let end: any;
    for await (const event of events(await stream({ code, runtime: "node" }))) {
      if (event.type === "stdout") {
        expect(event.offset).toBe(bytes);
        bytes += event.data.length;
        text = (text + event.data).slice(-1000);
      }
      end = event;
    }
    expect(bytes).toBe(10_000_000);
    expect(text.startsWith("9999.")).toBe(true);
    expect(end).toMatchObject({ type: "exit", status: "succeeded", exit_code: 0, stdout_bytes: 10_000_000 });
    expect(await run({ code, runtime: "node" })).toMatchObject({ truncated: true, stdout_bytes: 10_000_000 });
  });

  test("is seen while it goes on", async () => {
    const began = performance.now();
    const times: Record<string, number> = {};
    for await (const event of events(await stream({ code: "echo one; sleep 1.5; echo two" })))
      times[event.data ?? event.type] = performance.now() - began;
    expect(times["two\n"]! - times["one\n"]!).toBeGreaterThan(1200);
    expect(times.exit!).toBeGreaterThan(1400);
  });

  test("waits for a slow reader, as the vendor's log does", async () => {
    const before = server.logBytes;
    const response = await stream({ code: "head -c 30000000 /dev/zero | tr '\\0' a" });
    const reader = response.body!.getReader();
    await reader.read();
    await new Promise((done) => setTimeout(done, 1500));
    // What is on the way is in sockets and one piece here: far less than the 40 MB there are.
    expect(server.logBytes - before).toBeLessThan(12_000_000);
    await reader.cancel();
    await until(() => seen().length === 0);
  });

  test("refuses what cannot be served", async () => {
    const request = { runtime: "shell", code: "true" } as const;
    for (const option of ["background", "stdin_open"] as const) {
      await expect(provider.runSandbox(record, { ...request, [option]: true }, env())).rejects.toMatchObject({
        code: "unsupported",
        message: new RegExp(option),
      });
      await expect(
        provider.runSandboxStream(record, { ...request, [option]: true }, env()),
      ).rejects.toMatchObject({
        code: "unsupported",
      });
    }
  });

  test("leaves nothing of its group behind", async () => {
    expect(await run({ code: "sleep 300 & sleep 300 >/dev/null 2>&1 & echo done" })).toMatchObject({
      stdout: "done\n",
    });
    expect(seen().map(({ cmdline }) => cmdline)).toEqual([]);
  });
});

/** What runs in the sandbox, but for the supervisors, which are ours: they go a moment after they have told an end. */
const seen = () => {
  const pids = new Set(server.processes(record.sandboxId));
  return [...look().values()].filter(
    ({ pid, state, environ }) =>
      pids.has(pid) && state !== "Z" && !environ.some((entry) => entry.startsWith("CERVER_ORDER=")),
  );
};

/** A tree that hides: a child in a session of its own, one that ignores TERM, and a grandchild whose parent is gone. */
const HIDING = `
setsid sh -c 'trap "" TERM; echo hidden $$; while :; do sleep 1; done' &
(setsid sleep 300 >/dev/null 2>&1 &)
sh -c 'trap "" TERM; while :; do sleep 1; done' &
echo ready; wait`;

describe("ending a run", () => {
  test("its limit ends the whole tree, and then it is told", async () => {
    const answer = await run({ code: HIDING, timeout: 1 });
    expect(answer).toMatchObject({
      status: "timed_out",
      exit_code: 124,
      end_reason: "timeout",
      success: false,
    });
    expect(answer.stdout).toContain("ready");
    expect(seen().map(({ cmdline }) => cmdline)).toEqual([]);
  });

  test("a caller that leaves a stream ends the whole tree", async () => {
    const response = await stream({ code: HIDING });
    const iterator = events(response);
    for (let text = ""; !(text.includes("ready") && text.includes("hidden")); )
      text += (await iterator.next()).value.data ?? "";
    expect(seen().length).toBeGreaterThan(4);
    await iterator.return(undefined);
    await until(() => seen().length === 0);
  });

  test("a caller that leaves an answer has its end by then", async () => {
    const left = new AbortController();
    const answer = run({ code: HIDING }, { signal: left.signal });
    answer.catch(() => {});
    await until(() => seen().length > 4);
    left.abort(new Error("the caller is gone"));
    await expect(answer).rejects.toThrow("the caller is gone");
    expect(seen().map(({ cmdline }) => cmdline)).toEqual([]);
  });

  test("a lost kill is sent again; when none arrives, another command does it", async () => {
    server.faults.lostKills = 1;
    expect(await run({ code: HIDING, timeout: 0.5 })).toMatchObject({ status: "timed_out" });
    expect(seen().map(({ cmdline }) => cmdline)).toEqual([]);
    server.faults.lostKills = 100;
    expect(await run({ code: HIDING, timeout: 0.5 })).toMatchObject({ status: "timed_out" });
    expect(seen().map(({ cmdline }) => cmdline)).toEqual([]);
  });
});

describe("a wire that fails", () => {
  test("a log that breaks off is read on to the true end, and nothing comes twice", async () => {
    server.faults.cuts.push(0, 1, 3);
    const list = await all(
      await stream({ code: "for i in 1 2 3 4 5 6; do echo $i; sleep 0.2; done; exit 4" }),
    );
    expect(
      list
        .filter(({ type }) => type === "stdout")
        .map(({ data }) => data)
        .join(""),
    ).toBe("1\n2\n3\n4\n5\n6\n");
    expect(list.at(-1)).toMatchObject({ type: "exit", status: "failed", exit_code: 4, stdout_bytes: 12 });
    expect(server.faults.cuts).toEqual([]);
  });

  test("a sandbox that ends under a run makes it lost, never a success", async () => {
    const response = await stream({ code: "echo begun; sleep 30" });
    const list: any[] = [];
    for await (const event of events(response)) {
      list.push(event);
      if (event.data === "begun\n") void server.stop(record.sandboxId);
    }
    expect(list.at(-1)).toMatchObject({ type: "error", status: "lost", code: "compute_lost" });
    await expect(run({})).rejects.toMatchObject({ code: "sandbox_not_found" });
  });

  test("a supervisor that is killed makes its run lost, and what it left is ended", async () => {
    const answer = run({ code: "echo begun; sleep 30" });
    answer.catch(() => {});
    await until(() => server.processes(record.sandboxId).length >= 3);
    server.killLeaders(record.sandboxId);
    await expect(answer).rejects.toMatchObject({ code: "compute_lost" });
    expect(seen().map(({ cmdline }) => cmdline)).toEqual([]);
  });

  test("a log that breaks off at its very end, and a vendor that is busy, do not change the end", async () => {
    server.faults.cuts.push(1, 1, 1);
    server.faults.busyLooks = 2;
    expect(await run({ code: "echo one; sleep 0.1; echo two" })).toMatchObject({
      stdout: "one\ntwo\n",
      exit_code: 0,
    });
    expect([server.faults.cuts, server.faults.busyLooks]).toEqual([[], 0]);
  });

  test("a sandbox without Node.js is a failure that says so", async () => {
    server.faults.hasNoNode = true;
    await expect(run({})).rejects.toMatchObject({
      code: "provider_failed",
      hint: expect.stringMatching(/Node\.js/),
    });
  });

  test("a log that stays away makes the run lost", { timeout: 60_000 }, async () => {
    server.faults.logsAreDown = true;
    await expect(run({ code: "sleep 100", timeout: 90 })).rejects.toMatchObject({
      code: "compute_lost",
      hint: expect.stringMatching(/Look in the sandbox/),
    });
  });

  test("an order whose answer is lost is not sent again, and what it started is ended", async () => {
    server.faults.lostCommands = 1;
    await expect(run({ code: "echo x >> ran; sleep 30" })).rejects.toMatchObject({ code: "compute_lost" });
    expect(seen().map(({ cmdline }) => cmdline)).toEqual([]);
    const { stdout } = await run({ code: "cat ran 2>/dev/null | wc -l" });
    expect(Number(stdout)).toBeLessThanOrEqual(1);
  });

  test("an order whose answer breaks off after its head is lost, and what it started is ended", async () => {
    server.faults.cutCommands = 1;
    await expect(run({ code: "sleep 30" })).rejects.toMatchObject({
      code: "compute_lost",
      message: expect.stringMatching(/what it may have started was ended/),
    });
    expect(seen().map(({ cmdline }) => cmdline)).toEqual([]);
  });

  test("a supervisor's output without an end of line makes the run lost, and the run is ended", async () => {
    server.faults.noise = 5;
    await expect(run({ code: "sleep 60" })).rejects.toMatchObject({
      code: "compute_lost",
      message: expect.stringMatching(/longer than any/),
    });
    await until(() => seen().length === 0);
  });

  test("a line that never ends makes the run lost, and the run is ended", async () => {
    server.faults.longLines.push(9 * 1024 * 1024);
    await expect(run({ code: "sleep 30" })).rejects.toMatchObject({ code: "compute_lost" });
    await until(() => seen().length === 0);
  });
});

describe("a sandbox", () => {
  test("is made with its session's deadline and tag, and found by it, page by page", async () => {
    const metadata = { cerver_session_id: "sess_9" };
    const made = [];
    for (let count = 0; count < 5; count++) made.push(await create({}, 600_000, metadata));
    expect(made[0]).toEqual({
      sandboxId: expect.stringMatching(/^cerver-/),
      computeId: "provider_vercel",
      provider: "vercel",
    });
    expect(await provider.cloud!.find("sess_9", env())).toEqual(made);
    expect(await provider.cloud!.find("sess_8", env())).toEqual([]);
  });

  test("ends with its deadline", async () => {
    record = await create({}, 1500);
    await run({ code: "echo here" });
    await new Promise((done) => setTimeout(done, 1700));
    await expect(run({})).rejects.toMatchObject({
      code: "sandbox_not_found",
      hint: expect.stringMatching(/time is over/),
    });
    await expect(create({}, 48 * 3_600_000)).rejects.toMatchObject({
      code: "provider_failed",
      details: { vendor_status: 400 },
    });
  });

  test("is deleted with what runs in it, and twice is fine", async () => {
    const response = await stream({ code: "setsid sleep 300 & sleep 300" });
    await until(() => server.processes(record.sandboxId).length >= 3);
    const before = server.processes(record.sandboxId);
    for (let time = 0; time < 2; time++) {
      const deleted = await provider.deleteSandbox(record, env());
      expect(deleted.status).toBe(200);
      expect(await deleted.json()).toEqual({
        success: true,
        sandbox_id: record.sandboxId,
        remote_sandbox_id: record.sandboxId,
        provider: "vercel",
        status: "terminated",
      });
    }
    const alive = [...look().values()].filter(({ pid, state }) => before.includes(pid) && state !== "Z");
    expect(alive).toEqual([]);
    expect((await all(response)).at(-1)).toMatchObject({ type: "error", status: "lost" });
    await expect(run({})).rejects.toMatchObject({ code: "sandbox_not_found" });
  });

  test("is deleted by a vendor that will not while it runs", async () => {
    server.faults.busyDeletes = 1;
    await provider.deleteSandbox(record, env());
    expect(server.sandboxes()).not.toContain(record.sandboxId);
  });

  test("gives its variables to every run, and none of them to what watches over it", async () => {
    record = await create({}, 600_000, { env: { NODE_OPTIONS: "--no-such", A: "1" } });
    expect(await run({ code: 'echo "$NODE_OPTIONS $A"; env | grep -c CERVER_ENV' })).toMatchObject({
      stdout: "--no-such 1\n0\n",
    });
    await expect(create({}, 600_000, { env: { "A B": "1" } })).rejects.toMatchObject({
      code: "invalid_request",
    });
  });

  test("sleeps with its files and wakes with them", async () => {
    await provider.writeFile(record, { path: "kept", content: "yes", encoding: "utf8" }, env());
    await provider.setState(record, { step: 2 }, env());
    await provider.cloud!.suspend!(record, env());
    await provider.cloud!.suspend!(record, env());
    await expect(run({})).rejects.toMatchObject({
      code: "sandbox_not_found",
      hint: expect.stringMatching(/Wake it/),
    });
    record = await provider.cloud!.wake!(record, env());
    expect(await run({ code: "cat kept" })).toMatchObject({ stdout: "yes" });
    expect(await (await provider.getState(record, env())).json()).toMatchObject({ state: { step: 2 } });
    await provider.deleteSandbox(record, env());
    await expect(provider.cloud!.wake!(record, env())).rejects.toMatchObject({ code: "sandbox_not_found" });
  });

  test("shows its ports", async () => {
    const first = await provider.cloud!.portUrl!(record, 3000, env());
    expect(first).toMatch(/^https:\/\/sb-\w+\.vercel\.run$/);
    const second = await provider.cloud!.portUrl!(record, 8080, env());
    expect(second).not.toBe(first);
    expect(await provider.cloud!.portUrl!(record, 3000, env())).toBe(first);
  });

  test("keeps a state outside of its working folder", async () => {
    expect(await (await provider.getState(record, env())).json()).toEqual({
      provider: "vercel",
      sandbox_id: record.sandboxId,
      state: {},
    });
    const state = { text: "é".repeat(400_000), list: [1, null] };
    expect(await (await provider.setState(record, state, env())).json()).toEqual({
      success: true,
      sandbox_id: record.sandboxId,
    });
    expect(await (await provider.getState(record, env())).json()).toMatchObject({ state });
    for (const code of [
      "printf '[1]' > ~/.cerver/state.json",
      "head -c 6000000 /dev/zero > ~/.cerver/state.json",
    ]) {
      await run({ code });
      await expect(provider.getState(record, env())).rejects.toMatchObject({
        code: "provider_failed",
        message: expect.stringMatching(/is not what was put there/),
        hint: expect.stringMatching(/Set the state anew/),
      });
    }
    expect(await run({ code: "ls -A" })).toMatchObject({ stdout: "" });
  });
});

describe("files", () => {
  const write = async (path: string, content: string, encoding: "utf8" | "base64" = "utf8") =>
    (await provider.writeFile(record, { path, content, encoding }, env())).json();
  const read = async (path: string, encoding: "utf8" | "base64" = "utf8"): Promise<any> =>
    (await provider.readFile(record, path, encoding, env())).json();

  test("are written with their folders and read as they are", async () => {
    expect(await write("a/b/é.txt", "héllo")).toEqual({ success: true, path: "a/b/é.txt", size: 6 });
    expect(await read("a/b/é.txt")).toEqual({
      path: "a/b/é.txt",
      content: "héllo",
      encoding: "utf8",
      size: 6,
    });
    const bytes = Buffer.from(Array.from({ length: 3000 }, (_, at) => (at * 7) % 256)).toString("base64");
    await write("a/bin", bytes, "base64");
    expect(await read("a/bin", "base64")).toMatchObject({ content: bytes, size: 3000 });
    await write("a/bin", "");
    expect(await read("a/bin")).toMatchObject({ content: "", size: 0 });
    expect(await run({ code: "ls -A; ls -A a" })).toMatchObject({ stdout: "a\nb\nbin\n" });
  });

  test("that are not there, folders, and places outside are told apart", async () => {
    await write("a/file", "x");
    await symlink("/etc", join(server.folder(record.sandboxId), "out"));
    await expect(read("none")).rejects.toMatchObject({ code: "file_not_found" });
    await expect(read("a")).rejects.toMatchObject({ code: "invalid_request" });
    await expect(read("../x")).rejects.toMatchObject({ code: "forbidden" });
    await expect(read("out/passwd")).rejects.toMatchObject({ code: "forbidden" });
    await expect(write("out/mine", "x")).rejects.toMatchObject({ code: "forbidden" });
    await expect(write("/etc/mine", "x")).rejects.toMatchObject({ code: "forbidden" });
    await expect(write("a", "x")).rejects.toMatchObject({ code: "invalid_request" });
    await expect(write("a/file/b", "x")).rejects.toMatchObject({ code: "invalid_request" });
    expect(await run({ code: "ls -A" })).toMatchObject({ stdout: "a\nout\n" });
  });

  test("that are too large are refused both ways", async () => {
    await run({ code: "truncate -s 67108865 big" });
    await expect(read("big")).rejects.toMatchObject({ code: "too_large" });
    await expect(write("big", "a".repeat(64 * 1024 * 1024 + 1))).rejects.toMatchObject({ code: "too_large" });
  });
});

describe("packages", () => {
  const install = async (name: string, manager: "npm" | "pip"): Promise<any> =>
    (await provider.installPackage(record, { package: name, manager, timeout: 60 }, env())).json();

  test("are installed into the working folder by npm and by pip", { timeout: 90_000 }, async () => {
    const registry = await startRegistry();
    try {
      const { url } = registry;
      record = await create({}, 600_000, {
        env: {
          npm_config_registry: `${url}/npm/`,
          PIP_INDEX_URL: `${url}/pip/`,
          PIP_TRUSTED_HOST: "127.0.0.1",
        },
      });
      expect(await install("cerver-probe", "npm")).toMatchObject({ status: "succeeded", success: true });
      const code = "import probe from 'cerver-probe'; console.log(probe)";
      expect(await run({ code, runtime: "node" })).toMatchObject({ stdout: "from npm\n" });
      expect(await install("cerver-probe", "pip")).toMatchObject({ status: "succeeded" });
      const python = "python3 -c 'import cerver_probe; print(cerver_probe.WORD)'";
      expect(await run({ code: python, envs: { PYTHONPATH: ".python" } })).toMatchObject({
        stdout: "from pip\n",
      });
      expect(await install("cerver-missing", "npm")).toMatchObject({ status: "failed", success: false });
    } finally {
      await registry.close();
    }
  });

  test("have plain names", async () => {
    for (const name of ["--help", "../x", "a;b", "http://x/y.tgz"])
      for (const manager of ["npm", "pip"] as const)
        await expect(install(name, manager)).rejects.toMatchObject({ code: "invalid_request" });
  });
});

/** One package, as npm's and pip's registries serve it. */
async function startRegistry() {
  const folder = await mkdtemp(join(tmpdir(), "vercel-registry-"));
  await mkdir(join(folder, "package"));
  const manifest = { name: "cerver-probe", version: "1.0.0", main: "index.js" };
  await writeFile(join(folder, "package", "package.json"), JSON.stringify(manifest));
  await writeFile(join(folder, "package", "index.js"), "module.exports = 'from npm';");
  execFileSync("tar", ["-czf", join(folder, "probe.tgz"), "-C", folder, "package"]);
  const wheel = "cerver_probe-1.0.0-py3-none-any.whl";
  const python = `
import zipfile, sys
with zipfile.ZipFile(sys.argv[1], "w") as z:
    z.writestr("cerver_probe.py", "WORD = 'from pip'\\n")
    z.writestr("cerver_probe-1.0.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: cerver-probe\\nVersion: 1.0.0\\n")
    z.writestr("cerver_probe-1.0.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    z.writestr("cerver_probe-1.0.0.dist-info/RECORD", "")
`;
  execFileSync("python3", ["-c", python, join(folder, wheel)]);
  const registry = createServer((request, response) => {
    const { pathname } = new URL(request.url!, "http://registry");
    if (pathname === "/npm/cerver-probe") {
      const dist = { tarball: `${url}/probe.tgz` };
      const versions = { "1.0.0": { ...manifest, dist } };
      return void response.end(
        JSON.stringify({ name: "cerver-probe", versions, "dist-tags": { latest: "1.0.0" } }),
      );
    }
    if (pathname === "/probe.tgz") return void response.end(readFileSync(join(folder, "probe.tgz")));
    if (pathname === "/pip/cerver-probe/") {
      response.setHeader("content-type", "text/html");
      return void response.end(`<a href="/${wheel}">${wheel}</a>`);
    }
    if (pathname === `/${wheel}`) return void response.end(readFileSync(join(folder, wheel)));
    response.writeHead(404).end("{}");
  });
  await new Promise<void>((listening) => registry.listen(0, "127.0.0.1", listening));
  const url = `http://127.0.0.1:${(registry.address() as AddressInfo).port}`;
  return {
    url,
    async close() {
      registry.closeAllConnections();
      await new Promise((closed) => registry.close(closed));
      await rm(folder, { recursive: true, force: true });
    },
  };
}

describe("an account", () => {
  test("is verified, and refused in the vendor's words, without its token", async () => {
    await provider.cloud!.verify(env());
    const wrong = { ...credentials, vercel_token: "vcp_wrong456" };
    const refusal = await provider.cloud!.verify(env({ credentials: wrong })).catch((error) => error);
    expect(refusal).toMatchObject({
      code: "credentials_refused",
      message: expect.stringMatching(/Not authorized/),
    });
    expect(JSON.stringify(refusal.toBody())).not.toContain("vcp_wrong456");
    await expect(provider.cloud!.verify(env({ credentials: {} }))).rejects.toMatchObject({
      code: "credentials_refused",
      hint: expect.stringMatching(/vercel_token/),
    });
    await expect(
      provider.cloud!.verify(
        env({ credentials: { vercel_token: "vcp_secret123", vercel_project_id: "prj_1" } }),
      ),
    ).rejects.toMatchObject({ code: "credentials_refused", hint: expect.stringMatching(/vercel_team_id/) });
    const oidc = `x.${Buffer.from('{"owner_id":"team_1","project_id":"prj_1"}').toString("base64url")}.y`;
    await expect(
      provider.cloud!.verify(env({ credentials: { ...credentials, vercel_token: oidc } })),
    ).rejects.toMatchObject({
      code: "credentials_refused",
      message: expect.stringMatching(/OIDC/),
    });
  });

  test("has a token that is in no failure, not even of one that no header can hold", async () => {
    const vercel_token = "vcp_broken\nin two\n";
    const failure = await provider
      .cloud!.verify(env({ credentials: { ...credentials, vercel_token } }))
      .catch((error) => error);
    expect(failure).toMatchObject({ code: "provider_failed", message: expect.stringMatching(/\[token\]/) });
    expect(JSON.stringify(failure.toBody())).not.toContain("vcp_broken");
  });

  test("needs no more than a token: its default team, or one it owns, and the default project", async () => {
    for (const defaultTeamId of ["team_7", null, "team_of_others"]) {
      const other = await startVercelServer({
        token: "vcp_alone",
        teamId: "team_7",
        projectId: "prj_7",
        defaultTeamId,
      });
      try {
        const alone = vercelProvider({ fetch: other.fetch });
        const only = env({ credentials: { vercel_token: "vcp_alone" } });
        await alone.cloud!.verify(only);
        const own = await alone.createSandbox({ engine: "shell", metadata: {} }, only);
        const answer = await alone.runSandbox(
          own,
          { runtime: "shell", code: "echo hello from cerver" },
          only,
        );
        expect(await answer.json()).toMatchObject({ stdout: "hello from cerver\n" });
        expect(other.requests.filter(({ path }) => path === "/api/v2/user")).toHaveLength(1);
        expect(other.requests.filter(({ path }) => path === "/api/v11/projects")).toHaveLength(1);
      } finally {
        await other.close();
      }
    }
  });

  test("hears of limits, bills and failures as they are, and nothing is left", async () => {
    const before = server.sandboxes();
    const failing = (failure: (typeof server.faults.creates)[number]) => {
      server.faults.creates.push(failure);
      return create();
    };
    await expect(
      failing({ status: 429, code: "rate_limited", message: "Too many sandboxes", retryAfter: 7 }),
    ).rejects.toMatchObject({
      code: "too_many_requests",
      message: expect.stringMatching(/Too many sandboxes/),
      details: { retry_after_ms: 7000, vendor_code: "rate_limited" },
    });
    await expect(failing({ status: 401, message: "No" })).rejects.toMatchObject({
      code: "credentials_refused",
    });
    await expect(failing({ status: 403, message: "No" })).rejects.toMatchObject({
      code: "credentials_refused",
    });
    await expect(failing({ status: 402, code: "payment_required" })).rejects.toMatchObject({
      code: "provider_failed",
      hint: expect.stringMatching(/billing/),
    });
    const indiscreet = await failing({ status: 400, message: "Bad token vcp_secret123" }).catch(
      (error) => error,
    );
    expect(indiscreet.message).toMatch(/Bad token \[token\]/);
    await expect(failing({ status: 500, message: "Boom" })).rejects.toMatchObject({
      code: "provider_failed",
      message: expect.stringMatching(/Boom/),
    });
    expect(server.faults.creates).toEqual([]);
    expect(server.sandboxes()).toEqual(before);
  });

  test("a sandbox whose making was lost, or given up by its caller, is removed", async () => {
    const before = server.sandboxes();
    server.faults.lostCreates = 1;
    await expect(create()).rejects.toMatchObject({
      code: "provider_failed",
      message: expect.stringMatching(/no answer came/),
    });
    expect(server.sandboxes()).toEqual(before);
    server.faults.createDelayMs = 700;
    const left = new AbortController();
    const given = create({ signal: left.signal });
    given.catch(() => {});
    setTimeout(() => left.abort(new Error("the caller is gone")), 200);
    await expect(given).rejects.toThrow("the caller is gone");
    expect(server.sandboxes()).toEqual(before);
  });

  test("a vendor that is out of reach is a failure with a reason", async () => {
    const away = vercelProvider({ fetch: () => fetch("http://127.0.0.1:9/") });
    await expect(away.cloud!.verify(env())).rejects.toMatchObject({
      code: "provider_failed",
      message: expect.stringMatching(/no answer came/),
    });
  });
});
