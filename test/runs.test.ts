import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { RunEvent, RunRequestInput } from "../src/protocol/runs.js";
import { type Cerver, isAlive, startCerver } from "./harness.js";

let cerver: Cerver;
let session: string;
beforeAll(async () => {
  cerver = await startCerver({ env: { GITHUB_TOKEN: "must-not-be-seen", CERVER_TEST: "x", PLAIN: "plain" } });
  session = await cerver.session();
});
afterAll(() => cerver.stop());

const run = (request: RunRequestInput | string) =>
  cerver.client.run(session, typeof request === "string" ? { code: request } : request);

async function stream(request: RunRequestInput): Promise<RunEvent[]> {
  const events: RunEvent[] = [];
  for await (const event of cerver.client.runStream(session, request)) events.push(event);
  return events;
}

const output = (events: RunEvent[], name: "stdout" | "stderr") =>
  Buffer.concat(
    events.flatMap((event) =>
      event.type === name ? [Buffer.from(event.data, event.encoding ?? "utf8")] : [],
    ),
  );

describe("POST /v2/sessions/:id/run", () => {
  test("answers with output apart, the exit code and true counts", async () => {
    expect(await run("echo out; echo err >&2; exit 3")).toMatchObject({
      session_id: session,
      run_id: expect.stringMatching(/^run_/),
      status: "failed",
      result: { stdout: "out\n", stderr: "err\n", exit_code: 3 },
      stdout_bytes: 4,
      stderr_bytes: 4,
      truncated: false,
    });
  });

  test("runs a real shell, with /dev/null as stdin", async () => {
    const { result } = await run(
      'readlink /proc/self/fd/0; for i in 1 2; do printf "%s" "$i"; done; echo; cat',
    );
    expect(result.stdout).toBe("/dev/null\n12\n");
  });

  test("gives stdin and its end when there is some", async () => {
    expect((await run({ code: "wc -c; echo done", stdin: "héllo" })).result.stdout).toBe("6\ndone\n");
  });

  test("runs an ES module with top-level await", async () => {
    const code =
      'import os from "node:os"; console.log(await Promise.resolve(6 * 7), typeof os.cpus); process.exit(4)';
    expect((await run({ code, runtime: "node" })).result).toMatchObject({
      stdout: "42 function\n",
      exit_code: 4,
    });
  });

  test.each(["shell", "node"] as const)("runs %s text that is too long for an argument", async (runtime) => {
    const padding = "x".repeat(300_000);
    const code = runtime === "shell" ? `: ${padding}\necho long` : `// ${padding}\nconsole.log("long")`;
    expect((await run({ code, runtime })).result).toMatchObject({ stdout: "long\n", exit_code: 0 });
    expect((await run("ls -A; ls -A ../../../scratch")).result.stdout).not.toContain("cerver-run");
  });

  test("tells a signal from an exit", async () => {
    const { status, result } = await run("kill -KILL $$");
    expect({ status, ...result }).toMatchObject({ status: "failed", exit_code: 137, signal: "SIGKILL" });
  });

  test("takes variables and a folder of the session, and keeps the host's secrets away", async () => {
    await run("mkdir -p sub");
    const { result } = await run({
      code: 'echo "$PWD|$A|$PLAIN|$GITHUB_TOKEN|$CERVER_TEST|$CERVER_SESSION_ID"',
      cwd: "sub",
      envs: { A: "from the run" },
    });
    const [cwd, ...rest] = result.stdout.trim().split("|");
    expect(cwd).toMatch(/\/work\/sub$/);
    expect(rest).toEqual(["from the run", "plain", "", "", session]);
  });

  test("keeps files from one run to the next", async () => {
    await run("echo kept > file.txt");
    expect((await run("cat file.txt")).result.stdout).toBe("kept\n");
  });

  test("returns bytes that are not text as base64, and says so", async () => {
    const { result, stdout_bytes } = await run("printf '\\377\\000\\376'");
    expect({ ...result, stdout_bytes }).toMatchObject({
      stdout: "/wD+",
      stdout_encoding: "base64",
      stdout_bytes: 3,
    });
  });

  test("keeps the ends of 50 MB on both streams, with true counts", async () => {
    const bytes = 50_000_000;
    const code = `head -c ${bytes} /dev/zero | tr '\\0' a; echo END; { head -c ${bytes} /dev/zero | tr '\\0' b; } >&2`;
    const answer = await run({ code, timeout: 120 });
    expect(answer).toMatchObject({
      truncated: true,
      stdout_bytes: bytes + 4,
      stderr_bytes: bytes,
      status: "succeeded",
    });
    expect(answer.result.stdout).toMatch(/^a+\n\[cerver: \d+ bytes left out here\]\na+END\n$/);
    expect(answer.result.stdout.length).toBeLessThan(1_100_000);
  }, 60_000);

  test("100 runs at once each get their own output", async () => {
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, i) =>
        run({ code: `echo ${i}; sleep 0.0${i % 10}; echo ${i} >&2`, timeout: 60 }),
      ),
    );
    expect(answers.map(({ result }) => result.stdout + result.stderr)).toEqual(
      Array.from({ length: 100 }, (_, i) => `${i}\n${i}\n`),
    );
    expect(new Set(answers.map(({ run_id }) => run_id)).size).toBe(100);
  }, 60_000);
});

