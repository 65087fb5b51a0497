import { describe, expect, test } from "vitest";
import {
  ASSUMED_SUCCESS,
  cellFromJson,
  cellToJson,
  estimateSuccess,
  estimateTime,
  keysOf,
  MAX_CELLS,
  type Measurements,
  type Observation,
  observe,
  withObserved,
} from "./measurements.js";

const HOUR = 3_600_000;
const NOW = Date.UTC(2026, 10, 24, 12, 0);
const about = { candidate: "cmp_a", provider: "p69", workload: "coding", at: NOW };
const seen = (startupMs: number, more: Partial<Observation> = {}): Observation => ({
  ...about,
  startupMs,
  ...more,
});
const learnt = (observations: readonly Observation[]) =>
  observations.reduce<Measurements>(withObserved, new Map());
const times = (count: number, make: (index: number) => Observation) =>
  Array.from({ length: count }, (_, i) => make(i));
const PRIOR = { p50: 1_000, p95: 2_000 };

describe("an estimate", () => {
  test("is nothing without a measurement and a prior", () => {
    expect(estimateTime(new Map(), "startup", about, null)).toBe(null);
  });

  test("is the prior until something is measured, and says that nothing of ours is in it", () => {
    expect(estimateTime(new Map(), "startup", about, PRIOR)).toEqual({ ...PRIOR, n: 0 });
  });

  test("leaves the prior the sooner the more is measured", () => {
    const after = [1, 3, 10].map(
      (count) => estimateTime(learnt(times(count, () => seen(100))), "startup", about, PRIOR)!.p50,
    );
    expect(after[0]).toBeLessThan(500);
    expect(after[1]).toBeLessThan(after[0]!);
    expect(after[2]).toBeLessThan(130);
  });

  test("uses what other workloads showed, while this one was not tried", () => {
    const cells = learnt(times(10, () => seen(100, { workload: "preview" })));
    const estimate = estimateTime(cells, "startup", about, PRIOR)!;
    expect(estimate.p50).toBeLessThan(200);
    expect(estimate.n).toBeGreaterThan(7);
  });

  test("uses what the account's other machines showed, without calling it this machine's own", () => {
    const cells = learnt(times(10, () => seen(100)));
    const estimate = estimateTime(cells, "startup", { ...about, candidate: "cmp_new" }, null)!;
    expect(estimate.p50).toBeCloseTo(100, -1);
    expect(estimate.n).toBe(0);
  });

  test("keeps workloads apart", () => {
    const cells = learnt([
      ...times(20, () => seen(100, { workload: "general" })),
      ...times(20, () => seen(1_000, { workload: "preview" })),
    ]);
    const of = (workload: string) => estimateTime(cells, "startup", { ...about, workload }, null)!.p50;
    expect(of("general")).toBeLessThan(220);
    expect(of("preview")).toBeGreaterThan(800);
  });

  test("knows slow hours of the day, and their end", () => {
    const days = times(14 * 24, (index) => {
      const at = NOW - (14 * 24 - index) * HOUR;
      const busy = new Date(at).getUTCHours() === 9;
      return seen(busy ? 1_500 : 500, { at });
    });
    const cells = learnt(days);
    const atHour = (hour: number) =>
      estimateTime(cells, "startup", { ...about, at: Date.UTC(2026, 10, 24, hour) }, null)!.p50;
    expect(atHour(9) / atHour(11)).toBeGreaterThan(1.5);
    expect(atHour(11)).toBeLessThan(600);
  });

  test("keeps first bytes and execs apart from starts", () => {
    const cells = learnt([{ ...about, execMs: 7, firstByteMs: 3 }]);
    expect(estimateTime(cells, "exec", about, null)!.p50).toBeCloseTo(7, 0);
    expect(estimateTime(cells, "first_byte", about, null)!.p50).toBeCloseTo(3, 0);
    expect(estimateTime(cells, "startup", about, null)).toBe(null);
  });
});

describe("the share of creates that succeed", () => {
  test("is an assumption first, then what was seen", () => {
    expect(estimateSuccess(new Map(), about)).toEqual({ share: ASSUMED_SUCCESS, n: 0 });
    const half = learnt(times(40, (index) => ({ ...about, ok: index % 2 === 0 })));
    expect(estimateSuccess(half, about).share).toBeCloseTo(0.57, 1);
    const well = [...times(40, () => ({ ...about, ok: true }))].reduce<Measurements>(withObserved, half);
    expect(estimateSuccess(well, about).share).toBeGreaterThan(0.85);
  });

  test("counts a row of failures as one outage", () => {
    const outage = [
      ...times(20, () => ({ ...about, ok: true })),
      ...times(20, () => ({ ...about, ok: false })),
      { ...about, ok: true },
    ];
    expect(estimateSuccess(learnt(outage), about).share).toBeGreaterThan(0.8);
  });

  test("forgets in days", () => {
    const failed = learnt(times(20, () => ({ ...about, ok: false })));
    const later = estimateSuccess(failed, { ...about, at: NOW + 30 * 24 * HOUR });
    expect(later.share).toBeGreaterThan(0.9);
  });
});

describe("what is kept", () => {
  test("is read and written by the keys that an observation names", () => {
    const before = learnt(times(9, () => seen(100)));
    const observation = seen(120, { at: NOW + 30 * 60_000, ok: true });
    const changed = observe(before, observation);
    expect([...changed.keys()]).toEqual(["cmp_a|w:coding", "cmp_a|*", "p69|*", "cmp_a|h:12"]);
    const own = new Map(
      keysOf(observation).flatMap((key) => (before.has(key) ? [[key, before.get(key)!]] : [])),
    );
    expect(observe(own, observation)).toEqual(changed);
    expect(keysOf({ ...observation, candidate: "provider_x", provider: "x" })).toEqual([
      "provider_x|w:coding",
      "provider_x|*",
      "provider_x|h:11",
      "provider_x|h:12",
      "provider_x|h:13",
    ]);
  });

  test("gives the same estimate after it was JSON, and stays small", () => {
    const cells = learnt(times(200, (index) => seen(100 + (index % 37) ** 2, { execMs: index, ok: true })));
    const json = [...cells].map(([key, cell]) => [key, cellToJson(cell)] as const);
    expect(Math.max(...json.map(([, text]) => text.length))).toBeLessThan(8_192);
    const again = new Map(json.map(([key, text]) => [key, cellFromJson(text)!]));
    const [a, b] = [cells, again].map((from) => estimateTime(from, "startup", about, null)!);
    expect(b!.p50).toBeCloseTo(a!.p50, 0);
    expect(b!.n).toBeCloseTo(a!.n, 1);
  });

  test("of another version is learnt anew", () => {
    expect(cellFromJson('{"v":9}')).toBe(undefined);
  });

  test("is bounded, and the keys longest without news go first", () => {
    const many = learnt(
      times(MAX_CELLS, (index) => seen(100, { candidate: `cmp_${index}`, at: NOW + index })),
    );
    expect(many.size).toBe(MAX_CELLS);
    expect(many.has("cmp_0|*")).toBe(false);
    expect(many.has(`cmp_${MAX_CELLS - 1}|*`)).toBe(true);
  });
});
