import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Cassette, loadCassette, readCassette } from "../src/gateway/compute/cassette.js";
import { figuresOf, timeFigures } from "../src/gateway/compute/cassette-figures.js";
import { headerNow } from "../src/gateway/compute/cassette-file.js";
import type { ProviderAdapter, ProviderEnv, SandboxRecord } from "../src/gateway/compute/contract.js";
import { e2bProvider } from "../src/gateway/compute/providers/e2b.js";
import { type RehearsalClock, rehearsalProvider } from "../src/gateway/compute/providers/rehearsal.js";
import { recorded } from "../src/gateway/compute/recorder.js";
import { Redactor } from "../src/gateway/compute/redactor.js";
import { tour } from "../src/gateway/compute/tour.js";
import { CerverError } from "../src/protocol/errors.js";
import type { SandboxRunAnswer } from "../src/protocol/sandbox.js";
import { CassetteLines } from "./cassette-lines.js";
import { cassetteScenarios, scenarioOf } from "./cassette-scenarios.js";
import { openListening } from "./compute.js";
import { playOracle, playRouter, regret, World } from "./router-simulation.js";
import { startE2bServer } from "./vendors/e2b-server.js";

let folder: string;
let compute: Awaited<ReturnType<typeof openListening>>;
let real: ProviderAdapter;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cerver-rehearsal-"));
  compute = await openListening(folder);
  real = compute.adapter;
});
afterAll(async () => {
  await compute.close();
  await rm(folder, { recursive: true, force: true });
});

const env = (signal: AbortSignal = new AbortController().signal): ProviderEnv => ({
  computeId: "cmp_1",
  credentials: {},
  signal,
});
const create = (adapter: ProviderAdapter, metadata = {}) =>
  adapter.createSandbox({ engine: "shell", metadata }, env());
const shell = (code: string, more = {}) => ({ code, runtime: "shell" as const, ...more });

/** Time that passes when somebody waits for it, and not otherwise. */
function fakeClock(): RehearsalClock & { pass(ms: number): void } {
  let now = 1_000_000;
  return {
    now: () => now,
    pass: (ms) => {
      now += ms;
    },
    sleep: async (ms, signal) => {
      signal.throwIfAborted();
      now += ms;
    },
  };
}

/** Everything that a scripted caller saw, and when. */
async function play(adapter: ProviderAdapter, now: () => number): Promise<unknown[]> {
  const began = now();
  const seen: unknown[] = [];
  const note = (what: unknown) => seen.push([now() - began, what]);
  const record = await create(adapter);
  note(record);
  for (const code of ["echo hello", "exit 3", "echo hello"]) {
    note(await (await adapter.runSandbox(record, shell(code, { run_id: `run_${code}` }), env())).text());
    const stream = await adapter.runSandboxStream(record, shell(code), env());
    const reader = stream.body!.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      note(done ? "end" : Buffer.from(value).toString());
      if (done) break;
    }
  }
  const missing = await adapter.readFile(record, "none", "utf8", env());
  note([missing.status, await missing.json()]);
  note((await adapter.deleteSandbox(record, env())).status);
  return seen;
}

