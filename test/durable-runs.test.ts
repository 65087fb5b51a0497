import { createHash } from "node:crypto";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { GatewayClient } from "../src/client/gateway-client.js";
import { ApiTokens } from "../src/gateway/account/api-tokens.js";
import { gatewayConfig } from "../src/gateway/config.js";
import { startGateway } from "../src/gateway/start.js";
import { openDatabase } from "../src/gateway/store/database.js";
import type { RunRecord } from "../src/protocol/runs.js";
import { silentLogger } from "../src/util/logger.js";
import { type Cerver, isAlive, startCerver } from "./harness.js";

let cerver: Cerver;
let session: string;
beforeAll(async () => {
  cerver = await startCerver({ env: { CERVER_RUN_GRACE: "2s" } });
  session = await cerver.session();
});
afterAll(() => cerver.stop());

const at = (run = "", own = session) => `/v2/sessions/${own}/runs${run && `/${run}`}`;
const post = (path: string, body?: unknown, headers?: Record<string, string>) =>
  cerver.call("POST", path, body ?? {}, headers);
const get = (path: string, headers?: Record<string, string>) => cerver.call("GET", path, undefined, headers);
const start = (code: string, more: object = {}, own = session) =>
  cerver.client.startRun(own, { code, ...more });
const record = (run: string, own = session) => cerver.client.getRun(own, run);

/** Resolves with the record of a run when it has ended. */
async function ended(run: string, own = session): Promise<RunRecord> {
  await expect
    .poll(async () => (await record(run, own)).ended_at, { timeout: 20_000, interval: 30 })
    .not.toBeNull();
  return record(run, own);
}

/** Resolves when a run has printed this much. */
const printed = (run: string, bytes: number) =>
  expect
    .poll(async () => (await record(run)).stdout_bytes, { timeout: 20_000, interval: 30 })
    .toBeGreaterThanOrEqual(bytes);

/** The events of an answer: ids, names and data. */
async function events(response: Response) {
  expect(response.status).toBe(200);
  const blocks = (await response.text()).split("\n\n").filter((block) => /^event: /m.test(block));
  return blocks.map((block) => ({
    id: /^id: (.*)$/m.exec(block)?.[1],
    ...(JSON.parse(/^data: (.*)$/m.exec(block)![1]!) as {
      type: string;
      data?: string;
      offset?: number;
      bytes?: number;
      [field: string]: unknown;
    }),
  }));
}

const sha = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

async function failure(response: Response) {
  const body = (await response.json()) as { code: string; error: string };
  return { status: response.status, code: body.code };
}

