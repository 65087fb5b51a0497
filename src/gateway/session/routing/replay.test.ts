import { describe, expect, test } from "vitest";
import type { RoutingMode } from "../../../protocol/routing.js";
import { CATALOG } from "../../compute/catalog.js";
import { type Measurements, withObserved } from "./measurements.js";
import { replay } from "./replay.js";
import { type RouterInput, route } from "./router.js";

const NOW = Date.UTC(2026, 10, 24, 12, 0);
const ENABLED = { adapter: true, credentials: true };
const measurements = (
  [
    ["e2b", 200],
    ["vercel", 700],
    ["cloudflare", 2_000],
  ] as const
)
  .flatMap(([provider, startupMs]) => Array.from({ length: 20 }, () => ({ provider, startupMs })))
  .reduce<Measurements>(
    (cells, { provider, startupMs }) =>
      withObserved(cells, {
        candidate: `provider_${provider}`,
        provider,
        workload: "general",
        at: NOW,
        startupMs,
        ok: true,
      }),
    new Map(),
  );
const decide = (mode: RoutingMode, more: RouterInput["request"] = {}) =>
  route({
    request: { requirements: { timeout_minutes: 60 }, ...more, policy: { ...more.policy, mode } },
    computes: [],
    catalog: CATALOG,
    access: new Map(["vercel", "e2b", "cloudflare"].map((name) => [name, ENABLED])),
    activeRuns: new Map(),
    measurements,
    breakers: new Map(),
    canaries: { creates: 0, canaries: 0 },
    now: NOW,
    chance: 0.5,
  }).decision;

describe("a replay", () => {
  test("of the same policy changes nothing", () => {
    const recorded = Array.from({ length: 5 }, () => ({ decision: decide("balanced") }));
    expect(replay(recorded, "balanced")).toMatchObject({
      decisions: 5,
      replayed: 5,
      changed: 0,
      changes: [],
    });
  });

  test.each(["fastest", "cheapest", "resilient", "balanced"] as const)(
    "chooses as %s would have chosen",
    (mode) => {
      const report = replay([{ decision: decide("cheapest"), sessionId: "sess_1" }], mode);
      const wouldBe = decide(mode).chosen;
      const [change] = report.changes;
      expect(change?.would_be ?? decide("cheapest").chosen).toBe(wouldBe);
    },
  );

  test("says what it would have cost, and how quickly it would have started", () => {
    const recorded = [{ decision: decide("cheapest"), sessionId: "sess_1" }];
    const report = replay(recorded, "fastest");
    expect(report.changes).toEqual([
      {
        session_id: "sess_1",
        at: "2026-11-24T12:00:00.000Z",
        was: "provider_cloudflare",
        would_be: "provider_e2b",
        reason: "better in startup",
      },
    ]);
    expect(report.startup_ms!.was).toBeGreaterThan(1_800);
    expect(report.startup_ms!.would_be).toBeLessThan(230);
    expect(report.cost_usd).toEqual({ was: 0.027, would_be: 0.117, compared: 1 });
  });

  test("counts the minutes that a session lived, and tells beside the estimates what happened", () => {
    const recorded = [{ decision: decide("cheapest"), actual: { startupMs: 5_000, minutes: 30 } }];
    const report = replay(recorded, "fastest");
    expect(report.cost_usd).toEqual({ was: 0.0135, would_be: 0.0585, compared: 1 });
    expect(report.startup_ms).toMatchObject({ was: expect.closeTo(2_000, -3), happened: 5_000 });
  });

  test("leaves choices that nobody made, and lets what was refused stay refused", () => {
    const named = decide("balanced", { target_compute_id: "provider_vercel" });
    const none = decide("balanced", { requirements: { runtime: "haskell" } });
    const limited = decide("cheapest", { policy: { allowed_providers: ["cloudflare"] } });
    const report = replay([{ decision: named }, { decision: none }, { decision: limited }], "fastest");
    expect(report).toMatchObject({ decisions: 3, replayed: 1, fixed: 2, changed: 0 });
  });

  test("of nothing compares nothing", () => {
    expect(replay([], "fastest")).toMatchObject({ decisions: 0, startup_ms: null, cost_usd: null });
  });

  test("has no pinned policy to try", () => {
    expect(() => replay([], "pinned")).toThrowError("cannot be replayed");
  });
});
