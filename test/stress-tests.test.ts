import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readEventStream } from "../src/util/event-stream.js";
import { type Cerver, startCerver } from "./harness.js";

let cerver: Cerver;
beforeAll(async () => {
  cerver = await startCerver();
});
afterAll(() => cerver.stop());

async function ask(method: string, path: string, body?: unknown): Promise<{ status: number; body: any }> {
  const response = await cerver.call(method, path, body);
  return { status: response.status, body: await response.json() };
}

/** The seed's own body. */
const SEED = {
  task: "Compare preview launch backends",
  kind: "preview_launch",
  workload: "preview",
  requirements: { runtime: "node", public_preview: true, package_install: true, timeout_minutes: 20 },
  providers: ["vercel", "e2b"],
  sample_size: 5,
};

describe("a simulated stress test", () => {
  test("answers the seed's request with a report that says what it is made of", async () => {
    const { status, body } = await ask("POST", "/gateway/stress-tests", SEED);
    expect(status).toBe(200);
    expect(body).toMatchObject({
      mode: "simulated",
      status: "done",
      kind: "preview_launch",
      workload: "preview",
    });
    expect(body.made_of[0]).toMatch(/^Simulated: 5 draws .* Nothing was run\.$/);
    expect(body.providers.map(({ provider }: { provider: string }) => provider).sort()).toEqual([
      "e2b",
      "vercel",
    ]);
    for (const one of body.providers) {
      expect(one.executable).toBe(false);
      expect(one.samples).toBe(5);
      expect(one.tti.sequential.p50).toBeGreaterThan(0);
      expect(one.tti.burst).toBe(null);
    }
    expect(body.ranking).toHaveLength(2);
    expect(body.recommended_provider).toBe(body.ranking[0]);
    expect(body.samples).toHaveLength(10);
    expect((await ask("GET", `/v2/stress-tests/${body.stress_test_id}`)).body).toEqual(body);
  });

  test("is the same again for a seed, and refuses names that nobody has", async () => {
    const [one, two] = await Promise.all(
      [1, 2].map(() => ask("POST", "/gateway/stress-tests", { ...SEED, seed: 42 })),
    );
    expect(one!.body.samples).toEqual(two!.body.samples);
    expect(await ask("POST", "/gateway/stress-tests", { providers: ["nobody"] })).toMatchObject({
      status: 400,
      body: { hint: expect.stringContaining("e2b") },
    });
    expect(await ask("POST", "/gateway/stress-tests", { sample_size: 1000 })).toMatchObject({ status: 400 });
  });
});

describe("a live stress test", () => {
  test("makes real sandboxes, measures them, and shows that they are gone", async () => {
    const response = await cerver.call(
      "POST",
      "/v2/stress-tests",
      { mode: "live", providers: ["p69", "e2b"], sample_size: 3, concurrency: 2 },
      { accept: "text/event-stream" },
    );
    const events: any[] = [];
    for await (const { data } of readEventStream(response.body!)) events.push(JSON.parse(data));
    const { report } = events.at(-1);

    expect(events[0]).toMatchObject({ type: "progress", done: 0, total: 9 });
    expect(events.filter(({ type }) => type === "progress")).toHaveLength(10);
    expect(report).toMatchObject({ mode: "live", status: "done", recommended_provider: "p69", cost_usd: 0 });
    expect(report.clean_up).toEqual({ made: 9, deleted: 9, left: [] });
    const [p69, e2b] = report.providers;
    expect(p69).toMatchObject({ provider: "p69", executable: true, samples: 9, success_rate: 1, rank: 1 });
    for (const pattern of ["sequential", "staggered", "burst"]) expect(p69.tti[pattern].n).toBe(3);
    expect(p69.exec.n).toBe(27);
    expect(p69.first_byte.p50).toBeGreaterThan(0);
    expect(e2b).toMatchObject({
      provider: "e2b",
      executable: false,
      samples: 0,
      rank: null,
      skipped: expect.any(String),
    });
  });

  test("teaches the router", async () => {
    const { body } = await ask("POST", "/v2/routing/explain", {});
    const own = body.candidates.find(({ provider }: { provider: string }) => provider === "p69");
    expect(own.estimates.startup.n).toBeGreaterThan(0);
    expect(own.estimates.exec.n).toBeGreaterThan(0);
  });

  test("two at once are begun, and no more, however many are asked for together", async () => {
    const order = { mode: "live", providers: ["p69"], sample_size: 20 };
    const answers = await Promise.all(
      Array.from({ length: 6 }, () => ask("POST", "/v2/stress-tests", order)),
    );
    const begun = answers.filter(({ status }) => status === 202);
    expect(answers.map(({ status }) => status).sort()).toEqual([202, 202, 429, 429, 429, 429]);
    await Promise.all(begun.map(({ body }) => ask("DELETE", `/v2/stress-tests/${body.stress_test_id}`)));
  });

  // Several times: a create can be cancelled in any of its moments.
  test.each([1, 2, 3, 4, 5])("ends when it is cancelled, and leaves nothing (%i)", async () => {
    const sandboxes = () => readdir(join(cerver.folder, "state-test-host", "sandboxes"));
    const { status, body } = await ask("POST", "/v2/stress-tests", {
      mode: "live",
      providers: ["p69"],
      sample_size: 50,
      patterns: ["burst"],
    });
    expect(status).toBe(202);
    expect(body.status).toBe("running");
    await expect.poll(sandboxes, { interval: 1 }).not.toEqual([]);
    const cancelled = await ask("DELETE", `/v2/stress-tests/${body.stress_test_id}`);
    expect(await sandboxes()).toEqual([]);
    expect(cancelled.body).toMatchObject({ status: "cancelled", clean_up: { left: [] } });
    expect(cancelled.body.samples.length).toBeLessThan(50);
    expect((await ask("GET", "/v2/account/limits")).body.open_sessions).toBe(0);
    expect((await ask("GET", "/v2/account/orphans")).body.orphans).toEqual([]);
    expect((await ask("GET", "/v2/stress-tests")).body.stress_tests[0]).toMatchObject({
      status: "cancelled",
    });
  });
});
