import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { e2bProvider } from "../src/gateway/compute/providers/e2b.js";
import { vercelProvider } from "../src/gateway/compute/providers/vercel.js";
import { gatewayConfig } from "../src/gateway/config.js";
import { rotateMasterKey } from "../src/gateway/rotate-key.js";
import { type Cerver, startCerver } from "./harness.js";
import { type E2bServer, startE2bServer } from "./vendors/e2b-server.js";
import { startVercelServer } from "./vendors/vercel-server.js";

const E2B_KEY = "e2b_0123456789abcdef0123456789abcdef01234567";
const VERCEL_TOKEN = "vcp_0123456789abcdefghijklmn";

let cerver: Cerver;
let e2b: E2bServer;
let vercel: Awaited<ReturnType<typeof startVercelServer>>;
beforeAll(async () => {
  e2b = await startE2bServer({ apiKey: E2B_KEY });
  vercel = await startVercelServer({ token: VERCEL_TOKEN, teamId: "team_1", projectId: "prj_1" });
  cerver = await startCerver({
    deps: {
      lookMs: 50,
      adapters: [
        e2bProvider({ apiUrl: e2b.apiUrl, sandboxUrl: e2b.sandboxUrl }),
        vercelProvider({ fetch: vercel.fetch }),
      ],
    },
  });
});
afterAll(async () => {
  await cerver.stop();
  await Promise.all([e2b.close(), vercel.close()]);
});

async function ask(method: string, path: string, body?: unknown): Promise<{ status: number; body: any }> {
  const response = await cerver.call(method, path, body);
  return { status: response.status, body: await response.json() };
}
const run = (id: string, code: string, more = {}) => ask("POST", `/v2/sessions/${id}/run`, { code, ...more });
const enable = (provider: string, credentials: Record<string, string>) =>
  ask("POST", "/v2/account/providers", { provider, credentials });

describe("enabling a provider", () => {
  test("without credentials it is a candidate that says what to do", async () => {
    const { status, body } = await ask("POST", "/v2/sessions", {
      policy: { allowed_providers: ["vercel", "e2b"] },
    });
    expect(status).toBe(409);
    expect(body.report.next_steps.join("\n")).toMatch(/curl .*\/v2\/account\/providers/);
    const providers = (await ask("GET", "/gateway/providers")).body.providers;
    const of = (name: string) => providers.find(({ provider }: { provider: string }) => provider === name);
    expect(of("e2b")).toMatchObject({ executable: false, reason: expect.stringContaining("credentials") });
    expect(of("daytona")).toMatchObject({ executable: false, reason: expect.stringContaining("comparison") });
  });

  test("asks the vendor, and hands on its refusal without the credential", async () => {
    const { status, body } = await enable("e2b", {
      e2b_api_key: "e2b_wrongwrongwrongwrongwrongwrongwrongwrong",
    });
    expect({ status, code: body.code }).toEqual({ status: 422, code: "credentials_refused" });
    expect(JSON.stringify(body)).not.toContain("wrongwrong");
    expect((await enable("e2b", {})).body.hint).toContain("e2b_api_key");
    const broken = await enable("e2b", { e2b_api_key: "e2b_in\ntwo" });
    expect(broken).toMatchObject({ status: 400, body: { error: expect.stringContaining("line break") } });
    expect(JSON.stringify(broken.body)).not.toContain("e2b_in");
    expect((await enable("e2b", { e2b_api_key: "x", nonsense: "y" })).status).toBe(400);
    expect((await enable("daytona", { key: "x" })).status).toBe(400);
    expect((await ask("GET", "/v2/account/providers")).body.providers).toEqual([]);
  });

  test("keeps what works, sealed, and never gives it out", async () => {
    expect(await enable("e2b", { e2b_api_key: E2B_KEY })).toMatchObject({
      status: 201,
      body: { provider: "e2b", target_compute_id: "provider_e2b", credentials: ["e2b_api_key"] },
    });
    expect((await enable("vercel", { vercel_token: VERCEL_TOKEN })).status).toBe(201);
    const listed = JSON.stringify((await ask("GET", "/v2/account/providers")).body);
    expect(listed).not.toContain(E2B_KEY);
    const file = await readFile(join(cerver.folder, "data", "cerver.db"), "latin1");
    const wal = await readFile(join(cerver.folder, "data", "cerver.db-wal"), "latin1").catch(() => "");
    expect(file + wal).not.toContain(E2B_KEY);
    expect(file + wal).not.toContain(VERCEL_TOKEN);
    const computes = (await ask("GET", "/v2/computes")).body.computes;
    expect(computes.map(({ compute_id }: { compute_id: string }) => compute_id)).toEqual(
      expect.arrayContaining(["provider_e2b", "provider_vercel"]),
    );
    expect((await ask("GET", "/v2/computes/provider_e2b")).body).toMatchObject({
      kind: "cloud",
      status: "ready",
    });
    const reader = await cerver.clientWith(["run"]);
    await expect(reader.providers()).resolves.toBeDefined();
  });
});