describe("a recording of real processes, played again", () => {
  let lines: CassetteLines;
  let cassette: Cassette;
  beforeAll(async () => {
    lines = new CassetteLines(headerNow("p69"));
    await play(recorded(real, lines), () => 0);
    cassette = readCassette(lines.text);
  });

  test("holds every call, with its time and without ids", () => {
    expect(cassette.calls.map(({ operation }) => operation)).toEqual([
      "createSandbox",
      ...["runSandbox", "runSandboxStream", "runSandbox", "runSandboxStream"],
      ...["runSandbox", "runSandboxStream", "readFile", "deleteSandbox"],
    ]);
    expect(cassette.calls.every(({ sandbox }) => sandbox === 0)).toBe(true);
    expect(lines.text).not.toMatch(/sbx_[0-9a-f]|run_[0-9a-f]|run_echo|cmp_1/);
    expect(cassette.calls.find(({ operation }) => operation === "readFile")!.outcome).toMatchObject({
      kind: "error",
      thrown: false,
      code: "file_not_found",
    });
    expect(cassette.calls[1]).toMatchObject({
      asked: "echo hello",
      outcome: { kind: "answer", status: 200 },
    });
  });

  test("is bit-identical for a seed, to the millisecond", async () => {
    const once = async (seed: number) => {
      const clock = fakeClock();
      return play(rehearsalProvider(cassette, { mode: "exact", seed, clock }), clock.now);
    };
    const [first, again, other] = [await once(7), await once(7), await once(8)];
    expect(JSON.stringify(again)).toBe(JSON.stringify(first));
    expect(JSON.stringify(other)).not.toBe(JSON.stringify(first));
    // The ids fit, and the times are those of the recording.
    const [[createdAt, record], [ranAt, answer]] = first as [[number, SandboxRecord], [number, string]];
    expect(record).toMatchObject({ provider: "p69", computeId: "cmp_1" });
    expect(record.sandboxId).toHaveLength(36);
    expect(JSON.parse(answer)).toMatchObject({ run_id: "run_echo hello", stdout: "hello\n", exit_code: 0 });
    expect(createdAt).toBeCloseTo(cassette.calls[0]!.took_ms, 6);
    expect(ranAt - createdAt).toBeCloseTo(cassette.calls[1]!.took_ms, 6);
  });

  test("says when it is at its end", async () => {
    const adapter = rehearsalProvider(cassette, { mode: "exact", clock: fakeClock() });
    const record = await create(adapter);
    for (let turn = 0; turn < 2; turn++) await adapter.runSandbox(record, shell("echo hello"), env());
    await expect(adapter.runSandbox(record, shell("echo hello"), env())).rejects.toThrow(/at its end/);
    await expect(create(adapter)).rejects.toThrow(/at its end/);
  });

  test("refuses what it does not know by naming what it knows, or echoes it", async () => {
    const strict = rehearsalProvider(cassette, { clock: fakeClock() });
    const failure = await strict
      .runSandbox(await create(strict), shell("npm test"), env())
      .catch((e: unknown) => e);
    expect(failure).toMatchObject({
      code: "unsupported",
      message: expect.stringContaining("“npm test”"),
      hint: expect.stringMatching(/“echo hello”, “exit 3”\. .*otherwise=echo/),
    });
    const loose = rehearsalProvider(cassette, { clock: fakeClock(), otherwise: "echo" });
    const record = await create(loose);
    const answer = (await (
      await loose.runSandbox(record, shell("npm test"), env())
    ).json()) as SandboxRunAnswer;
    expect(answer).toMatchObject({ stdout: "npm test\n", exit_code: 0, status: "succeeded" });
    const stream = await (await loose.runSandboxStream(record, shell("npm test"), env())).text();
    expect(stream).toMatch(/event: start[\s\S]*npm test[\s\S]*event: exit/);
    await loose.writeFile(record, { path: "a", content: "kept", encoding: "utf8" }, env());
    expect(await (await loose.readFile(record, "a", "utf8", env())).json()).toMatchObject({
      content: "kept",
    });
    await loose.setState(record, { a: 1 }, env());
    expect(await (await loose.getState(record, env())).json()).toEqual({ state: { a: 1 } });
    const other = await create(loose);
    expect(await (await loose.getState(other, env())).json()).toEqual({ state: {} });
  });

  test("streams what was recorded as an answer, and answers what was recorded as a stream", async () => {
    const only = (operation: string) =>
      readCassette(
        lines.text
          .split("\n")
          .filter((line) => !line.includes('"runSandbox') || line.includes(`"${operation}"`))
          .join("\n"),
      );
    const asAnswers = rehearsalProvider(only("runSandbox"), { clock: fakeClock() });
    const first = await create(asAnswers);
    const text = await (await asAnswers.runSandboxStream(first, shell("echo hello"), env())).text();
    expect(text).toMatch(/event: start[\s\S]*"data":"hello\\n"[\s\S]*event: exit[\s\S]*"exit_code":0/);
    const asStreams = rehearsalProvider(only("runSandboxStream"), { clock: fakeClock() });
    const second = await create(asStreams);
    const run = async (code: string) => (await asStreams.runSandbox(second, shell(code), env())).json();
    expect(await run("echo hello")).toMatchObject({ stdout: "hello\n", exit_code: 0, status: "succeeded" });
    expect(await run("exit 3")).toMatchObject({ stdout: "", exit_code: 3, status: "failed" });
    await expect(run("npm test")).rejects.toMatchObject({ hint: expect.stringContaining("“exit 3”") });
  });

  test("has no sandbox that it did not make, and ends what runs in one that is deleted", async () => {
    const adapter = rehearsalProvider(cassette, { clock: fakeClock() });
    const record = await create(adapter);
    await adapter.deleteSandbox(record, env());
    expect((await adapter.deleteSandbox(record, env())).ok).toBe(true);
    await expect(adapter.runSandbox(record, shell("echo hello"), env())).rejects.toMatchObject({
      code: "sandbox_not_found",
    });
    await expect(
      adapter.runSandbox(await create(adapter), shell("true", { background: true }), env()),
    ).rejects.toMatchObject({
      code: "unsupported",
    });
  });
});

