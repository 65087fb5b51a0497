import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { ProviderEnv, SandboxRecord } from "../../src/gateway/compute/contract.js";
import { e2bProvider } from "../../src/gateway/compute/providers/e2b.js";
import { CerverError } from "../../src/protocol/errors.js";
import { newId } from "../../src/protocol/ids.js";
import type { RunEvent } from "../../src/protocol/runs.js";
import type { SandboxRunAnswer, SandboxRunRequest } from "../../src/protocol/sandbox.js";
import { readEventStream } from "../../src/util/event-stream.js";
import { isLiving, look } from "../proc-look.js";
import { type E2bServer, startE2bServer } from "./e2b-server.js";

const KEY = "e2b_0123456789abcdef0123456789abcdef01234567";

let server: E2bServer;
let adapter: ReturnType<typeof e2bProvider>;
const records: SandboxRecord[] = [];

beforeAll(async () => {
  server = await startE2bServer({ apiKey: KEY });
  adapter = e2bProvider({ apiUrl: server.apiUrl, sandboxUrl: server.sandboxUrl });
});
afterEach(async () => {
  for (const record of records.splice(0)) await adapter.deleteSandbox(record, env());
});
afterAll(() => server.close());

function env(signal: AbortSignal = new AbortController().signal, key = KEY): ProviderEnv {
  return { computeId: "provider_e2b", signal, credentials: { e2b_api_key: key } };
}

async function sandbox(metadata: Record<string, unknown> = {}, timeout_ms?: number): Promise<SandboxRecord> {
  const request = { engine: "shell", metadata, ...(timeout_ms && { timeout_ms }) };
  const record = await adapter.createSandbox(request, env());
  records.push(record);
  return record;
}

type Asked = string | (Partial<SandboxRunRequest> & { code: string });

const request = (asked: Asked): SandboxRunRequest => ({
  runtime: "shell",
  ...(typeof asked === "string" ? { code: asked } : asked),
});

async function run(record: SandboxRecord, asked: Asked, signal?: AbortSignal): Promise<SandboxRunAnswer> {
  const response = await adapter.runSandbox(record, request(asked), env(signal));
  expect(response.status).toBe(200);
  return (await response.json()) as SandboxRunAnswer;
}

async function* stream(record: SandboxRecord, asked: Asked, signal?: AbortSignal): AsyncGenerator<RunEvent> {
  const response = await adapter.runSandboxStream(record, request(asked), env(signal));
  for await (const { data } of readEventStream(response.body!)) yield JSON.parse(data) as RunEvent;
}

/** The living processes that have this word in their arguments, as the machine sees them from outside. */
function living(word: string): number[] {
  return [...look().values()]
    .filter((one) => isLiving(one) && one.cmdline.includes(word))
    .map(({ pid }) => pid);
}

/** Those that were given a name which begins with this word. */
function named(word: string): string[] {
  const names = [...look().values()].filter(isLiving).map(({ cmdline }) => cmdline.split(" ")[0]!);
  return names.filter((name) => name.startsWith(word)).sort();
}

const KINDS = ["bare", "bare-session", "child", "daemon", "session", "stubborn"];

/** Code that starts sleepers of every kind, each with a name of its own, and waits. */
const family = (word: string) => `
bash -c 'exec -a ${word}-child sleep 600' &
setsid bash -c 'exec -a ${word}-session sleep 600' &
setsid bash -c 'setsid bash -c "exec -a ${word}-daemon sleep 600" >/dev/null 2>&1 </dev/null &' &
env -i /bin/bash -c 'exec -a ${word}-bare /bin/sleep 600' &
env -i setsid /bin/bash -c 'exec -a ${word}-bare-session /bin/sleep 600' &
bash -c 'trap "" TERM; exec -a ${word}-stubborn sleep 600' &
sleep 0.5
echo begun
wait`;