describe("a run in the background", () => {
  test("is answered at once with 202, its record and its Location, and tells its states and times", async () => {
    const began = Date.now();
    const response = await post(at(), { code: "sleep 0.6; echo done; exit 3" });
    expect(Date.now() - began).toBeLessThan(500);
    const first = (await response.json()) as RunRecord;
    expect({ status: response.status, location: response.headers.get("location") }).toEqual({
      status: 202,
      location: at(first.run_id),
    });
    expect(first).toMatchObject({
      session_id: session,
      status: "running",
      runtime: "shell",
      background: true,
      timeout: 3600,
      started_at: expect.any(String),
      ended_at: null,
      exit_code: null,
      duration_ms: null,
      end_reason: null,
    });
    expect(await cerver.client.session(session)).toMatchObject({ status: "running" });
    const last = await ended(first.run_id);
    expect(last).toMatchObject({
      status: "failed",
      exit_code: 3,
      signal: null,
      end_reason: "exit",
      stdout_bytes: 5,
    });
    expect(last.duration_ms).toBeGreaterThanOrEqual(590);
    const times = [last.created_at, last.started_at!, last.ended_at!];
    expect(times).toEqual([...times].sort());
    expect(await cerver.client.findRun(first.run_id)).toEqual(last);
    await expect.poll(async () => (await cerver.client.session(session)).status).toBe("ready");
  });

  test("begins by `background` in `run` as well", async () => {
    const response = await post(`/v2/sessions/${session}/run`, { code: "true", background: true });
    expect(response.status).toBe(202);
    expect(((await response.json()) as RunRecord).background).toBe(true);
  });

  test("ends at its timeout, and says so", async () => {
    const { run_id } = await start("echo pid=$$; sleep 60", { timeout: 0.5 });
    expect(await ended(run_id)).toMatchObject({
      status: "timed_out",
      exit_code: 124,
      end_reason: "timeout",
      timeout: 0.5,
    });
  });

  test("goes on when whoever followed it leaves", async () => {
    const { run_id } = await start("echo on; sleep 1; echo off");
    for await (const event of cerver.client.followRun(session, run_id)) if (event.type === "stdout") break;
    await sleep(100);
    expect((await record(run_id)).status).toBe("running");
    expect(await ended(run_id)).toMatchObject({ status: "succeeded", stdout_bytes: 7 });
  });

  test("ends with its session, for that reason", async () => {
    const own = await cerver.session();
    const { run_id } = await start("echo pid=$$; sleep 60", {}, own);
    let pid = 0;
    for await (const event of cerver.client.followRun(own, run_id)) {
      if (event.type !== "stdout") continue;
      pid = Number(event.data.slice(4));
      break;
    }
    await cerver.client.closeSession(own);
    expect(await ended(run_id, own)).toMatchObject({ status: "cancelled", end_reason: "session_closed" });
    expect(await isAlive(pid)).toBe(false);
  });

  test("that is refused leaves nothing on the record, nor on the transcript", async () => {
    const own = await cerver.session();
    await expect(start("true", { cwd: "/etc" }, own)).rejects.toMatchObject({ code: "forbidden" });
    expect((await cerver.client.runs(own)).runs).toEqual([]);
    expect((await cerver.client.session(own)).transcript).toEqual([]);
    const { run_id } = await start("echo seen", {}, own);
    await ended(run_id, own);
    expect((await cerver.client.session(own)).transcript).toMatchObject([
      { kind: "tool_use", run_id },
      { kind: "tool_result", run_id, content: expect.stringMatching(/^seen\n\[exit 0/) },
    ]);
  });
});

describe("the list of runs", () => {
  test("is newest first, by status, and in pages", async () => {
    const own = await cerver.session();
    const ids: string[] = [];
    for (const code of ["true", "exit 1", "true", "exit 1", "true"]) {
      ids.unshift((await start(code, {}, own)).run_id);
      await ended(ids[0]!, own);
    }
    const { runs, next_cursor } = await cerver.client.runs(own, { limit: 2 });
    expect(runs.map(({ run_id }) => run_id)).toEqual(ids.slice(0, 2));
    const second = await cerver.client.runs(own, { limit: 2, cursor: next_cursor! });
    const third = await cerver.client.runs(own, { limit: 2, cursor: second.next_cursor! });
    expect([...second.runs, ...third.runs].map(({ run_id }) => run_id)).toEqual(ids.slice(2));
    expect(third.next_cursor).toBeUndefined();
    const failed = await cerver.client.runs(own, { status: "failed" });
    expect(failed.runs.map(({ run_id }) => run_id)).toEqual([ids[1], ids[3]]);
    expect((await cerver.client.allRuns({ limit: 5 })).runs).toEqual(
      (await cerver.client.runs(own)).runs.slice(0, 5),
    );
    expect(await failure(await get(`${at("", own)}?cursor=nonsense`))).toMatchObject({ status: 400 });
    expect(await failure(await get(`${at("", own)}?status=done`))).toMatchObject({ status: 400 });
  });

  test("knows the end of a stream that timed out, and of one that was joined late", async () => {
    const own = await cerver.session();
    for await (const _ of cerver.client.runStream(own, { code: "sleep 60", timeout: 0.3 }));
    expect((await cerver.client.runs(own)).runs).toMatchObject([
      { status: "timed_out", end_reason: "timeout" },
    ]);
    const { run_id } = await start("echo one; sleep 0.5; echo two", {}, own);
    await events(await get(`${at(run_id, own)}/stream?stdout_offset=2`));
    expect((await cerver.client.runs(own)).runs[0]).toMatchObject({ run_id, status: "succeeded" });
    const { transcript } = await cerver.client.session(own);
    expect(transcript.at(-1)!.content).toMatch(/^one\ntwo\n\[exit 0/);
  });
});

describe("the stream of a run", () => {
  test("continues with exactly the missing bytes, from Last-Event-ID or from offsets, and has no start", async () => {
    const { run_id } = await start("printf 0123456789; printf abcdef >&2; exit 4");
    await ended(run_id);
    const path = `${at(run_id)}/stream`;
    const all = await events(await get(path));
    expect(all.at(-1)).toMatchObject({ type: "exit", id: "10:6", exit_code: 4, end_reason: "exit" });
    const asks = [
      await get(path, { "last-event-id": "4:2" }),
      await get(`${path}?stdout_offset=4&stderr_offset=2`),
      // What the address says wins over what a browser remembers.
      await get(`${path}?stdout_offset=4&stderr_offset=2`, { "last-event-id": "9:9" }),
    ];
    for (const response of asks) {
      expect(response.headers.get("x-cerver-run-id")).toBe(run_id);
      expect(await events(response)).toMatchObject([
        { id: "10:2", type: "stdout", offset: 4, data: "456789" },
        { id: "10:6", type: "stderr", offset: 2, data: "cdef" },
        { id: "10:6", type: "exit", exit_code: 4 },
      ]);
    }
    expect(await events(await get(path, { "last-event-id": "10:6" }))).toMatchObject([{ type: "exit" }]);
  });

  test("of a live run goes on to its end, over a character that is cut in two", async () => {
    const { run_id } = await start("printf 'a\\303'; sleep 0.7; printf '\\251b'");
    await printed(run_id, 2);
    const seen = await events(await get(`${at(run_id)}/stream?stdout_offset=1`));
    expect(seen.map(({ type, data }) => data ?? type)).toEqual(["éb", "exit"]);
  });

  test("that one only follows may be left: a foreground run goes on for its caller", async () => {
    const own = await cerver.session();
    const answer = cerver.client.run(own, { code: "echo a; sleep 1.5; echo b" });
    answer.catch(() => {});
    const runs = async () => (await cerver.client.runs(own)).runs;
    await expect.poll(runs).toHaveLength(1);
    const [{ run_id }] = (await runs()) as [RunRecord];
    for await (const event of cerver.client.followRun(own, run_id)) if (event.type === "stdout") break;
    await sleep(100);
    expect(await cerver.client.session(own)).toMatchObject({ status: "running" });
    expect(await answer).toMatchObject({ status: "succeeded", result: { stdout: "a\nb\n" } });
  });
});

describe("the output of a run", () => {
  test("is whole or a range, as HTTP has it", async () => {
    const { run_id } = await start("printf 0123456789; printf err >&2");
    await ended(run_id);
    const output = async (range?: string, stream = "stdout") => {
      const response = await get(`${at(run_id)}/output?stream=${stream}`, range ? { range } : {});
      const { status, headers } = response;
      const said = headers.get("content-range");
      const text = await response.text();
      if (status < 300) {
        expect(headers.get("content-length")).toBe(String(text.length));
        expect(headers.get("accept-ranges")).toBe("bytes");
        expect(headers.get("content-type")).toBe("application/octet-stream");
      }
      return [status, status < 300 ? text : JSON.parse(text).code, said];
    };
    expect(await output()).toEqual([200, "0123456789", null]);
    expect(await output(undefined, "stderr")).toEqual([200, "err", null]);
    expect(await output("bytes=2-4")).toEqual([206, "234", "bytes 2-4/10"]);
    expect(await output("bytes=0-0")).toEqual([206, "0", "bytes 0-0/10"]);
    expect(await output("bytes=7-")).toEqual([206, "789", "bytes 7-9/10"]);
    expect(await output("bytes=7-500")).toEqual([206, "789", "bytes 7-9/10"]);
    expect(await output("bytes=-3")).toEqual([206, "789", "bytes 7-9/10"]);
    expect(await output("bytes=-500")).toEqual([206, "0123456789", "bytes 0-9/10"]);
    expect(await output("bytes=10-")).toEqual([416, "range_not_satisfiable", "bytes */10"]);
    expect(await output("bytes=-0")).toEqual([416, "range_not_satisfiable", "bytes */10"]);
    // What is no valid range is no range.
    expect(await output("bytes=4-2")).toEqual([200, "0123456789", null]);
    expect(await output("bytes=a-b")).toEqual([200, "0123456789", null]);
    expect(await output("lines=1-2")).toEqual([200, "0123456789", null]);
    expect(await failure(await get(`${at(run_id)}/output?stream=both`))).toMatchObject({ status: 400 });
  });

  test("of nothing is empty, and of a run under way is what there is", async () => {
    const { run_id } = await start("printf now; sleep 0.8; printf later");
    await printed(run_id, 3);
    const response = await get(`${at(run_id)}/output`);
    expect([response.headers.get("content-length"), await response.text()]).toEqual(["3", "now"]);
    const none = await get(`${at(run_id)}/output?stream=stderr`);
    expect([none.status, none.headers.get("content-length"), await none.text()]).toEqual([200, "0", ""]);
    await ended(run_id);
    expect(await (await get(`${at(run_id)}/output`)).text()).toBe("nowlater");
  });

  test("has every byte of what an answer cut, and the answer says where", async () => {
    const answer = await cerver.client.run(session, {
      code: "head -c 5000000 /dev/urandom > big; cat big; sha256sum < big >&2",
    });
    expect(answer).toMatchObject({ truncated: true, output: `${at(answer.run_id)}/output` });
    const response = await get(`${answer.output}?stream=stdout`);
    const bytes = new Uint8Array(await response.arrayBuffer());
    expect(bytes.length).toBe(5_000_000);
    expect(sha(bytes)).toBe(answer.result.stderr.slice(0, 64));
    const part = await get(answer.output!, { range: "bytes=3000000-3099999" });
    expect(sha(new Uint8Array(await part.arrayBuffer()))).toBe(sha(bytes.subarray(3_000_000, 3_100_000)));
  });

  test("is bounded in the background: the oldest goes, and that is said wherever it is read", async () => {
    // 80 MiB of lines that say where they are.
    const total = 80 * 1024 * 1024;
    const { run_id } = await start(`seq -f '%015.0f' 1 ${total / 16}`, { timeout: 120 });
    expect(await ended(run_id)).toMatchObject({ status: "succeeded", stdout_bytes: total });
    const response = await get(`${at(run_id)}/output`);
    const first = Number(response.headers.get("x-cerver-output-from"));
    expect(first).toBeGreaterThan(0);
    expect(total - first).toBeGreaterThanOrEqual(64 * 1024 * 1024);
    expect(response.headers.get("x-cerver-output-bytes")).toBe(String(total));
    let bytes = 0;
    let head: string | undefined;
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      head ??= Buffer.from(chunk).toString("latin1", 0, 16);
      bytes += chunk.length;
    }
    expect({ bytes, head }).toEqual({
      bytes: total - first,
      head: `${String(first / 16 + 1).padStart(15, "0")}\n`,
    });
    expect(Number(response.headers.get("content-length"))).toBe(total - first);
    const gone = await get(`${at(run_id)}/output`, { range: "bytes=0-99" });
    expect([gone.status, gone.headers.get("content-range")]).toEqual([416, `bytes */${total}`]);
    expect(await gone.json()).toMatchObject({ first, total });
    for await (const event of cerver.client.followRun(session, run_id)) {
      expect(event).toMatchObject({ type: "gap", stream: "stdout", offset: 0, bytes: first });
      break;
    }
    const tail = await get(`${at(run_id)}/output`, { range: "bytes=-16" });
    expect(await tail.text()).toBe(`${String(total / 16).padStart(15, "0")}\n`);
  }, 60_000);
});

describe("the stdin of a run", () => {
  const stdin = (run: string, body: string, type: string, query = "") =>
    post(`${at(run)}/stdin${query}`, body, { "content-type": type });

  test("takes JSON, base64 and raw bytes, gives nothing twice, and ends when it is closed", async () => {
    const { run_id } = await start("cat; echo end", { stdin_open: true });
    const answers: unknown[] = [];
    const send = async (...args: [string, string, string?]) => {
      const response = await stdin(run_id, ...args);
      answers.push([response.status, ((await response.json()) as { stdin_bytes: number }).stdin_bytes]);
    };
    await send('{"data":"héllo "}', "application/json");
    await send(JSON.stringify({ data: "AP8=", encoding: "base64" }), "application/json");
    await send("raw {}", "application/octet-stream", "?offset=9");
    await send("raw {}", "application/octet-stream", "?offset=9");
    await send("{} more", "text/plain", "?offset=13");
    expect(answers).toEqual([
      [200, 7],
      [200, 9],
      [200, 15],
      [200, 15],
      [200, 20],
    ]);
    expect(await failure(await stdin(run_id, "x", "text/plain", "?offset=99"))).toEqual({
      status: 409,
      code: "conflict",
    });
    expect((await post(`${at(run_id)}/stdin/close`)).status).toBe(200);
    await ended(run_id);
    const output = Buffer.from(await (await get(`${at(run_id)}/output`)).arrayBuffer());
    expect(output.toString("latin1")).toBe("h\u00c3\u00a9llo \0\u00ffraw {} moreend\n");
  });

  test("is a conflict without stdin_open, when it is closed, and when the run has ended", async () => {
    const closed = await start("cat; sleep 0.5");
    expect(await failure(await stdin(closed.run_id, "x", "text/plain"))).toMatchObject({ status: 409 });
    const { run_id } = await start("cat; sleep 1", { stdin_open: true, stdin: "first " });
    await cerver.client.closeStdin(session, run_id);
    await expect(cerver.client.sendStdin(session, run_id, "late")).rejects.toMatchObject({
      code: "conflict",
    });
    // Closing twice is closing.
    expect(await cerver.client.closeStdin(session, run_id)).toMatchObject({ run_id });
    expect(await ended(run_id)).toMatchObject({ stdout_bytes: 6 });
    await expect(cerver.client.sendStdin(session, run_id, "later")).rejects.toMatchObject({
      code: "conflict",
      message: expect.stringContaining("has ended"),
    });
    expect(await failure(await stdin(run_id, "{", "application/json"))).toMatchObject({ status: 400 });
  });
});

describe("a cancel", () => {
  test("answers with a receipt, and twice with the same", async () => {
    const { run_id } = await start("sleep 60 & sleep 60");
    const [one, two] = await Promise.all([
      cerver.client.cancelRun(session, run_id),
      cerver.client.cancelRun(session, run_id),
    ]);
    expect(one).toMatchObject({ run_id, status: "cancelled", end_reason: "cancelled" });
    expect(one.receipt.found.length).toBeGreaterThanOrEqual(2);
    expect(one.receipt.alive).toEqual([]);
    expect(two).toEqual(one);
    expect(await cerver.client.cancelRun(session, run_id)).toEqual(one);
    expect(await record(run_id)).toEqual(one);
  });

  test("of a run that has ended changes nothing", async () => {
    const { run_id } = await start("exit 5");
    const before = await ended(run_id);
    expect(await cerver.client.cancelRun(session, run_id)).toMatchObject({
      ...before,
      receipt: { found: [], signals: [], alive: [], ports_freed: [] },
    });
    expect(await record(run_id)).toEqual(before);
  });

  test("ends a foreground run for its caller, who gets an answer", async () => {
    const own = await cerver.session();
    const answer = cerver.client.run(own, { code: "echo before; sleep 60" });
    const runs = async () => (await cerver.client.runs(own, { status: "running" })).runs;
    await expect.poll(runs).toHaveLength(1);
    const [{ run_id }] = (await runs()) as [RunRecord];
    await expect.poll(async () => (await record(run_id, own)).stdout_bytes).toBe(7);
    await cerver.client.cancelRun(own, run_id);
    expect(await answer).toMatchObject({ run_id, status: "cancelled", result: { stdout: "before\n" } });
  });
});

describe("an Idempotency-Key", () => {
  let count = 0;
  const newKey = () => ({ "idempotency-key": `key-${count++}` });
  const run = (what: string) => `/v2/sessions/${session}/${what}`;
  const times = async (file: string) =>
    (await cerver.client.run(session, { code: `cat ${file} 2>/dev/null` })).result.stdout.length;

  test("makes one session of two requests, one after the other or at once", async () => {
    const key = newKey();
    const ask = async () => (await (await post("/v2/sessions", { task: "one" }, key)).json()) as object;
    const [one, two] = await Promise.all([ask(), ask()]);
    expect(two).toEqual(one);
    expect(await ask()).toEqual(one);
    expect(one).toMatchObject({ session_id: expect.any(String) });
  });

  test("makes one run of many requests, with one answer", async () => {
    const key = newKey();
    const body = { code: "printf x >> once; sleep 0.3; cat once; exit 3" };
    const ask = async () => (await (await post(run("run"), body, key)).json()) as object;
    const [one, two] = await Promise.all([ask(), ask()]);
    expect(one).toMatchObject({ status: "failed", result: { stdout: "x", exit_code: 3 } });
    expect(two).toEqual(one);
    expect(await ask()).toEqual(one);
    expect(await times("once")).toBe(1);
  });

  test("makes one stream of many requests, each with all events", async () => {
    const key = newKey();
    const body = { code: "printf x >> streamed; sleep 0.3; cat streamed" };
    const ask = async () => events(await post(run("run/stream"), body, key));
    const all = [...(await Promise.all([ask(), ask()])), await ask()];
    const ends = all.map((seen) => seen.at(-1));
    expect(ends[0]).toMatchObject({ type: "exit", exit_code: 0 });
    expect(ends[1]).toEqual(ends[0]);
    expect(ends[2]).toEqual(ends[0]);
    for (const seen of all)
      expect(seen.filter(({ type }) => type === "stdout").map(({ data }) => data)).toEqual(["x"]);
    expect(await times("streamed")).toBe(1);
  });

  test("makes one background run of many requests", async () => {
    const key = newKey();
    const ask = async () => {
      const response = await post(at(), { code: "printf x >> background; sleep 0.3" }, key);
      return [response.status, ((await response.json()) as RunRecord).run_id];
    };
    const [one, two] = await Promise.all([ask(), ask()]);
    expect(one![0]).toBe(202);
    expect(two).toEqual(one);
    await ended(one![1] as string);
    expect(await ask()).toEqual(one);
    expect(await times("background")).toBe(1);
  });

  test("is a conflict with another body, path or session", async () => {
    const key = newKey();
    await post(run("run"), { code: "true" }, key);
    const own = await cerver.session();
    const conflict = { status: 409, code: "conflict" };
    expect(await failure(await post(run("run"), { code: "false" }, key))).toEqual(conflict);
    expect(await failure(await post(at(), { code: "true" }, key))).toEqual(conflict);
    expect(await failure(await post(`/v2/sessions/${own}/run`, { code: "true" }, key))).toEqual(conflict);
    expect(await failure(await post("/v2/sessions", {}, key))).toEqual(conflict);
  });

  test("is free again after a refusal, which leaves nothing on the record", async () => {
    const key = newKey();
    const own = await cerver.session();
    const path = `/v2/sessions/${own}/run`;
    expect((await failure(await post(path, { code: "true", cwd: "/etc" }, key))).status).toBe(403);
    expect((await post(path, { code: "true" }, key)).status).toBe(200);
    await cerver.client.closeSession(own);
    for (const what of ["run", "run/stream", "runs"]) {
      const response = await post(`/v2/sessions/${own}/${what}`, { code: "true" }, newKey());
      expect(await failure(response)).toEqual({ status: 410, code: "session_ended" });
    }
    expect((await cerver.client.runs(own)).runs).toHaveLength(1);
    expect((await failure(await post(run("run"), { code: "true" }, { "idempotency-key": "é" }))).status).toBe(
      400,
    );
  });

  test("lets a caller who hung up ask again for the run that goes on", async () => {
    const key = newKey();
    const body = { code: "printf x >> hungup; sleep 1.5; echo joined" };
    const abort = new AbortController();
    const first = fetch(cerver.gateway.url + run("run"), {
      method: "POST",
      headers: { authorization: `Bearer ${cerver.token}`, "content-type": "application/json", ...key },
      body: JSON.stringify(body),
      signal: abort.signal,
    });
    first.catch(() => {});
    await expect.poll(() => times("hungup"), { timeout: 5_000 }).toBe(1);
    abort.abort();
    await sleep(200);
    expect(await (await post(run("run"), body, key)).json()).toMatchObject({
      status: "succeeded",
      result: { stdout: "joined\n" },
    });
    expect(await times("hungup")).toBe(1);
  });
});

describe("who may what", () => {
  test("a token that may read looks, and neither cancels nor types", async () => {
    const reader = await cerver.clientWith(["read"]);
    const { run_id } = await start("cat", { stdin_open: true });
    expect(await reader.getRun(session, run_id)).toMatchObject({ status: "running" });
    expect((await reader.allRuns({ limit: 1 })).runs).toHaveLength(1);
    const forbidden = { code: "forbidden" };
    await expect(reader.cancelRun(session, run_id)).rejects.toMatchObject(forbidden);
    await expect(reader.sendStdin(session, run_id, "x")).rejects.toMatchObject(forbidden);
    await expect(reader.closeStdin(session, run_id)).rejects.toMatchObject(forbidden);
    await expect(reader.startRun(session, { code: "true" })).rejects.toMatchObject(forbidden);
    expect((await cerver.client.cancelRun(session, run_id)).stdout_bytes).toBe(0);
  });

  test("a run is found in its own session only", async () => {
    const other = await cerver.session();
    const { run_id } = await start("true");
    const notFound = { status: 404, code: "run_not_found" };
    for (const rest of ["", "/stream", "/output"])
      expect(await failure(await get(at(run_id, other) + rest))).toEqual(notFound);
    for (const rest of ["/cancel", "/stdin", "/stdin/close"])
      expect(await failure(await post(at(run_id, other) + rest))).toEqual(notFound);
    expect(await failure(await get(at("run_none")))).toEqual(notFound);
  });

  test("another account finds no run, and its keys are its own", async () => {
    const { client, call } = await otherAccount();
    const { run_id } = await start("true");
    await expect(client.getRun(session, run_id)).rejects.toMatchObject({ code: "session_not_found" });
    await expect(client.findRun(run_id)).rejects.toMatchObject({ code: "run_not_found" });
    expect((await client.allRuns()).runs).toEqual([]);
    const key = { "idempotency-key": "shared" };
    const body = { task: "mine", compute: null };
    const mine = (await (await post("/v2/sessions", body, key)).json()) as { session_id: string };
    const theirs = (await (await call("/v2/sessions", body, key)).json()) as { session_id: string };
    expect(theirs.session_id).toMatch(/^sess_/);
    expect(theirs.session_id).not.toBe(mine.session_id);
  });
});

test("a gateway that starts again on its data settles the runs it left, and knows its keys", async () => {
  const own = await startCerver();
  try {
    const port = own.gateway.port;
    const session = await own.session();
    const key = { "idempotency-key": "over-a-restart" };
    const path = `/v2/sessions/${session}/runs`;
    const body = { code: "sleep 1.5; echo settled; exit 6" };
    const { run_id } = (await (await own.call("POST", path, body, key)).json()) as RunRecord;
    await own.gateway.stop();
    await sleep(2_000);
    const again = await startGateway(
      gatewayConfig({ port, dataDir: join(own.folder, "data") }, { HOME: own.folder }),
      { logger: silentLogger },
    );
    try {
      const record = () => own.client.getRun(session, run_id);
      await expect.poll(async () => (await record()).status, { timeout: 15_000 }).toBe("failed");
      expect(await record()).toMatchObject({ exit_code: 6, end_reason: "exit", stdout_bytes: 8 });
      const answer = await own.call("POST", path, body, key);
      expect(await answer.json()).toMatchObject({ run_id, status: "failed" });
      const { transcript } = await own.client.session(session);
      expect(transcript.map(({ kind }) => kind)).toEqual(["tool_use", "tool_result"]);
      expect(transcript[1]!.content).toMatch(/^settled\n\[exit 6/);
    } finally {
      await own.relay!.stop();
      await again.stop();
    }
  } finally {
    await own.stop().catch(() => {});
  }
});

/** Somebody else at the same gateway. */
async function otherAccount() {
  const db = await openDatabase(join(cerver.folder, "data", "cerver.db"));
  const id = "acct_other";
  await db.insertInto("accounts").values({ id, name: "other", created_at: Date.now() }).execute();
  const { key } = await new ApiTokens({ db }).create(id, { label: "", scopes: ["admin"] });
  await db.destroy();
  const { url } = cerver.gateway;
  return {
    client: new GatewayClient({ gatewayUrl: url, token: key }),
    call: (path: string, body: object, headers: Record<string, string>) =>
      fetch(url + path, {
        method: "POST",
        headers: { authorization: `Bearer ${key}`, "content-type": "application/json", ...headers },
        body: JSON.stringify(body),
      }),
  };
}
