import { describe, expect, test } from "vitest";
import type { Estimates } from "../../../protocol/routing.js";
import type { StressSample } from "../../../protocol/stress-tests.js";
import { distributionOf, rank } from "./stress-report.js";
import { simulate } from "./stress-simulated.js";

const contestants = ["e2b", "vercel"].map((provider) => ({
  provider,
  label: provider.toUpperCase(),
  executable: true,
}));
const sample = (provider: string, tti_ms: number, index = 0): StressSample => ({
  provider,
  pattern: "sequential",
  index,
  ok: true,
  tti_ms,
});
const estimates = (p50_ms: number, p95_ms: number): Estimates => ({
  startup: { p50_ms, p95_ms, n: 0, source: "a table" },
  exec: null,
  success: { share: 0.9, n: 0, source: "assumed" },
  cost: null,
});

describe("the report of a stress test", () => {
  test.each([
    [1000, 90],
    [5000, 50],
    [10_000, 0],
    [60_000, 0],
  ])("a time of %i ms is worth %i points", (ms, score) => {
    expect(rank(contestants, [sample("e2b", ms)]).providers[0]).toMatchObject({ provider: "e2b", score });
  });

  test("a failure takes its share of the score, and what was never sampled has none", () => {
    const failed: StressSample = {
      provider: "e2b",
      pattern: "sequential",
      index: 1,
      ok: false,
      code: "x",
      error: "y",
    };
    const { providers, recommended_provider } = rank(contestants, [sample("e2b", 0), failed]);
    expect(providers).toMatchObject([
      { provider: "e2b", score: 50, success_rate: 0.5, rank: 1 },
      { provider: "vercel", score: null, rank: null },
    ]);
    expect(recommended_provider).toBe("e2b");
  });

  test("nobody is recommended when nothing worked", () => {
    const failed: StressSample = { provider: "e2b", pattern: "burst", index: 0, ok: false };
    expect(rank(contestants, [failed])).toMatchObject({ recommended_provider: null, confidence: "none" });
  });

  test("quantiles leave out 5 % at each end, the ends themselves do not", () => {
    const values = Array.from({ length: 100 }, (_, i) => i + 1);
    expect(distributionOf(values)).toMatchObject({ n: 100, p50: 50, min: 1, max: 100 });
    expect(distributionOf(values)!.p99).toBeLessThanOrEqual(95);
    expect(distributionOf([])).toBe(null);
  });

  test("confidence grows with samples and lead", () => {
    const of = (n: number, e2b: number, vercel: number) =>
      rank(
        contestants,
        Array.from({ length: n }, (_, i) => [sample("e2b", e2b, i), sample("vercel", vercel, i)]).flat(),
      ).confidence;
    expect(of(20, 500, 2000)).toBe("high");
    expect(of(8, 500, 2000)).toBe("medium");
    expect(of(2, 500, 2000)).toBe("low");
    expect(of(50, 500, 510)).toBe("low");
  });
});

describe("a simulation", () => {
  test("is the same for a seed, and near its estimates", () => {
    const known = [{ provider: "e2b", label: "E2B", estimates: estimates(500, 900) }];
    expect(simulate(known, 50, 7)).toEqual(simulate(known, 50, 7));
    expect(simulate(known, 50, 7)).not.toEqual(simulate(known, 50, 8));
    const { providers } = rank(contestants, simulate(known, 100, 1).concat(simulate(known, 100, 2)));
    expect(providers[0]!.tti.sequential!.p50).toBeGreaterThan(450);
    expect(providers[0]!.tti.sequential!.p50).toBeLessThan(560);
    expect(providers[0]!.success_rate).toBeGreaterThan(0.82);
  });
});