describe("the end of a run is the end of its processes", () => {
  const pidsIn = (text: string) => [...text.matchAll(/pid=(\d+)/g)].map((match) => Number(match[1]));
  const gone = (pids: number[]) =>
    expect
      .poll(async () => (await Promise.all(pids.map(isAlive))).filter(Boolean), { timeout: 8_000 })
      .toEqual([]);

  test("a timeout is an answer: 124, timed_out, and nobody left", async () => {
    const code =
      "echo pid=$$; sleep 300 & echo pid=$!; (trap \"\" TERM; echo pid=$(sh -c 'echo $PPID'); sleep 300) & wait";
    const { status, result } = await run({ code, timeout: 0.6 });
    expect({ status, code: result.exit_code }).toEqual({ status: "timed_out", code: 124 });
    const pids = pidsIn(result.stdout);
    expect(pids.length).toBe(3);
    expect(await Promise.all(pids.map(isAlive))).toEqual([false, false, false]);
  });

  test("a child that the shell leaves behind ends with it, before the answer", async () => {
    const { status, result } = await run("sleep 300 & echo pid=$!; exit 5");
    expect({ status, code: result.exit_code }).toEqual({ status: "failed", code: 5 });
    expect(await Promise.all(pidsIn(result.stdout).map(isAlive))).toEqual([false]);
  });

  test("a double-forked child in the group ends as well", async () => {
    const { result } = await run("(sleep 300 & echo pid=$!) & wait; sleep 0.1");
    expect(await Promise.all(pidsIn(result.stdout).map(isAlive))).toEqual([false]);
  });

  test.each([
    ["a shell that waited", {}],
    ["a shell of its own", { cwd: "." }],
  ])("a child that let go of the output of %s ends a moment later", async (_, where) => {
    const code =
      "sleep 300 >/dev/null 2>&1 </dev/null & echo pid=$!; setsid sh -c 'echo pid=$$; exec sleep 300 >/dev/null 2>&1' & sleep 0.1";
    const pids = (await Promise.all(Array.from({ length: 12 }, () => run({ ...where, code })))).flatMap(
      ({ result }) => pidsIn(result.stdout),
    );
    expect(pids.length).toBe(24);
    await gone(pids);
  });

  test("a child that left the group and holds the output ends as well", async () => {
    const { result } = await run("setsid sh -c 'echo pid=$$; sleep 300' & sleep 0.2");
    const pids = pidsIn(result.stdout);
    expect(pids.length).toBe(1);
    await gone(pids);
  });

  test.each([
    ["a child", "sleep 300 & echo pid=$!; wait"],
    ["a child that ignores TERM", `sh -c 'trap "" TERM; echo pid=$$; while :; do sleep 1; done' & wait`],
    ["a double-forked child", "(sleep 300 & echo pid=$!); sleep 300"],
    ["a child that left the group", "setsid sh -c 'echo pid=$$; sleep 300' & wait; sleep 300"],
  ])("a caller who hangs up takes %s along", async (_, code) => {
    const abort = new AbortController();
    let text = "";
    const reading = (async () => {
      for await (const event of cerver.client.runStream(session, { code, timeout: 300 }, abort.signal)) {
        if (event.type === "start") text += `pid=${event.pid}\n`;
        if (event.type === "stdout") text += event.data;
        if (pidsIn(text).length >= 2) abort.abort();
      }
    })();
    await expect(reading).rejects.toThrow();
    const pids = pidsIn(text);
    expect(pids.length).toBe(2);
    await gone(pids);
  });

  test("a caller of run who hangs up ends it, too", async () => {
    const file = join(cerver.folder, "hung-up.pid");
    const abort = new AbortController();
    const answer = cerver.client.run(
      session,
      { code: `echo $$ > ${file}; sleep 300`, timeout: 300 },
      abort.signal,
    );
    answer.catch(() => {});
    await expect.poll(() => readFile(file, "utf8").catch(() => ""), { timeout: 8_000 }).not.toBe("");
    abort.abort();
    await gone([Number(await readFile(file, "utf8"))]);
  });

  test("closing a session ends what runs in it", async () => {
    const own = await cerver.session();
    const events = cerver.client.runStream(own, { code: "echo pid=$$; sleep 300", timeout: 300 });
    let pid = 0;
    let last: RunEvent | undefined;
    for await (const event of events) {
      last = event;
      if (event.type !== "stdout") continue;
      pid = pidsIn(event.data)[0]!;
      expect((await cerver.client.session(own)).status).toBe("running");
      await cerver.client.closeSession(own);
    }
    expect(last).toMatchObject({ type: expect.stringMatching(/exit|error/), status: "cancelled" });
    await gone([pid]);
    expect(await cerver.client.session(own)).toMatchObject({ status: "ended", endReason: "closed" });
  });
});