describe("a session on a cloud provider", () => {
  test.each(["e2b", "vercel"])(
    "%s: runs, streams, keeps its record and its cost, and ends there",
    async (provider) => {
      const { status, body } = await ask("POST", "/v2/sessions", {
        task: "work in the cloud",
        requirements: { runtime: "node", timeout_minutes: 5 },
        policy: { allowed_providers: [provider] },
      });
      expect(status).toBe(201);
      expect(body).toMatchObject({
        provider,
        compute_id: `provider_${provider}`,
        routing: { recommended_provider: provider },
      });
      const id = body.session_id;
      expect((await run(id, "echo out; echo err >&2; exit 3")).body).toMatchObject({
        status: "failed",
        result: { stdout: "out\n", stderr: "err\n", exit_code: 3 },
      });
      const stream = await cerver.call("POST", `/v2/sessions/${id}/run/stream`, { code: "echo live" });
      expect(stream.headers.get("x-cerver-provider")).toBe(provider);
      expect(await stream.text()).toMatch(/event: start[\s\S]*"data":"live\\n"[\s\S]*event: exit/);
      expect((await run(id, "true", { background: true })).body.code).toBe("unsupported");

      const record = (await ask("GET", `/v2/sessions/${id}`)).body;
      expect(record.transcript.map(({ kind }: { kind: string }) => kind)).toEqual([
        "tool_use",
        "tool_result",
        "tool_use",
        "tool_result",
      ]);
      expect(record.deadlineAt).toBeDefined();
      const cost = (await ask("GET", `/v2/sessions/${id}/cost`)).body;
      expect(cost.cost_usd).toBeGreaterThan(0);
      expect((await ask("GET", `/v2/sessions/${id}/metrics`)).body.cost_estimate_usd).toBeGreaterThan(0);

      expect((await ask("DELETE", `/v2/sessions/${id}`)).status).toBe(200);
      const left = provider === "e2b" ? e2b.sandboxes : vercel.sandboxes();
      expect(left).toEqual([]);
      expect((await ask("GET", `/v2/sessions/${id}/cost`)).body.uses[0].ended_at).not.toBe(null);
    },
  );

  test("hanging up ends the command there", async () => {
    const { body } = await ask("POST", "/v2/sessions", { target_compute_id: "provider_e2b" });
    const leave = new AbortController();
    const pending = fetch(`${cerver.gateway.url}/v2/sessions/${body.session_id}/run`, {
      method: "POST",
      headers: { authorization: `Bearer ${cerver.token}`, "content-type": "application/json" },
      body: JSON.stringify({ code: "echo began > began; sleep 60.0417; echo late > late" }),
      signal: leave.signal,
    }).catch(() => {});
    await expect
      .poll(async () => (await run(body.session_id, "cat began")).body.result?.stdout, { timeout: 10_000 })
      .toBe("began\n");
    leave.abort();
    await pending;
    await expect
      .poll(
        async () =>
          (await run(body.session_id, "pgrep -f 'sleep [6]0.0417' | wc -l")).body.result.stdout.trim(),
        {
          timeout: 10_000,
        },
      )
      .toBe("0");
    await ask("DELETE", `/v2/sessions/${body.session_id}`);
  });

  test.each([
    ["run", "cancelled", {}],
    ["run/stream", "cancelled", {}],
    ["run", "cancelled", { "idempotency-key": "left" }],
    ["run/stream", "cancelled", { "idempotency-key": "left-stream" }],
    ["run", "lost", {}],
    ["run/stream", "lost", {}],
  ])("a %s whose caller leaves is %s on the record %j", async (path, status, headers) => {
    const { body } = await ask("POST", "/v2/sessions", { target_compute_id: "provider_vercel" });
    const session = `/v2/sessions/${body.session_id}`;
    const leave = new AbortController();
    const pending = fetch(`${cerver.gateway.url}${session}/${path}`, {
      method: "POST",
      headers: {
        authorization: `Bearer ${cerver.token}`,
        "content-type": "application/json",
        ...(headers as Record<string, string>),
      },
      body: JSON.stringify({ code: "touch began; sleep 60" }),
      signal: leave.signal,
    })
      .then((response) => response.text())
      .catch(() => {});
    await expect
      .poll(async () => (await run(body.session_id, "ls began")).body.result?.exit_code, { timeout: 10_000 })
      .toBe(0);
    if (status === "lost") {
      vercel.faults.lostKills = 100;
      vercel.faults.commands.push(...Array(5).fill({ status: 500, code: "internal", message: "Boom" }));
    }
    leave.abort();
    await pending;
    const statuses = async () =>
      (await ask("GET", `${session}/runs`)).body.runs.map((one: { status: string }) => one.status);
    await expect.poll(statuses, { timeout: 15_000 }).toContain(status);
    expect(await statuses()).not.toContain("running");
    vercel.faults.lostKills = vercel.faults.commands.length = 0;
    await ask("DELETE", session);
  });
});