describe("sampled playback", () => {
  test("has the median and the 95th percentile of the recording", { timeout: 60_000 }, async () => {
    const lines = new CassetteLines(headerNow("p69"));
    const adapter = recorded(real, lines);
    const code = "sleep 0.2; echo slept";
    const made: SandboxRecord[] = [];
    const round = async () => {
      const record = await create(adapter);
      made.push(record);
      await (await adapter.runSandbox(record, shell(code), env())).text();
    };
    for (let turn = 0; turn < 20; turn++) await Promise.all([round(), round(), round()]);
    await Promise.all(made.map((record) => adapter.deleteSandbox(record, env())));
    const cassette = readCassette(lines.text);
    const tookOf = (operation: string) =>
      cassette.calls.filter((call) => call.operation === operation).map(({ took_ms }) => took_ms);

    const clock = fakeClock();
    const played = rehearsalProvider(cassette, { clock, seed: 3 });
    const times = { createSandbox: [] as number[], runSandbox: [] as number[] };
    for (let turn = 0; turn < 4000; turn++) {
      const began = clock.now();
      const record = await create(played);
      const ran = clock.now();
      times.createSandbox.push(ran - began);
      await played.runSandbox(record, shell(code), env());
      times.runSandbox.push(clock.now() - ran);
      await played.deleteSandbox(record, env());
    }
    for (const operation of ["createSandbox", "runSandbox"] as const) {
      const was = tookOf(operation).sort((a, b) => a - b);
      const is = timeFigures(times[operation])!;
      expect(was).toHaveLength(60);
      // Between two values that lie far apart any is the quantile, so the recording's neighbours count as well.
      const near = (found: number, share: number) => {
        const at = share * (was.length - 1);
        expect(found).toBeGreaterThanOrEqual(0.9 * was[Math.floor(at)]!);
        expect(found).toBeLessThanOrEqual(1.1 * was[Math.ceil(at)]!);
      };
      near(is.p50_ms, 0.5);
      near(is.p95_ms, 0.95);
    }
    expect(timeFigures(tookOf("runSandbox"))!.p50_ms).toBeGreaterThan(200);
  });

  test("of a generated cassette with a heavy tail both are within 10 %", async () => {
    const cassette = await loadCassette(join(import.meta.dirname, "fixtures/cassettes/heavy-tail.jsonl"));
    const { create: was } = figuresOf(cassette).times;
    const clock = fakeClock();
    // The whole tape counts as one time.
    const played = rehearsalProvider(cassette, { clock, seed: 5, windowMs: 2 * cassette.durationMs });
    const creates: number[] = [];
    for (let turn = 0; turn < 10_000; turn++) {
      const began = clock.now();
      await played.deleteSandbox(await create(played), env());
      creates.push(clock.now() - began);
    }
    const deletes = figuresOf(cassette).operations.find(({ operation }) => operation === "deleteSandbox");
    expect(deletes).toBeUndefined();
    const is = timeFigures(creates)!;
    expect(Math.abs(is.p50_ms / was!.p50_ms - 1)).toBeLessThan(0.1);
    expect(Math.abs(is.p95_ms / was!.p95_ms - 1)).toBeLessThan(0.1);
    expect(was!.p99_ms / was!.p50_ms).toBeGreaterThan(5);
  });
});

describe("a tour", () => {
  test("asks everything once, and leaves nothing", async () => {
    const lines = new CassetteLines(headerNow("p69"));
    const left: string[] = [];
    const target = { adapter: recorded(real, lines), computeId: "cmp_1", credentials: {} };
    await tour(target, { signal: new AbortController().signal, onLeft: (one) => left.push(one) });
    expect(left).toEqual([]);
    const { times, operations, commands } = figuresOf(readCassette(lines.text));
    expect(operations.map(({ operation }) => operation)).toEqual(
      expect.arrayContaining(["createSandbox", "runSandboxStream", "writeFile", "setState", "deleteSandbox"]),
    );
    expect(times.first_byte!.n).toBeGreaterThan(4);
    expect(times.first_command!.n).toBe(1);
    expect(commands.map(({ asked }) => asked)).toContain("node -v");
  });
});

