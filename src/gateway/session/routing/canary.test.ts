import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Estimates } from "../../../protocol/routing.js";
import { type CanaryLedger, canaryChoice, counted } from "./canary.js";

const candidate = (key: string, n: number, usd: number | null = 0.01, score = 50) => ({
  key,
  score,
  estimates: {
    startup: { p50_ms: 100, p95_ms: 200, n, source: "" },
    exec: null,
    success: { share: 1, n, source: "" },
    cost: usd === null ? null : { usd, minutes: 5, source: "" },
  } satisfies Estimates,
});
const RANKED = [candidate("first", 50), candidate("second", 9), candidate("third", 2, 0.5)];
const wishes = (share: number, max_cost_usd?: number) => ({
  named: false,
  policy: { canary: { share, ...(max_cost_usd !== undefined && { max_cost_usd }) } },
});
const FULL: CanaryLedger = { creates: 99, canaries: 0 };

describe("a canary", () => {
  test("is nothing unless the policy asks for a share", () => {
    expect(canaryChoice({ named: false, policy: {} }, RANKED, FULL, 0)).toBe(null);
  });

  test("takes the one that was measured least", () => {
    expect(canaryChoice(wishes(0.1), RANKED, FULL, 0)).toMatchObject({ taken: true, key: "third" });
  });

  test("tries one that is far behind less often", () => {
    const ranked = [RANKED[0]!, RANKED[1]!, candidate("third", 2, 0.01, 30)];
    expect(canaryChoice(wishes(0.1), ranked, FULL, 0)).toMatchObject({ taken: true, key: "second" });
  });

  test.each<[string, number | null, string]>([
    ["costs too much", 0.5, "second"],
    ["has no known price", null, "second"],
  ])("passes over one that %s", (_, usd, key) => {
    const ranked = [...RANKED.slice(0, 2), candidate("third", 2, usd)];
    expect(canaryChoice(wishes(0.1, 0.1), ranked, FULL, 0)).toMatchObject({ taken: true, key });
  });

  test("has nothing to try when only one candidate is left", () => {
    expect(canaryChoice(wishes(0.1), RANKED.slice(0, 1), FULL, 0)).toMatchObject({ taken: false });
  });

  test("never uses more than its share and one, and uses what it has", () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.01, max: 0.2, noNaN: true }),
        fc.array(fc.double({ min: 0, max: 0.999, noNaN: true }), { minLength: 200, maxLength: 400 }),
        (share, chances) => {
          let ledger: CanaryLedger = { creates: 0, canaries: 0 };
          for (const chance of chances) {
            ledger = counted(ledger, canaryChoice(wishes(share), RANKED, ledger, chance)!.taken);
            expect(ledger.canaries).toBeLessThanOrEqual(share * ledger.creates + 1);
          }
          expect(ledger.canaries).toBeGreaterThanOrEqual(share * ledger.creates - 1);
        },
      ),
    );
  });
});