describe("when a provider fails", () => {
  const both = { policy: { mode: "fastest", allowed_providers: ["vercel", "e2b"] } };

  test("another one takes the session, and the answer lists the attempts", async () => {
    const first = (await ask("POST", "/v2/routing/explain", both)).body.order[0];
    if (first === "provider_e2b") e2b.failNextCreate({ status: 500, message: "no capacity" });
    else vercel.faults.creates.push({ status: 500, message: "no capacity" });
    const { status, body } = await ask("POST", "/v2/sessions", both);
    expect(status).toBe(201);
    expect(body.attempts).toMatchObject([
      { candidate: first, ok: false, code: "provider_failed", error: expect.stringContaining("no capacity") },
      { ok: true },
    ]);
    expect(`provider_${body.provider}`).not.toBe(first);
    expect(body.routing.primary_reason).toContain("took it after");
    await ask("DELETE", `/v2/sessions/${body.session_id}`);
  });

  test("a pinned session has no other, and hears the vendor's own words and when to come again", async () => {
    e2b.failNextCreate({ status: 429, message: "too many sandboxes", retryAfter: 7 });
    const response = await cerver.call("POST", "/v2/sessions", {
      policy: { mode: "pinned", pinned_provider: "e2b" },
    });
    expect(response.status).toBe(429);
    expect(response.headers.get("retry-after")).toBe("7");
    expect(await response.json()).toMatchObject({
      code: "too_many_requests",
      error: expect.stringContaining("too many sandboxes"),
      attempts: [{ provider: "e2b", ok: false }],
    });
  });

  test("one that keeps failing is left out for a while, and says so", async () => {
    const only = { policy: { allowed_providers: ["vercel"] } };
    for (let turn = 0; turn < 4; turn++) {
      vercel.faults.creates.push({ status: 500, message: "down" });
      await ask("POST", "/v2/sessions", only);
    }
    const { status, body } = await ask("POST", "/v2/sessions", only);
    expect(status).toBe(409);
    expect(JSON.stringify(body.report)).toMatch(/left out until .* creates failed/);
    vercel.faults.creates.length = 0;
    const { body: elsewhere } = await ask("POST", "/v2/sessions", both);
    expect(elsewhere.provider).toBe("e2b");
    await ask("DELETE", `/v2/sessions/${elsewhere.session_id}`);
  });

  test("a create whose answer is lost leaves nothing there", async () => {
    const before = e2b.made;
    e2b.failNextCreate({ loseAnswer: true });
    const { status } = await ask("POST", "/v2/sessions", {
      policy: { mode: "pinned", pinned_provider: "e2b" },
    });
    expect(status).toBeGreaterThanOrEqual(500);
    expect(e2b.made).toBeGreaterThan(before);
    await expect.poll(() => e2b.sandboxes, { timeout: 10_000 }).toEqual([]);
    expect((await ask("GET", "/v2/account/limits")).body.open_sessions).toBe(0);
  });
});