describe("a cloud vendor's adapter", () => {
  test("is recorded through its own SDK, its credentials are not, and plays without them", async () => {
    const apiKey = "e2b_0123456789abcdef0123456789abcdef01234567";
    const server = await startE2bServer({ apiKey });
    try {
      const lines = new CassetteLines(headerNow("e2b"));
      const { apiUrl, sandboxUrl } = server;
      const adapter = recorded(e2bProvider({ apiUrl, sandboxUrl }), lines);
      const left: string[] = [];
      const target = { adapter, computeId: "provider_e2b", credentials: { e2b_api_key: apiKey } };
      const signal = new AbortController().signal;
      await tour(target, { signal, onLeft: (one) => left.push(one) });
      server.failNextCreate({ status: 429, message: `too many for ${apiKey}`, retryAfter: 7 });
      await tour(target, { signal, onLeft: (one) => left.push(one) });
      expect(left).toEqual([]);
      expect(server.sandboxes).toEqual([]);
      expect(lines.text).not.toContain(apiKey);
      const cassette = readCassette(lines.text);
      expect(figuresOf(cassette).operations).toEqual(
        expect.arrayContaining([
          expect.objectContaining({
            operation: "createSandbox",
            calls: 2,
            ok: 1,
            faults: { too_many_requests: 1 },
          }),
          expect.objectContaining({ operation: "cloud.verify", ok: 1 }),
          expect.objectContaining({ operation: "cloud.find", ok: 2 }),
        ]),
      );
      const played = rehearsalProvider(cassette, { mode: "exact", clock: fakeClock() });
      const record = await create(played);
      expect(record.provider).toBe("e2b");
      const answer = await (await played.runSandbox(record, shell("echo wrong >&2; exit 3"), env())).json();
      expect(answer).toMatchObject({ status: "failed", exit_code: 3, stderr: "wrong\n" });
      await expect(create(played)).rejects.toMatchObject({
        code: "too_many_requests",
        details: { retry_after_ms: 7000, rehearsal: true },
      });
    } finally {
      await server.close();
    }
  });
});

describe("the corpus", () => {
  test("is what its script writes", async () => {
    const tsx = join(import.meta.dirname, "../node_modules/.bin/tsx");
    const script = join(import.meta.dirname, "../scripts/write-cassettes.ts");
    await expect(promisify(execFile)(tsx, [script, "--check"])).resolves.toMatchObject({ stderr: "" });
  });

  const HOUR = 3_600_000;
  const of = async (name: string) => {
    const cassette = await loadCassette(join(import.meta.dirname, `fixtures/cassettes/${name}.jsonl`));
    return { cassette, figures: figuresOf(cassette), scenario: scenarioOf(cassette, HOUR)! };
  };

  test("has the shapes that it states", async () => {
    const steady = await of("steady");
    expect(steady.figures.times.create).toMatchObject({ n: 144 });
    expect(steady.scenario.shape.p50).toBeGreaterThan(54);
    expect(steady.scenario.shape.p50).toBeLessThan(66);
    expect(steady.figures.operations.every(({ calls, ok }) => calls === ok)).toBe(true);

    const { scenario: drift } = await of("drift");
    const slower = drift.factor(15 * HOUR) / drift.factor(6 * HOUR);
    expect(slower).toBeGreaterThan(1.6);
    expect(slower).toBeLessThan(2.4);

    const { scenario: outage, figures } = await of("outage");
    expect(figures.operations[0]).toMatchObject({
      operation: "createSandbox",
      faults: { provider_failed: 5 },
    });
    expect(outage.failing(5 * HOUR)).toBe(0);
    expect(scenarioOf((await of("outage")).cassette, HOUR / 6)!.failing(6 * HOUR + HOUR / 6)).toBe(1);

    const throttled = (await of("throttling")).figures.operations[0]!;
    const share = throttled.faults.too_many_requests! / ((throttled.calls * 8) / 24);
    expect(share).toBeGreaterThan(0.2);
    expect(share).toBeLessThan(0.47);

    const lost = (await of("lost-answers")).figures;
    expect(lost.lost_answers).toBe(lost.operations[0]!.faults.provider_failed);
    expect(lost.lost_answers).toBeGreaterThan(15);
  });
});

