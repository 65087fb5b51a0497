import { join } from "node:path";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { loadCassette } from "../src/gateway/compute/cassette.js";
import type { ProviderAdapter } from "../src/gateway/compute/contract.js";
import { costUsd } from "../src/gateway/compute/profile.js";
import { rehearsalClock, rehearsalProvider } from "../src/gateway/compute/providers/rehearsal.js";
import { rehearsalProfile } from "../src/gateway/compute/rehearsals.js";
import { type Cerver, startCerver } from "./harness.js";

const tape = (name: string) => join(import.meta.dirname, "fixtures/cassettes", `${name}.jsonl`);
const MINUTE = 60_000;

/** A clock that a test sets: time passes beside it at its usual pace. */
function setClock(at = Date.UTC(2026, 1, 2)) {
  const began = Date.now();
  let ahead = at - began;
  return {
    now: () => Date.now() + ahead,
    pass: (ms: number) => {
      ahead += ms;
    },
  };
}

let cerver: Cerver | undefined;
afterEach(async () => {
  await cerver?.stop();
  cerver = undefined;
});
afterAll(() => cerver?.stop());

async function start(rehearsals: string[], now?: () => number, relay = false): Promise<Cerver> {
  cerver = await startCerver({
    ...(!relay && { relay: false as const }),
    gateway: { rehearsals },
    deps: { ...(now && { now }), lookMs: 50 },
  });
  return cerver;
}
async function ask(method: string, path: string, body?: unknown): Promise<{ status: number; body: any }> {
  const response = await cerver!.call(method, path, body);
  return { status: response.status, body: await response.json() };
}
const session = async (request: Record<string, unknown> = {}) => ask("POST", "/v2/sessions", request);
const end = (id: string) => ask("DELETE", `/v2/sessions/${id}`);

describe("a gateway with a rehearsal", () => {
  test("shows it as what it is, everywhere", async () => {
    await start([`${tape("steady")}?seed=1`]);
    const { status, body } = await session({ task: "try it" });
    expect(status).toBe(201);
    expect(body).toMatchObject({
      provider: "rehearsal",
      compute_id: "provider_rehearsal",
      routing: { recommended_provider: "rehearsal" },
    });
    expect(body.routing.primary_reason).toContain("Vercel Sandbox (rehearsal)");
    const id = body.session_id;
    const run = await cerver!.call("POST", `/v2/sessions/${id}/run`, { code: "echo hello" });
    expect(run.headers.get("x-cerver-provider")).toBe("rehearsal");
    expect(await run.json()).toMatchObject({ status: "succeeded", result: { stdout: "hello\n" } });
    const unknown = await ask("POST", `/v2/sessions/${id}/run`, { code: "rm -rf /" });
    expect(unknown).toMatchObject({
      status: 501,
      body: { code: "unsupported", hint: expect.stringContaining("“echo hello”"), rehearsal: true },
    });
    expect((await ask("GET", `/v2/sessions/${id}/cost`)).body.cost_usd).toBe(0);
    const listed = (await ask("GET", "/v2/account/providers")).body.providers;
    expect(listed).toMatchObject([
      { provider: "rehearsal", label: "Vercel Sandbox (rehearsal)", rehearsal: true },
    ]);
    const shown = (await ask("GET", "/gateway/providers")).body.providers;
    expect(shown.find(({ provider }: { provider: string }) => provider === "rehearsal")).toMatchObject({
      executable: true,
      reason: "A recording is played: nothing runs.",
      profile: { kind: "rehearsal" },
    });
    expect((await ask("GET", "/v2/computes")).body.computes).toMatchObject([
      { compute_id: "provider_rehearsal" },
    ]);
    expect((await ask("DELETE", "/v2/account/providers/rehearsal")).body.hint).toContain("CERVER_REHEARSAL");
    expect(
      (await ask("POST", "/v2/account/providers", { provider: "rehearsal", credentials: {} })).status,
    ).toBe(400);

    // The compute layer's own sandboxes as well.
    const box = await ask("POST", "/sandbox", { compute_id: "provider_rehearsal" });
    expect(box).toMatchObject({
      status: 201,
      body: { provider: "rehearsal", sandbox_id: expect.stringMatching(/^reh_/) },
    });
    const raw = await cerver!.call("POST", `/sandbox/${box.body.sandbox_id}/run`, { code: "echo hello" });
    expect([raw.status, raw.headers.get("x-cerver-provider")]).toEqual([200, "rehearsal"]);
    expect((await ask("DELETE", `/sandbox/${box.body.sandbox_id}`)).status).toBe(200);
    await end(id);
    expect((await ask("POST", `/v2/sessions/${id}/run`, { code: "echo hello" })).status).toBe(410);
  });

  test("never gets work that is meant for what is real, unless it is named", async () => {
    await start([tape("steady")], undefined, true);
    const real = await session();
    expect(real.body.provider).toBe("p69");
    const named = await session({ policy: { allowed_providers: ["rehearsal"] } });
    expect(named.body.provider).toBe("rehearsal");
    expect((await session({ target_compute_id: "provider_rehearsal" })).body.provider).toBe("rehearsal");
  });

  test("streams with its name, and answers anything when it is told to", async () => {
    await start([`${tape("steady")}?otherwise=echo`]);
    const { body } = await session();
    const stream = await cerver!.call("POST", `/v2/sessions/${body.session_id}/run/stream`, {
      code: "npm test",
    });
    expect(stream.headers.get("x-cerver-provider")).toBe("rehearsal");
    expect(await stream.text()).toMatch(/"data":"npm test\\n"[\s\S]*event: exit/);
  });

  test("says which of its cassettes it cannot play", async () => {
    await expect(start(["/nowhere.jsonl"])).rejects.toThrow(
      "The cassette /nowhere.jsonl cannot be read: ENOENT.",
    );
    await expect(start([`${tape("steady")}?spede=2`])).rejects.toThrow(/unknown field "spede"/);
    await expect(start([tape("steady"), tape("steady")])).rejects.toThrow(/Two cassettes/);
  });
});

