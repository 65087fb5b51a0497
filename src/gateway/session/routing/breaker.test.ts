import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ErrorCode } from "../../../protocol/errors.js";
import {
  admission,
  admitted,
  type Breaker,
  breakerFromJson,
  FIRST_OPEN_MS,
  heldWords,
  LONGEST_OPEN_MS,
  newBreaker,
  type Outcome,
  outcomeOf,
  PROBE_TIMEOUT_MS,
  withOutcome,
} from "./breaker.js";

const NOW = Date.UTC(2026, 10, 24, 12, 2, 30);
const OK: Outcome = { kind: "ok" };
const FAILED: Outcome = { kind: "failed" };
const after = (outcomes: readonly Outcome[], from: Breaker = newBreaker(NOW), at = NOW) =>
  outcomes.reduce((breaker, outcome) => withOutcome(breaker, outcome, at), from);
/** It opens, waits, and its probe fails, so many times. */
const failedProbes = (times: number) => {
  let breaker = after([FAILED, FAILED, FAILED]);
  for (let probe = 0; probe < times; probe++) {
    breaker = withOutcome(admitted(breaker, breaker.until), FAILED, breaker.until);
  }
  return breaker;
};

describe("a breaker", () => {
  test("lets creates through while they succeed, and while few fail", () => {
    expect(admission(after([OK, OK, FAILED, FAILED]), NOW)).toBe("yes");
    expect(admission(after([OK, OK, OK, OK, OK, OK, FAILED, FAILED, FAILED]), NOW)).toBe("yes");
  });

  test("opens when most creates fail, and says so with numbers", () => {
    const open = after([OK, FAILED, FAILED, FAILED, FAILED, FAILED].slice(0, 4));
    expect(admission(open, NOW)).toBe("no");
    expect(heldWords(open, NOW)).toBe("left out until 12:03 UTC after 3 of 4 creates failed");
  });

  test("forgets failures that are long over", () => {
    const before = after([FAILED, FAILED]);
    const now = NOW + 60 * 60_000;
    const later = withOutcome(before, FAILED, now);
    expect(admission(later, now)).toBe("yes");
    expect(later.recent).toBe("x");
  });

  test("lets one probe through after its time, and no second one meanwhile", () => {
    const open = after([FAILED, FAILED, FAILED]);
    const then = NOW + FIRST_OPEN_MS;
    expect(admission(open, then - 1)).toBe("no");
    expect(admission(open, then)).toBe("probe");
    const probing = admitted(open, then);
    expect(admission(probing, then)).toBe("no");
    expect(heldWords(probing, then)).toBe("tried by another create right now, after it was left out");
    expect(admission(probing, then + PROBE_TIMEOUT_MS)).toBe("probe");
  });

  test("closes when the probe succeeds, and opens for longer when it fails", () => {
    const probing = admitted(after([FAILED, FAILED, FAILED]), NOW + FIRST_OPEN_MS);
    const well = withOutcome(probing, OK, NOW + FIRST_OPEN_MS);
    expect(admission(well, NOW + FIRST_OPEN_MS)).toBe("yes");
    expect(heldWords(well, NOW + FIRST_OPEN_MS)).toBe(undefined);
    const ill = withOutcome(probing, FAILED, NOW + FIRST_OPEN_MS);
    expect(ill.until - (NOW + FIRST_OPEN_MS)).toBe(2 * FIRST_OPEN_MS);
  });

  test.each([
    [1, 60_000],
    [2, 120_000],
    [5, 960_000],
    [6, LONGEST_OPEN_MS],
    [40, LONGEST_OPEN_MS],
  ])("after %i failed probes it stays open for %i ms", (probes, ms) => {
    const breaker = failedProbes(probes);
    const began = failedProbes(probes - 1).until;
    expect(breaker.until - began).toBe(ms);
  });

  test("starts from the shortest time again when it was well for an hour", () => {
    const long = failedProbes(5);
    const now = long.until + 61 * 60_000;
    const closed = withOutcome(admitted(long, long.until), OK, long.until);
    const again = after([FAILED, FAILED, FAILED], closed, now);
    expect(again.until - now).toBe(FIRST_OPEN_MS);
  });

  test("waits as long as a vendor asks, and holds nothing against it", () => {
    const waiting = withOutcome(newBreaker(NOW), { kind: "throttled", retryAfterMs: 90_000 }, NOW);
    expect(admission(waiting, NOW + 89_999)).toBe("no");
    expect(heldWords(waiting, NOW)).toBe("left out until 12:04 UTC, as it asked this account to wait");
    expect(admission(waiting, NOW + 90_000)).toBe("yes");
    expect(waiting).toMatchObject({ state: "closed", failed: 0 });
  });

  test("never waits for longer than five minutes because it was told so", () => {
    const waiting = withOutcome(newBreaker(NOW), { kind: "throttled", retryAfterMs: 1e12 }, NOW);
    expect(waiting.until).toBe(NOW + 300_000);
  });

  test.each<[ErrorCode, Outcome["kind"] | undefined]>([
    ["provider_failed", "failed"],
    ["timed_out", "failed"],
    ["compute_lost", "failed"],
    ["compute_offline", "failed"],
    ["internal", "failed"],
    ["too_many_requests", "throttled"],
    ["relay_full", "throttled"],
    ["credentials_refused", undefined],
    ["invalid_request", undefined],
    ["unsupported", undefined],
    ["too_large", undefined],
  ])("%s counts as %s", (code, kind) => {
    expect(outcomeOf(code)?.kind).toBe(kind);
  });

  test("whatever happens, it is held for half an hour at most, is small, and survives JSON", () => {
    const outcome = fc.constantFrom<Outcome>(OK, FAILED, { kind: "throttled", retryAfterMs: 1e9 });
    fc.assert(
      fc.property(fc.array(fc.tuple(outcome, fc.integer({ min: 0, max: 600_000 }))), (steps) => {
        let now = NOW;
        let breaker = newBreaker(now);
        for (const [what, wait] of steps) {
          now += wait;
          breaker = withOutcome(admitted(breaker, now), what, now);
          expect(breaker.until - now).toBeLessThanOrEqual(LONGEST_OPEN_MS);
          expect(admission(breaker, Math.max(now, breaker.until))).not.toBe("no");
        }
        expect(JSON.stringify(breaker).length).toBeLessThan(400);
        expect(breakerFromJson(JSON.stringify(breaker), now)).toEqual(breaker);
      }),
    );
  });
});