describe("simulations of the router", () => {
  test("feed on cassettes: over the drifting and the failing day it waits little longer than one who knows", async () => {
    for (const scenario of await cassetteScenarios(["drift", "outage"])) {
      const world = new World(scenario, 7);
      const play = (learns: boolean) => playRouter(world, { learns, canary: 0.05, mode: "fastest", seed: 3 });
      const learnt = play(true);
      const oracle = playOracle(world);
      expect(learnt.lost).toBe(0);
      expect(regret(learnt, oracle)).toBeLessThan(0.15);
      if (scenario.name === "drift")
        expect(regret(learnt, oracle)).toBeLessThan(0.5 * regret(play(false), oracle));
    }
  });
});

describe("what never gets on a cassette", () => {
  const SECRET = 'sk-"quoted"/läng+er==secret';

  test("values of variables and credentials, whole, encoded, and cut in two", async () => {
    const lines = new CassetteLines(headerNow("p69"));
    const redactor = new Redactor();
    const adapter = recorded(real, lines, { redactor });
    const record = await create(adapter, { env: { OF_CREATE: "value-of-create" } });
    // Its name does not look like a secret, or the machine itself would take it out.
    const envs = { WORDS: SECRET };
    const said = { ...env(), credentials: { api_token: "tok_0123456789abcdef" } };
    const run = (code: string) => adapter.runSandbox(record, shell(code, { envs }), said);
    const own = (await (await run('printf "%s" "$WORDS"')).json()) as SandboxRunAnswer;
    // Who asks gets it as it is.
    expect(own.stdout).toBe(SECRET);
    await run('printf "%s" "$WORDS" | base64 -w0; printf "%s" "$OF_CREATE"; echo tok_0123456789abcdef >&2');
    await run(`printf '\\377%s' "$WORDS"`);
    await run('printf "x%s" "$WORDS" | base64 -w0');
    const cut =
      'printf "%s" "$WORDS" | head -c 7; sleep 0.2; printf "%s" "$WORDS" | tail -c +8; sleep 0.2; printf "%s" "$WORDS" | base64 -w0';
    const stream = await (await adapter.runSandboxStream(record, shell(cut, { envs }), said)).text();
    expect(stream.match(/event: stdout/g)!.length).toBeGreaterThan(2);
    await adapter.writeFile(record, { path: "value-of-create", content: SECRET, encoding: "utf8" }, said);
    await (await adapter.readFile(record, "value-of-create", "base64", said)).text();
    await adapter.setState(record, { [SECRET]: [SECRET] }, said);
    await (await adapter.getState(record, said)).text();
    await adapter.readFile(record, SECRET, "utf8", said);
    await (await adapter.deleteSandbox(record, said)).text();

    const { text } = lines;
    const forms = [SECRET, "tok_0123456789abcdef", "value-of-create"].flatMap((secret) => [
      secret,
      JSON.stringify(secret).slice(1, -1),
      JSON.stringify(JSON.stringify(secret).slice(1, -1)).slice(1, -1),
      encodeURIComponent(secret),
      ...["", "x", "xx"].map((before) =>
        Buffer.from(before + secret)
          .toString("base64")
          .slice(4, -4),
      ),
    ]);
    expect(forms.filter((form) => text.includes(form))).toEqual([]);
    // The halves of what was cut are gone too, and lengths are as they were.
    expect(text).not.toContain("sk-");
    const calls = readCassette(text).calls;
    const body = (index: number) => calls[index]!.outcome as { body: string };
    expect(JSON.parse(body(1).body)).toMatchObject({
      stdout: "*".repeat(Buffer.byteLength(SECRET)),
      stdout_bytes: Buffer.byteLength(SECRET),
    });
    expect(redactor.masked).toBeGreaterThan(8);
    // All those calls are still there to be played.
    expect(calls).toHaveLength(12);
    const played = rehearsalProvider(readCassette(text), { clock: fakeClock() });
    const again = await create(played);
    expect((await played.runSandbox(again, shell('printf "%s" "$WORDS"', { envs }), env())).ok).toBe(true);
  });

  test("answers that are too large: only their time is kept", async () => {
    const lines = new CassetteLines(headerNow("p69"));
    const adapter = recorded(real, lines);
    const record = await create(adapter);
    const text = await (
      await adapter.runSandboxStream(record, shell("head -c 400000 /dev/zero | tr '\\0' x"), env())
    ).text();
    expect(text.length).toBeGreaterThan(400_000);
    await adapter.deleteSandbox(record, env());
    expect(lines.text.length).toBeLessThan(5_000);
    expect(readCassette(lines.text).calls[1]!.outcome).toMatchObject({
      kind: "omitted",
      why: "too_large",
      first_byte_ms: expect.any(Number),
    });
  });
});