describe("POST /v2/sessions/:id/run/stream", () => {
  test("sends the first byte while the process runs, and exit last", async () => {
    const seen: string[] = [];
    for await (const event of cerver.client.runStream(session, { code: "echo first; sleep 1; echo last" })) {
      if (event.type === "stdout" && event.data.includes("first")) {
        expect((await cerver.client.session(session)).status).toBe("running");
      }
      seen.push(event.type);
    }
    expect(seen).toEqual(["start", "stdout", "stdout", "exit"]);
  });

  test("has ids, names, the X-Cerver headers and one JSON line of data", async () => {
    const response = await cerver.call("POST", `/v2/sessions/${session}/run/stream`, { code: "echo hi" });
    expect(Object.fromEntries(response.headers)).toMatchObject({
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-cache, no-transform",
      "x-accel-buffering": "no",
      "x-cerver-session-id": session,
      "x-cerver-provider": "p69",
      "x-cerver-stream-latency-ms": expect.stringMatching(/^\d+\.\d$/),
    });
    const blocks = (await response.text()).trimEnd().split("\n\n");
    expect(blocks.map((block) => block.replace(/^data: .*$/m, "data: …"))).toEqual([
      "id: 0:0\nevent: start\ndata: …",
      "id: 3:0\nevent: stdout\ndata: …",
      "id: 3:0\nevent: exit\ndata: …",
    ]);
  });

  test("says that it is alive after 15 silent seconds", async () => {
    const response = await cerver.call("POST", `/v2/sessions/${session}/run/stream`, { code: "sleep 16" });
    expect(await response.text()).toMatch(
      /^id: 0:0\nevent: start\n.*\n\n: keep-alive\n\nid: 0:0\nevent: exit\n/,
    );
  });

  test("is NDJSON for those who ask for it", async () => {
    const response = await cerver.call(
      "POST",
      `/v2/sessions/${session}/run/stream`,
      { code: "echo hi" },
      {
        accept: "application/x-ndjson",
      },
    );
    expect(response.headers.get("content-type")).toBe("application/x-ndjson");
    const lines = (await response.text()).trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line).type)).toEqual(["start", "stdout", "exit"]);
  });

  test("does not break a character that is split between two writes", async () => {
    const events = await stream({ code: "printf 'a\\303'; sleep 0.3; printf '\\251b'" });
    expect(output(events, "stdout").toString()).toBe("aéb");
    expect(events.some((event) => "encoding" in event)).toBe(false);
  });

  test("carries binary output, and says that it does", async () => {
    const events = await stream({ code: "head -c 100000 /dev/urandom > random; cat random" });
    const { result } = await run("sha256sum < random");
    expect(createHash("sha256").update(output(events, "stdout")).digest("hex")).toBe(
      result.stdout.slice(0, 64),
    );
    expect(events.some((event) => "encoding" in event && event.encoding === "base64")).toBe(true);
  });

  test("carries 50 MB on both streams without losing a byte", async () => {
    const code =
      "head -c 50000000 /dev/zero | tr '\\0' o & head -c 50000000 /dev/zero | tr '\\0' e >&2 & wait";
    const hashes = { stdout: createHash("sha256"), stderr: createHash("sha256") };
    const bytes = { stdout: 0, stderr: 0 };
    for await (const event of cerver.client.runStream(session, { code, timeout: 120 })) {
      if (event.type !== "stdout" && event.type !== "stderr") continue;
      expect(event.offset).toBe(bytes[event.type]);
      const data = Buffer.from(event.data, event.encoding ?? "utf8");
      bytes[event.type] += data.length;
      hashes[event.type].update(data);
    }
    expect(bytes).toEqual({ stdout: 50_000_000, stderr: 50_000_000 });
    const expected = (letter: string) =>
      createHash("sha256").update(Buffer.alloc(50_000_000, letter)).digest("hex");
    expect(hashes.stdout.digest("hex")).toBe(expected("o"));
    expect(hashes.stderr.digest("hex")).toBe(expected("e"));
  }, 120_000);

  test("a reader that stops holds the process up, and memory stays flat", async () => {
    const file = join(cerver.folder, "progress");
    const code = `i=0; while [ $i -lt 400 ]; do head -c 250000 /dev/zero; i=$((i+1)); echo $i > ${file}; done`;
    const response = await cerver.call("POST", `/v2/sessions/${session}/run/stream`, { code, timeout: 120 });
    const reader = response.body!.getReader();
    await reader.read();
    const progress = async () => Number(await readFile(file, "utf8").catch(() => "0"));
    await sleep(1_000);
    const before = { progress: await progress(), memory: process.memoryUsage.rss() };
    await sleep(1_500);
    expect(await progress()).toBe(before.progress);
    expect(before.progress).toBeLessThan(200);
    expect(process.memoryUsage.rss() - before.memory).toBeLessThan(64 * 1024 * 1024);
    // Other runs go on meanwhile, and the stopped one goes on when its reader does.
    expect((await run("echo others")).result.stdout).toBe("others\n");
    for (let end = false; !end; ) end = (await reader.read()).done;
    expect(await progress()).toBe(400);
  }, 120_000);
});