describe("two rehearsals", () => {
  const both = ["rehearsal_outage", "rehearsal_steady"];
  const of = async (name: string, request: unknown) =>
    (await ask("POST", "/v2/routing/explain", request)).body.candidates.find(
      ({ candidate }: { candidate: string }) => candidate === `provider_${name}`,
    );

  test("fall back in an outage; the breaker opens, and closes as the tape recovers", {
    timeout: 60_000,
  }, async () => {
    const clock = setClock();
    await start([`${tape("outage")}?seed=1`, `${tape("steady")}?seed=1`], clock.now);
    const request = { policy: { mode: "fastest", allowed_providers: both } };
    const create = async () => {
      const { status, body } = await session(request);
      expect(status).toBe(201);
      await end(body.session_id);
      return body;
    };
    // The faster one has it while nothing is wrong.
    for (let turn = 0; turn < 3; turn++) expect((await create()).provider).toBe("rehearsal_outage");
    expect((await create()).routing.primary_reason).toContain("Fastest");

    clock.pass(6 * 60 * MINUTE + 6 * MINUTE);
    const fallen = await create();
    expect(fallen.provider).toBe("rehearsal_steady");
    expect(fallen.attempts).toMatchObject([
      {
        candidate: "provider_rehearsal_outage",
        label: "E2B (rehearsal: outage)",
        ok: false,
        code: "provider_failed",
        error: expect.stringContaining("Internal Server Error"),
      },
      { provider: "rehearsal_steady", ok: true },
    ]);
    expect(fallen.routing.primary_reason).toContain("took it after another candidate could not");

    const alone = { policy: { allowed_providers: ["rehearsal_outage"] } };
    for (let turn = 0; turn < 4; turn++) await session(alone);
    expect(await of("rehearsal_outage", request)).toMatchObject({
      executable: false,
      refusals: [{ code: "held", reason: expect.stringMatching(/left out until .* creates failed/i) }],
    });
    // Left out, it costs no attempt.
    const direct = await create();
    expect([direct.provider, direct.attempts ?? []].flat()).not.toContainEqual(
      expect.objectContaining({ ok: false }),
    );
    // Its time is over and the outage is not: the probe fails, and it is left out for longer.
    clock.pass(2 * MINUTE);
    await session(alone);
    expect((await of("rehearsal_outage", request)).executable).toBe(false);
    // The tape recovers.
    clock.pass(30 * MINUTE);
    const recovered = await session(alone);
    expect(recovered).toMatchObject({ status: 201, body: { provider: "rehearsal_outage" } });
    await end(recovered.body.session_id);
    expect((await of("rehearsal_outage", request)).executable).toBe(true);
  });

  test("routing moves away after a 2x slowdown", { timeout: 60_000 }, async () => {
    const clock = setClock();
    await start([`${tape("drift")}?seed=2&latency=3`, `${tape("steady")}?seed=2&latency=3`], clock.now);
    const request = {
      policy: { mode: "fastest", allowed_providers: ["rehearsal_drift", "rehearsal_steady"] },
    };
    const create = async () => {
      const { status, body } = await session(request);
      expect(status).toBe(201);
      await end(body.session_id);
      clock.pass(MINUTE / 2);
      return body.provider as string;
    };
    clock.pass(10 * 60 * MINUTE);
    // Both are known: the drifting one is the faster one at this hour.
    for (const name of ["rehearsal_steady", "rehearsal_drift"]) {
      for (let turn = 0; turn < 10; turn++) {
        const { body } = await session({ policy: { allowed_providers: [name] } });
        await end(body.session_id);
        clock.pass(MINUTE / 2);
      }
    }
    for (let turn = 0; turn < 6; turn++) expect(await create()).toBe("rehearsal_drift");
    clock.pass(2 * 60 * MINUTE);
    let creates = 0;
    while ((await create()) === "rehearsal_drift") expect(++creates).toBeLessThan(40);
    const after = [await create(), await create(), await create()];
    expect(after).toEqual(["rehearsal_steady", "rehearsal_steady", "rehearsal_steady"]);
  });

  test("a create whose answer is lost is found and ended by the gateway", { timeout: 60_000 }, async () => {
    const clock = setClock();
    const cassette = await loadCassette(tape("lost-answers"));
    const adapter = rehearsalProvider(cassette, { seed: 3, clock: rehearsalClock(clock.now) });
    const sessions: string[] = [];
    const ended: string[] = [];
    const watched: ProviderAdapter = {
      ...adapter,
      createSandbox: (request, env) => {
        sessions.push(String(request.metadata.cerver_session_id));
        return adapter.createSandbox(request, env);
      },
      deleteSandbox: (record, env) => {
        ended.push(record.sandboxId);
        return adapter.deleteSandbox(record, env);
      },
    };
    const profile = rehearsalProfile(cassette, "rehearsal", undefined);
    cerver = await startCerver({
      relay: false,
      deps: { rehearsals: [{ adapter: watched, profile }], now: clock.now },
    });
    let lost = 0;
    for (let turn = 0; turn < 20; turn++) {
      const { status, body } = await session();
      if (status === 201) await end(body.session_id);
      else if (body.attempts?.[0]?.code === "provider_failed") lost++;
      clock.pass(20 * MINUTE);
    }
    expect(lost).toBeGreaterThan(1);
    // Each create made a sandbox, heard of or not, and each of them was ended.
    expect(new Set(ended).size).toBe(sessions.length);
    const left = await Promise.all(
      sessions.map((id) =>
        adapter.cloud!.find(id, {
          computeId: "provider_rehearsal",
          credentials: {},
          signal: AbortSignal.timeout(1000),
        }),
      ),
    );
    expect(left.flat()).toEqual([]);
    expect((await ask("GET", "/v2/account/limits")).body).toMatchObject({ open_sessions: 0 });
  });
});

