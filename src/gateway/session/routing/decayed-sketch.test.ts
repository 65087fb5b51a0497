import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  addValue,
  BUCKETS,
  DEFAULT_FADING,
  EMPTY_SKETCH,
  quantile,
  RECENT,
  type Sketch,
  sketchFromJson,
  sketchToJson,
  weightOf,
} from "./decayed-sketch.js";

const DAY = 86_400_000;
const NEVER = { halfLifeSamples: Infinity, halfLifeMs: Infinity, noticesShifts: false };
const sketchOf = (values: readonly number[], fading = DEFAULT_FADING, start: Sketch = EMPTY_SKETCH) =>
  values.reduce((sketch, value, index) => addValue(sketch, value, start.at + index * 1_000, fading), start);
const repeat = (value: number, times: number) => Array.from({ length: times }, () => value);

describe("a sketch", () => {
  test("knows quantiles to a bucket, of what never fades", () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0.1, max: 100_000, noNaN: true }), { minLength: 1, maxLength: 200 }),
        fc.constantFrom(0.5, 0.95, 0.99),
        (values, share) => {
          const sorted = [...values].sort((a, b) => a - b);
          const exact = sorted[Math.ceil(share * sorted.length) - 1]!;
          const got = quantile(sketchOf(values, NEVER), share)!;
          expect(got / exact).toBeGreaterThan(1 / 1.11);
          expect(got / exact).toBeLessThan(1.11);
        },
      ),
    );
  });

  test("is empty until a value comes", () => {
    expect(quantile(EMPTY_SKETCH, 0.5)).toBe(null);
    expect(weightOf(EMPTY_SKETCH, 0)).toBe(0);
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY, -1])("takes no %s", (value) => {
    expect(addValue(EMPTY_SKETCH, value, 0)).toBe(EMPTY_SKETCH);
  });

  test("fades by time and by newer values", () => {
    const sketch = sketchOf([100]);
    expect(weightOf(sketch, 1.5 * DAY)).toBeCloseTo(0.5);
    expect(weightOf(sketchOf(repeat(100, 1_000)), 1_000_000)).toBeLessThan(30);
  });

  test("does not fade when the clock goes back", () => {
    const sketch = addValue(addValue(EMPTY_SKETCH, 100, 9 * DAY), 100, 3 * DAY);
    expect(sketch.at).toBe(9 * DAY);
    expect(weightOf(sketch, 0)).toBeGreaterThan(1.9);
  });

  test.each([
    ["slower", 1_000, 2_000],
    ["faster", 1_000, 500],
  ])("notices a level that is %s after four values, with much of the past behind it", (_, before, after) => {
    const past = sketchOf(repeat(before, 200));
    const noticed = [1, 2, 3, 4].map((count) => {
      const median = quantile(sketchOf(repeat(after, count), DEFAULT_FADING, past), 0.5)!;
      return Math.abs(Math.log(median / after)) < 0.15;
    });
    expect(noticed).toEqual([false, false, false, true]);
  });

  test("takes a few outliers for what they are", () => {
    const sketch = sketchOf([...repeat(100, 30), 9_000, 100, 8_000, 100, 100]);
    expect(quantile(sketch, 0.5)).toBeLessThan(110);
    expect(quantile(sketch, 0.99)).toBeGreaterThan(5_000);
  });

  test("stays within its bounds whatever comes", () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0, max: 1e12, noNaN: true }), { maxLength: 300 }), (values) => {
        const sketch = sketchOf(values);
        expect(sketch.weights.size).toBeLessThanOrEqual(BUCKETS);
        expect(sketch.recent.length).toBeLessThanOrEqual(RECENT);
        expect(JSON.stringify(sketchToJson(sketch)).length).toBeLessThan(4_000);
      }),
    );
  });

  test("is the same after it was kept as JSON", () => {
    const sketch = sketchOf([5, 90, 90, 200, 1_000]);
    const again = sketchFromJson(JSON.parse(JSON.stringify(sketchToJson(sketch))));
    for (const share of [0.5, 0.95]) {
      expect(quantile(again, share)).toBeCloseTo(quantile(sketch, share)!, 0);
    }
    expect(again.recent).toEqual(sketch.recent);
  });
});