async function failure(call: Promise<unknown>): Promise<CerverError> {
  const error = await call.then(
    () => new Error("it was taken instead of refused"),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(CerverError);
  return error as CerverError;
}

describe("a sandbox at E2B", () => {
  test("is made with its session's id, its lifetime and its environment, and with nothing else", async () => {
    const sessionId = newId("sess");
    const metadata = { cerver_session_id: sessionId, env: { GREETING: "hello" }, customer: "private" };
    const record = await sandbox(metadata, 90_500);
    expect(record).toEqual({ sandboxId: expect.any(String), computeId: "provider_e2b", provider: "e2b" });

    const made = server.sandbox(record.sandboxId)!;
    expect(made.metadata).toMatchObject({ cerver_session_id: sessionId });
    expect(JSON.stringify(made.metadata)).not.toContain("private");
    expect(made.endAt.getTime() - made.startedAt.getTime()).toBeGreaterThan(90_000);
    expect(made.endAt.getTime() - made.startedAt.getTime()).toBeLessThan(92_500);
    expect((await run(record, "echo $GREETING; ls -A")).stdout).toBe("hello\n");
  });

  test("keeps its end, however much is asked of it", async () => {
    const record = await sandbox({}, 60_000);
    const { endAt } = server.sandbox(record.sandboxId)!;
    await run(record, "true");
    await adapter.getState(record, env());
    expect(server.sandbox(record.sandboxId)!.endAt).toEqual(endAt);
    server.hideTokens = true;
    expect((await run(record, "echo by connecting")).stdout).toBe("by connecting\n");
    server.hideTokens = false;
    expect(server.sandbox(record.sandboxId)!.endAt).toEqual(endAt);
  });

  test("is not found any more once its lifetime is over, and a run in it is lost", async () => {
    const record = await sandbox({}, 2_000);
    const lost = await failure(adapter.runSandbox(record, request("sleep 600"), env()));
    expect(lost).toMatchObject({ code: "compute_lost" });
    expect(lost.message).toContain("The sandbox ended");
    expect(await failure(adapter.runSandbox(record, request("true"), env()))).toMatchObject({
      code: "sandbox_not_found",
    });
  });

  test("is found by its session, and deleted, twice if need be", async () => {
    const sessionId = newId("sess");
    const record = await sandbox({ cerver_session_id: sessionId });
    await sandbox({ cerver_session_id: newId("sess") });
    expect(await adapter.cloud!.find(sessionId, env())).toEqual([record]);
    for (let i = 0; i < 2; i++) {
      const response = await adapter.deleteSandbox(record, env());
      expect(response.status).toBe(200);
      expect(await response.json()).toMatchObject({ sandbox_id: record.sandboxId, status: "terminated" });
    }
    expect(await adapter.cloud!.find(sessionId, env())).toEqual([]);
  });

  test("sleeps and wakes with its files, and is not woken by a run", async () => {
    const record = await sandbox({}, 600_000);
    await run(record, "echo kept > file");
    await adapter.cloud!.suspend!(record, env());
    await adapter.cloud!.suspend!(record, env());
    expect(await failure(adapter.runSandbox(record, request("true"), env()))).toMatchObject({
      code: "conflict",
    });
    expect(server.sandbox(record.sandboxId)!.state).toBe("paused");

    expect(await adapter.cloud!.wake!(record, env())).toEqual(record);
    expect((await run(record, "cat file")).stdout).toBe("kept\n");
    const left = server.sandbox(record.sandboxId)!.endAt.getTime() - Date.now();
    expect(left).toBeGreaterThan(590_000);
    expect(left).toBeLessThan(601_000);
  });

  test("shows a port under an address of its own", async () => {
    const record = await sandbox();
    expect(await adapter.cloud!.portUrl!(record, 3000, env())).toBe(
      `https://3000-${record.sandboxId}.e2b.app`,
    );
  });
});

describe("making a sandbox", () => {
  const create = (sessionId: string, signal?: AbortSignal, key?: string) =>
    adapter.createSandbox({ engine: "shell", metadata: { cerver_session_id: sessionId } }, env(signal, key));

  test("says what the vendor says of a key, and never the key", async () => {
    const bad = "e2b_ffffffffffffffffffffffffffffffffffffffff";
    const refused = await failure(create(newId("sess"), undefined, bad));
    expect(refused).toMatchObject({ code: "credentials_refused", details: { vendor_status: 401 } });
    expect(refused.message).toContain("Invalid API key");
    expect(JSON.stringify([refused.toBody(), String(refused)])).not.toContain(bad);
    expect(await failure(adapter.cloud!.verify(env(undefined, bad)))).toMatchObject({
      code: "credentials_refused",
    });
    await adapter.cloud!.verify(env());
    server.failNextCreate({ status: 403, message: `the key ${KEY} is blocked` });
    const blocked = await failure(create(newId("sess")));
    expect(blocked.code).toBe("credentials_refused");
    expect(JSON.stringify(blocked.toBody())).not.toContain(KEY);
    const broken = await failure(adapter.cloud!.verify(env(undefined, "e2b_broken\nin two\n")));
    expect(broken.message).toContain("[the key]");
    expect(JSON.stringify(broken.toBody())).not.toContain("e2b_broken");
  });

  test("carries Retry-After, and asks once", async () => {
    server.failNextCreate({ status: 429, message: "you have reached 20 sandboxes", retryAfter: 7 });
    const before = server.requests.length;
    const refused = await failure(create(newId("sess")));
    expect(refused).toMatchObject({
      code: "too_many_requests",
      details: { retry_after_ms: 7_000, vendor_code: "429" },
    });
    expect(refused.message).toContain("you have reached 20 sandboxes");
    expect(server.requests.slice(before)).toEqual(["POST /v2/sandboxes"]);
  });

  test("that fails at the vendor is provider_failed with its code and words, and nothing is there", async () => {
    server.failNextCreate({ status: 500, message: "no node has room" });
    const refused = await failure(create(newId("sess")));
    expect(refused).toMatchObject({
      code: "provider_failed",
      details: { vendor_status: 500, vendor_code: "500" },
    });
    expect(refused.message).toContain("no node has room");
    server.failNextCreate({ status: 400, message: "template 'x' not found" });
    expect((await failure(create(newId("sess")))).message).toContain("template 'x' not found");
    expect(server.sandboxes).toEqual([]);
  });

  test("that cannot be worked in leaves nothing", async () => {
    server.failNextEnvdCall(500, "the disk burns");
    const refused = await failure(create(newId("sess")));
    expect(refused.code).toBe("provider_failed");
    expect(refused.message).toContain("could not make the sandbox's working folder");
    expect(server.sandboxes).toEqual([]);
  });

  test("whose answer is lost leaves nothing, and leaves the session's other sandbox alone", async () => {
    const sessionId = newId("sess");
    const other = await sandbox({ cerver_session_id: sessionId });
    const made = server.made;
    server.failNextCreate({ loseAnswer: true });
    const lost = await failure(create(sessionId));
    expect(lost.code).toBe("provider_failed");
    expect(lost.hint).toContain("was found and deleted");
    expect(server.made).toBe(made + 1);
    expect(server.sandboxes).toEqual([other.sandboxId]);
  });

  test("that is aborted on its way leaves nothing", async () => {
    const made = server.made;
    for (const fault of [{ delayMs: 400 }, { delayMs: 400, loseAnswer: true }]) {
      server.failNextCreate(fault);
      const leave = new AbortController();
      const reason = new Error("the caller left");
      const creating = create(newId("sess"), leave.signal);
      setTimeout(() => leave.abort(reason), 100);
      await expect(creating).rejects.toBe(reason);
      expect(server.sandboxes).toEqual([]);
    }
    expect(server.made).toBe(made + 2);
  });

  test("of which nobody can say whether it is there names what may be left", async () => {
    server.failNextCreate({ loseAnswer: true });
    const creating = failure(create(newId("sess")));
    while (server.sandboxes.length === 0) await sleep(5);
    const [id] = server.sandboxes;
    // Every look that follows fails.
    const failing = setInterval(() => server.failNextCall(500, "the list is down"), 1);
    const named = await creating;
    clearInterval(failing);
    await server.sandbox(id!)?.end();
    server.forgetFaults();
    expect(named.message).toContain("may still have");
    expect(named.message).toContain("cerver_create_id=");
  });
});

describe("a run at E2B", () => {
  test("streams live, with stdout and stderr apart, and ends with the exit code", async () => {
    const record = await sandbox();
    const began = performance.now();
    const times: [string, number][] = [];
    for await (const event of stream(record, "echo one; echo two >&2; sleep 1.5; echo three; exit 7"))
      times.push([
        event.type === "stdout" || event.type === "stderr" ? `${event.type} ${event.data}` : event.type,
        performance.now() - began,
      ]);
    expect(times.map(([what]) => what)).toEqual([
      "start",
      "stdout one\n",
      "stderr two\n",
      "stdout three\n",
      "exit",
    ]);
    const [, , , three] = times.map(([, at]) => at);
    expect(three! - times[1]![1]).toBeGreaterThan(1_200);
  });

  test("tells exit codes and signals as they are", async () => {
    const record = await sandbox();
    expect(await run(record, "exit 3")).toMatchObject({ success: false, status: "failed", exit_code: 3 });
    expect(await run(record, "kill -9 $$")).toMatchObject({ status: "failed", exit_code: 137 });
    expect(await run(record, "exec no-such-program")).toMatchObject({ status: "failed", exit_code: 127 });
    expect(await run(record, "true")).toMatchObject({ success: true, status: "succeeded", exit_code: 0 });
  });

  test("keeps every byte, also when a character comes in halves", async () => {
    const record = await sandbox();
    const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    const print = `printf '${[...all].map((byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("")}'`;
    const { stdout, stdout_encoding, stdout_bytes } = await run(record, `${print}; ${print} >&2`);
    expect(stdout_encoding).toBe("base64");
    expect(stdout_bytes).toBe(256);
    expect(Buffer.compare(Buffer.from(stdout, "base64"), all)).toBe(0);
    const halves = await run(record, "printf '\\303'; sleep 0.3; printf '\\251'");
    expect(halves).toMatchObject({ stdout: "é", stdout_bytes: 2 });
  });

  test("prints 10 MB without losing one", async () => {
    const record = await sandbox();
    const chunks: Buffer[] = [];
    let exit: RunEvent | undefined;
    for await (const event of stream(record, { code: "seq 1 1400000", timeout: 100 })) {
      if (event.type === "stdout") chunks.push(Buffer.from(event.data, event.encoding ?? "utf8"));
      exit = event;
    }
    expect(exit).toMatchObject({ type: "exit", status: "succeeded" });
    let expected = "";
    for (let i = 1; i <= 1_400_000; i++) expected += `${i}\n`;
    expect(Buffer.compare(Buffer.concat(chunks), Buffer.from(expected))).toBe(0);
  }, 120_000);

  test("waits for a reader that is slow", async () => {
    const record = await sandbox();
    const code = "i=0; while [ $i -lt 3000 ]; do head -c 10000 /dev/zero; i=$((i+1)); echo $i > at; done";
    const reading = stream(record, { code, timeout: 100 });
    for (let i = 0; i < 3; i++) await reading.next();
    const at = async () => Number((await run(record, "cat at")).stdout);
    let before = -1;
    await expect
      .poll(
        async () => {
          const last = before;
          before = await at();
          return before > 0 && before === last;
        },
        { timeout: 20_000, interval: 700 },
      )
      .toBe(true);
    expect(before).toBeLessThan(2_900);
    await reading.return(undefined);
  }, 60_000);

  test("takes envs, cwd, stdin and node as they are given", async () => {
    const record = await sandbox();
    await run(record, "mkdir -p 'a b'");
    const answer = await run(record, {
      code: 'pwd; cat; printf \'%s|%s\' "$X" "$PATH"; ls -A ..',
      cwd: "a b",
      stdin: "in\nput",
      envs: { X: "it's $HOME\n", PATH: "/usr/bin:/bin" },
    });
    expect(answer.stdout).toMatch(/\/home\/user\/work\/a b\nin\nputit's \$HOME\n\|\/usr\/bin:\/bina b\n$/);
    const node =
      'import { basename } from "node:path"; console.log(basename("/x/y"), await 3); process.exit(5)';
    expect(await run(record, { code: node, runtime: "node" })).toMatchObject({
      stdout: "y 3\n",
      exit_code: 5,
    });
    const long = `// ${"x".repeat(200_000)}\nconsole.log(await 4, process.cwd().endsWith("a b"))`;
    expect((await run(record, { code: long, runtime: "node", cwd: "a b" })).stdout).toBe("4 true\n");
    expect((await run(record, `: ${"y".repeat(200_000)}\necho "long $0"`)).stdout).toBe("long /bin/sh\n");
    await expect
      .poll(async () => (await run(record, "ls -A . 'a b' ~/.cerver")).stdout)
      .not.toContain("run_");
  });

  test("does not wait for what it left behind", async () => {
    const record = await sandbox();
    const word = `left-${randomUUID()}`;
    const code = `bash -c 'exec -a ${word} sleep 600' & setsid bash -c 'exec -a ${word} sleep 600' & sleep 0.3; echo over`;
    const answer = await run(record, { code, timeout: 20 });
    expect(answer).toMatchObject({ status: "succeeded", stdout: "over\n", stderr: "" });
    expect(answer.duration_ms).toBeLessThan(10_000);
    expect(living(word)).toEqual([]);
  });

  test("leaves a server that let go of its output", async () => {
    const record = await sandbox();
    const word = `server-${randomUUID()}`;
    await run(record, `setsid bash -c 'exec -a ${word} sleep 600' >/dev/null 2>&1 </dev/null & sleep 0.3`);
    expect(named(word)).toHaveLength(1);
    await adapter.deleteSandbox(record, env());
    expect(living(word)).toEqual([]);
  });

  test("is ended with its whole family when its caller leaves, before the call settles", async () => {
    const record = await sandbox();
    const word = `family-${randomUUID()}`;
    const leave = new AbortController();
    const reason = new Error("the caller left");
    const answering = adapter.runSandbox(
      record,
      request({ code: family(word), timeout: 300 }),
      env(leave.signal),
    );
    answering.catch(() => {});
    await expect.poll(() => named(word), { timeout: 10_000 }).toEqual(KINDS.map((kind) => `${word}-${kind}`));
    leave.abort(reason);
    await expect(answering).rejects.toBe(reason);
    expect(living(word)).toEqual([]);
  });

  test("is ended with its whole family when the reader of its stream leaves", async () => {
    const record = await sandbox();
    const word = `family-${randomUUID()}`;
    for await (const event of stream(record, { code: family(word), timeout: 300 }))
      if (event.type === "stdout") {
        expect(named(word)).toHaveLength(KINDS.length);
        break;
      }
    await expect.poll(() => living(word), { timeout: 10_000 }).toEqual([]);
  });

  test("is ended with its whole family when its time is over, also while its reader stands still", async () => {
    const record = await sandbox();
    const word = `family-${randomUUID()}`;
    const answer = await run(record, { code: family(word), timeout: 2 });
    expect(answer).toMatchObject({ status: "timed_out", exit_code: 124, stdout: "begun\n" });
    expect(living(word)).toEqual([]);

    const flood = `flood-${randomUUID()}`;
    const reading = stream(record, { code: `exec yes ${flood}`, timeout: 2 });
    await reading.next();
    await expect.poll(() => living(flood).length).toBeGreaterThan(0);
    await expect.poll(() => living(flood), { timeout: 15_000 }).toEqual([]);
    await reading.return(undefined);
  }, 60_000);

  test("that is aborted before it begins does not begin", async () => {
    const record = await sandbox();
    const word = `early-${randomUUID()}`;
    for (const wait of [0, 5, 20, 60]) {
      const leave = new AbortController();
      const code = `bash -c 'exec -a ${word} sleep 600'`;
      const answering = adapter.runSandbox(record, request({ code, timeout: 60 }), env(leave.signal));
      answering.catch(() => {});
      await sleep(wait);
      leave.abort(new Error("the caller left"));
      await expect(answering).rejects.toBeDefined();
    }
    await sleep(300);
    expect(living(word)).toEqual([]);
  });

  test("that is aborted while its start is long on its way does not begin when it arrives", async () => {
    const record = await sandbox();
    server.delayNextStart(7_000);
    const leave = new AbortController();
    const answering = adapter.runSandbox(record, request("touch ran; sleep 600"), env(leave.signal));
    answering.catch(() => {});
    await sleep(300);
    const began = performance.now();
    leave.abort(new Error("the caller left"));
    await expect(answering).rejects.toThrow("the caller left");
    expect(performance.now() - began).toBeGreaterThan(4_500);
    await sleep(2_500);
    expect((await run(record, "ls -A")).stdout).toBe("");
  });

  test("leaves its neighbours alone when it is cancelled", async () => {
    const record = await sandbox();
    const neighbour = run(record, { code: "sleep 2; echo whole", timeout: 20 });
    const leave = new AbortController();
    const cancelled = adapter.runSandbox(record, request("sleep 600"), env(leave.signal));
    cancelled.catch(() => {});
    await sleep(700);
    leave.abort(new Error("the caller left"));
    await expect(cancelled).rejects.toBeDefined();
    expect(await neighbour).toMatchObject({ status: "succeeded", stdout: "whole\n" });
  });

  test("whose line breaks is lost, never a success, and what is left of it is ended", async () => {
    const record = await sandbox();
    const word = `cut-${randomUUID()}`;
    const code = `echo begun; bash -c 'exec -a ${word} sleep 600'`;
    const answering = failure(adapter.runSandbox(record, request({ code, timeout: 60 }), env()));
    await expect.poll(() => named(word).length).toBe(1);
    server.cutStreams();
    const lost = await answering;
    expect(lost).toMatchObject({ code: "compute_lost" });
    expect(lost.hint).toContain("Its processes were ended");
    expect(living(word)).toEqual([]);

    server.cutNextStream(1);
    const events: RunEvent[] = [];
    for await (const event of stream(record, "echo one; sleep 0.5; echo two; sleep 1")) events.push(event);
    expect(events.at(-1)).toMatchObject({ type: "error", status: "lost", code: "compute_lost" });
  });

  test("that a proxy answers with 502 is lost, and does not begin", async () => {
    const record = await sandbox();
    server.failNextEnvdCall(502, "bad gateway");
    expect((await failure(adapter.runSandbox(record, request("touch ran"), env()))).code).toBe(
      "compute_lost",
    );
    expect((await run(record, "ls -A")).stdout).toBe("");
  });

  test("with an option that cannot be served is refused by its name, and nothing runs", async () => {
    const record = await sandbox();
    for (const [option, code] of [
      ["background", "unsupported"],
      ["stdin_open", "unsupported"],
      ["sudo", "invalid_request"],
    ]) {
      const asked = request({ code: "touch ran", [option!]: true } as Asked as { code: string });
      const refused = await failure(adapter.runSandbox(record, asked, env()));
      expect(refused.code).toBe(code);
      expect(refused.message).toContain(option);
      expect((await failure(adapter.runSandboxStream(record, asked, env()))).code).toBe(code);
    }
    for (const cwd of ["..", "/etc", "a/../../b"])
      expect((await failure(adapter.runSandbox(record, request({ code: "pwd", cwd }), env()))).code).toBe(
        "forbidden",
      );
    const missing = request({ code: "touch ran", cwd: "not-there" });
    const refused = await failure(adapter.runSandbox(record, missing, env()));
    expect(refused.code).toBe("invalid_request");
    expect(refused.message).toContain('"not-there"');
    expect((await run(record, "ls -A")).stdout).toBe("");
    // However slowly the vendor says so, it is a failure and no stream.
    server.delayNextStart(200);
    expect((await failure(adapter.runSandboxStream(record, missing, env()))).code).toBe("invalid_request");
  });

  test("that says nothing is a stream all the same, once it has begun", async () => {
    const record = await sandbox();
    const began = performance.now();
    const response = await adapter.runSandboxStream(record, request("sleep 30"), env());
    expect(performance.now() - began).toBeLessThan(10_000);
    await response.body!.cancel();
  });
});

describe("files, state and packages at E2B", () => {
  const read = async (record: SandboxRecord, path: string, encoding: "utf8" | "base64" = "utf8") =>
    (await adapter.readFile(record, path, encoding, env())).json();
  const write = (
    record: SandboxRecord,
    path: string,
    content: string,
    encoding: "utf8" | "base64" = "utf8",
  ) => adapter.writeFile(record, { path, content, encoding }, env());

  test("files are written and read, in folders that are made", async () => {
    const record = await sandbox();
    expect(await (await write(record, "new folder/ä.txt", "héllo\r\n")).json()).toEqual({
      success: true,
      path: "new folder/ä.txt",
      size: 8,
    });
    expect(await read(record, "new folder/ä.txt")).toEqual({
      path: "new folder/ä.txt",
      content: "héllo\r\n",
      encoding: "utf8",
      size: 8,
    });
    const root = (await run(record, "pwd")).stdout.trim();
    expect(await read(record, `${root}/new folder/ä.txt`)).toMatchObject({ content: "héllo\r\n" });
    await write(record, "bin", Buffer.from([0, 255, 10]).toString("base64"), "base64");
    expect(await read(record, "bin", "base64")).toMatchObject({ content: "AP8K", size: 3 });
    await write(record, "empty", "");
    expect(await read(record, "empty")).toMatchObject({ content: "", size: 0 });
    expect((await run(record, "cat 'new folder/ä.txt'; ls")).stdout).toBe(
      "héllo\r\nbin\nempty\nnew folder\n",
    );
  });

  test("what cannot be read or written says why", async () => {
    const record = await sandbox();
    await run(record, "mkdir folder; mkfifo pipe; truncate -s 65M big");
    for (const [path, code] of [
      ["none", "file_not_found"],
      ["no/folder", "file_not_found"],
      ["folder", "invalid_request"],
      ["pipe", "invalid_request"],
      ["big", "too_large"],
      ["", "invalid_request"],
      ["../x", "forbidden"],
      ["/etc/hostname", "forbidden"],
    ]) {
      expect([path, (await failure(adapter.readFile(record, path!, "utf8", env()))).code]).toEqual([
        path,
        code,
      ]);
    }
    for (const [path, code] of [
      ["folder", "invalid_request"],
      ["pipe/x", "invalid_request"],
      [".", "forbidden"],
      ["a/../../x", "forbidden"],
    ]) {
      expect([path, (await failure(write(record, path!, "x"))).code]).toEqual([path, code]);
    }
    server.failNextEnvdCall(507, "not enough disk space");
    expect((await failure(write(record, "x", "x"))).message).toBe("The disk of this sandbox is full.");
    server.failNextEnvdCall(429, "slow down");
    expect((await failure(write(record, "x", "x"))).code).toBe("too_many_requests");
  });

  test("state is kept beside the working folder", async () => {
    const record = await sandbox();
    const state = async () => (await adapter.getState(record, env())).json();
    expect(await state()).toEqual({ provider: "e2b", sandbox_id: record.sandboxId, state: {} });
    await adapter.setState(record, { step: [1, "ä"] }, env());
    expect(await state()).toMatchObject({ state: { step: [1, "ä"] } });
    await adapter.setState(record, {}, env());
    expect(await state()).toMatchObject({ state: {} });
    expect((await run(record, "ls -A")).stdout).toBe("");
    for (const code of [
      "printf '[1]' > ~/.cerver/state.json",
      "head -c 6000000 /dev/zero | tr '\\0' 1 > ~/.cerver/state.json",
    ]) {
      await run(record, code);
      const changed = await failure(state());
      expect(changed).toMatchObject({ code: "provider_failed", hint: expect.stringMatching(/anew/) });
      expect(changed.message).toContain("is not what was put there");
    }
  });

  test("a package is installed by its name, and by nothing else", async () => {
    const record = await sandbox();
    await run(
      record,
      `mkdir bin; printf '#!/bin/sh\\necho "$PWD" "$@"\\nexit 9\\n' > bin/npm; chmod +x bin/npm`,
    );
    const profile = `PATH="$HOME/work/bin:$PATH"`;
    await run(record, `echo '${profile}' > ~/.profile`);
    const install = { package: "left-pad@1.3.0", manager: "npm", timeout: 20 } as const;
    const installed = await adapter.installPackage(record, install, env());
    const answer = (await installed.json()) as SandboxRunAnswer;
    expect(answer).toMatchObject({ success: false, status: "failed", exit_code: 9 });
    expect(answer.stdout).toMatch(/\/work install --no-audit --no-fund -- left-pad@1.3.0\n$/);
    expect(
      (await failure(adapter.installPackage(record, { ...install, package: "x; rm -rf ~" }, env()))).code,
    ).toBe("invalid_request");
  });

  test("everything asked of a sandbox that is gone is sandbox_not_found", async () => {
    const record = await sandbox();
    await adapter.deleteSandbox(record, env());
    const install = { package: "left-pad", manager: "npm", timeout: 20 } as const;
    for (const call of [
      () => adapter.runSandbox(record, request("true"), env()),
      () => adapter.runSandboxStream(record, request("true"), env()),
      () => adapter.readFile(record, "x", "utf8", env()),
      () => write(record, "x", "x"),
      () => adapter.getState(record, env()),
      () => adapter.setState(record, {}, env()),
      () => adapter.installPackage(record, install, env()),
      () => adapter.cloud!.suspend!(record, env()),
      () => adapter.cloud!.wake!(record, env()),
    ])
      expect((await failure(call())).code).toBe("sandbox_not_found");
  });
});