describe("stress tests", () => {
  const stress = (request: Record<string, unknown>) =>
    ask("POST", "/gateway/stress-tests", { mode: "simulated", sample_size: 5, ...request });
  const providersOf = (body: any) => body.providers.map(({ provider }: { provider: string }) => provider);

  test("have a rehearsal take part when it is named, or nothing is real", { timeout: 30_000 }, async () => {
    await start([tape("steady")]);
    expect(providersOf((await stress({})).body)).toContain("rehearsal");
    await cerver!.stop();
    await start([tape("steady")], undefined, true);
    expect(providersOf((await stress({})).body)).not.toContain("rehearsal");
    const named = (await stress({ providers: ["rehearsal"] })).body;
    expect(named.providers).toMatchObject([{ provider: "rehearsal", executable: true, samples: 5 }]);
  });
});

describe("what a rehearsal costs", () => {
  test("is nothing, unless its cassette says so", async () => {
    const cassette = await loadCassette(tape("steady"));
    const free = rehearsalProfile(cassette, "rehearsal", undefined);
    expect(costUsd(free.price!, 3600)).toBe(0);
    const header = { ...cassette.header, price: { usd_per_hour: 0.5, usd_per_create: 0.25 } };
    const paid = rehearsalProfile({ ...cassette, header }, "rehearsal", undefined);
    expect(costUsd(paid.price!, 3600)).toBe(0.75);
  });
});