test("each run is on the transcript: the call, then the result, with the run's id", async () => {
  const own = await cerver.session();
  const { run_id } = await cerver.client.run(own, {
    code: "echo seen; exit 2",
    envs: { SECRET_VALUE: "hush" },
  });
  const { transcript } = await cerver.client.session(own);
  expect(transcript).toMatchObject([
    {
      seq: 0,
      role: "assistant",
      kind: "tool_use",
      tool_name: "shell",
      run_id,
      tool_input: { code: "echo seen; exit 2" },
    },
    {
      seq: 1,
      role: "tool",
      kind: "tool_result",
      run_id,
      is_error: true,
      content: expect.stringMatching(/^seen\n\[exit 2, /),
    },
  ]);
  expect(JSON.stringify(transcript)).not.toContain("hush");
});

test("the metrics of a session are those of its runs", async () => {
  const own = await cerver.session();
  await cerver.client.run(own, { code: "sleep 0.05" });
  await cerver.client.run(own, { code: "true" });
  for await (const _ of cerver.client.runStream(own, { code: "true" }));
  const metrics = await cerver.client.metrics(own);
  expect(metrics).toMatchObject({
    total_exec_count: 2,
    total_stream_count: 1,
    interaction_count: 3,
    engagement_score: 3,
    engagement_label: "engaged",
    uptime_percent: 100,
    cost_estimate_usd: 0,
  });
  expect(metrics.average_exec_latency_ms!).toBeGreaterThanOrEqual(25);
  expect(metrics.time_to_first_exec_ms!).toBeLessThanOrEqual(metrics.session_length_ms);
});