describe("leaving in the middle", () => {
  test("is recorded as that, ends the real run, and a played stream ends when its reader leaves", async () => {
    const lines = new CassetteLines(headerNow("p69"));
    const adapter = recorded(real, lines);
    const record = await create(adapter);
    const code = "echo first; sleep 30; echo never";
    const leave = new AbortController();
    const stream = await adapter.runSandboxStream(record, shell(code), env(leave.signal));
    const reader = stream.body!.getReader();
    let seen = "";
    while (!seen.includes("first")) seen += Buffer.from((await reader.read()).value!).toString();
    leave.abort(new Error("gone"));
    await expect(reader.read()).rejects.toThrow();
    const answer = new AbortController();
    const waiting = adapter.runSandbox(record, shell("sleep 30"), env(answer.signal));
    setTimeout(() => answer.abort(new Error("gone")), 300);
    await expect(waiting.then((response) => response.text())).rejects.toThrow();
    const left = await adapter.runSandbox(record, shell("pgrep -f 'sleep [3]0' | wc -l"), env());
    await expect
      .poll(
        async () => {
          const response = await adapter.runSandbox(record, shell("pgrep -f 'sleep [3]0' | wc -l"), env());
          return ((await response.json()) as SandboxRunAnswer).stdout.trim();
        },
        { timeout: 10_000 },
      )
      .toBe("0");
    expect(left.ok).toBe(true);
    await adapter.deleteSandbox(record, env());

    const cassette = readCassette(lines.text);
    expect(cassette.calls[1]!.outcome).toMatchObject({ kind: "stream", end: "left" });
    expect(cassette.calls.find(({ asked }) => asked === "sleep 30")!.outcome).toEqual({
      kind: "unanswered",
      why: "left",
    });
    const played = rehearsalProvider(cassette, {});
    const there = await create(played);
    const gone = new AbortController();
    const again = (await played.runSandboxStream(there, shell(code), env(gone.signal))).body!.getReader();
    let heard = "";
    while (!heard.includes("first")) heard += Buffer.from((await again.read()).value!).toString();
    const next = again.read();
    gone.abort(new Error("left again"));
    await expect(next).rejects.toThrow("left again");
  });
});

describe("lost answers", () => {
  test("a create that failed for its caller and is found later is rehearsed as that", async () => {
    const made: SandboxRecord[] = [];
    const lines = new CassetteLines(headerNow("e2b"));
    const flaky: ProviderAdapter = {
      ...real,
      providerName: "e2b",
      createSandbox: async (request, at) => {
        made.push(await real.createSandbox(request, at));
        throw new CerverError(
          "provider_failed",
          `The connection broke while ${made[0]!.sandboxId} was made.`,
        );
      },
      cloud: {
        credentialNames: { required: [], optional: [] },
        verify: async () => {},
        find: async () => made,
      },
    };
    const adapter = recorded(flaky, lines);
    const metadata = { cerver_session_id: "sess_1" };
    await expect(create(adapter, metadata)).rejects.toThrow("broke");
    expect(await adapter.cloud!.find("sess_1", env())).toHaveLength(1);
    await real.deleteSandbox(made[0]!, env());

    const cassette = readCassette(lines.text);
    expect([...cassette.lost]).toEqual([0]);
    const played = rehearsalProvider(cassette, { clock: fakeClock() });
    await expect(create(played, { cerver_session_id: "sess_2" })).rejects.toMatchObject({
      code: "provider_failed",
      details: { rehearsal: true },
    });
    const [orphan] = await played.cloud!.find("sess_2", env());
    expect(orphan).toMatchObject({ provider: "e2b", computeId: "cmp_1" });
    expect(await played.cloud!.find("sess_1", env())).toEqual([]);
    await played.deleteSandbox(orphan!, env());
    expect(await played.cloud!.find("sess_2", env())).toEqual([]);
  });
});

describe("a cassette's file", () => {
  const header = JSON.stringify(headerNow("e2b"));
  test.each([
    ["nothing", "", /line 1/],
    ["another version", header.replace('"version":1', '"version":2'), /version/],
    ["a line that is no JSON", `${header}\n{"kind":`, /line 2/],
    ["a second header", `${header}\n${header}`, /line 2/],
    [
      "a call that never was",
      `${header}\n{"kind":"call","n":0}`,
      /line 2 is no line of a cassette \(operation/,
    ],
  ])("that holds %s is refused with where and why", (_, text, words) => {
    expect(() => readCassette(text)).toThrow(words);
  });
});