describe("what an account may spend", () => {
  test("100 creates at once never reserve more than the cap", async () => {
    const one = (
      await ask("POST", "/v2/routing/explain", { target_compute_id: "provider_e2b" })
    ).body.candidates.find(({ candidate }: { candidate: string }) => candidate === "provider_e2b").estimates
      .cost.usd;
    const { spent_usd } = (await ask("GET", "/v2/account/limits")).body;
    const cap = spent_usd + one * 3.5;
    await ask("PUT", "/v2/account/limits", { spend_per_month_usd: cap });
    const answers = await Promise.all(
      Array.from({ length: 100 }, () => ask("POST", "/v2/sessions", { target_compute_id: "provider_e2b" })),
    );
    const made = answers.filter(({ status }) => status === 201);
    const limits = (await ask("GET", "/v2/account/limits")).body;
    expect(made.length).toBe(3);
    expect(answers.filter(({ status }) => status === 402)).toHaveLength(97);
    expect(answers.find(({ status }) => status === 402)!.body).toMatchObject({
      kind: "spend_per_month",
      limit_usd: cap,
      hint: expect.stringContaining("/v2/account/limits"),
    });
    expect(limits.spent_usd + limits.reserved_usd).toBeLessThanOrEqual(cap + 1e-6);
    // One's own machine costs nothing, so it is still there.
    expect((await ask("POST", "/v2/sessions", { policy: { allowed_providers: ["p69"] } })).status).toBe(201);
    await Promise.all(made.map(({ body }) => ask("DELETE", `/v2/sessions/${body.session_id}`)));
    await ask("PUT", "/v2/account/limits", { spend_per_month_usd: null });
    expect(e2b.sandboxes).toEqual([]);
  });
});

describe("moving and resting", () => {
  test("e2b sleeps with its files, and wakes", async () => {
    const { body } = await ask("POST", "/v2/sessions", { target_compute_id: "provider_e2b" });
    await run(body.session_id, "echo kept > file");
    expect((await ask("POST", `/v2/sessions/${body.session_id}/pause`, {})).body).toMatchObject({
      paused: true,
    });
    expect((await ask("GET", "/v2/account/limits")).body.reserved_usd).toBe(0);
    expect((await ask("POST", `/v2/sessions/${body.session_id}/resume`, {})).body).toMatchObject({
      paused: false,
    });
    expect((await run(body.session_id, "cat file")).body.result.stdout).toBe("kept\n");

    const moved = await ask("POST", `/v2/sessions/${body.session_id}/compute`, {
      compute: { provider: "p69" },
    });
    expect(moved.body).toMatchObject({
      provider: "p69",
      carried: null,
      warnings: [expect.stringContaining("stayed behind")],
    });
    expect(e2b.sandboxes).toEqual([]);
    expect((await run(body.session_id, "echo here")).body.result.stdout).toBe("here\n");
  });

  test("a move within the vendor whose create is lost takes nothing of the session along", async () => {
    const { body } = await ask("POST", "/v2/sessions", { target_compute_id: "provider_e2b" });
    await run(body.session_id, "echo kept > file");
    e2b.failNextCreate({ loseAnswer: true });
    const moved = await ask("POST", `/v2/sessions/${body.session_id}/compute`, {
      compute: { provider: "e2b" },
    });
    expect(moved.status).toBeGreaterThanOrEqual(500);
    await expect
      .poll(async () => (await ask("GET", "/v2/account/orphans")).body.orphans, { timeout: 10_000 })
      .toEqual([]);
    expect(e2b.sandboxes).toEqual([body.sandbox_id]);
    expect((await run(body.session_id, "cat file")).body.result.stdout).toBe("kept\n");
    await ask("DELETE", `/v2/sessions/${body.session_id}`);
  });

  test("a disabled provider is gone at once", async () => {
    expect((await ask("DELETE", "/v2/account/providers/e2b")).status).toBe(200);
    expect((await ask("POST", "/v2/sessions", { target_compute_id: "provider_e2b" })).status).toBe(409);
    expect((await ask("DELETE", "/v2/account/providers/e2b")).status).toBe(404);
  });
});

describe("the master key", () => {
  test("is replaced while the gateway runs, and everything is sealed anew", async () => {
    await enable("e2b", { e2b_api_key: E2B_KEY });
    const file = join(cerver.folder, "data", "master.key");
    const before = await readFile(file, "utf8");
    const config = gatewayConfig({ dataDir: join(cerver.folder, "data") }, { HOME: cerver.folder });
    expect(await rotateMasterKey(config)).toBe(2);
    const after = await readFile(file, "utf8");
    expect(after).not.toContain(before.trim());
    expect(after.trim().split("\n")).toHaveLength(1);
    const { status, body } = await ask("POST", "/v2/sessions", { target_compute_id: "provider_e2b" });
    expect(status).toBe(201);
    await ask("DELETE", `/v2/sessions/${body.session_id}`);
    // What the gateway still had in memory was not what opened it: a new one opens it too.
    expect(await rotateMasterKey(config)).toBe(2);
  });
});
