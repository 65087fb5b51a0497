import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  CONFORMANCE_CHECKS,
  ConformanceSession,
  type ConformanceTarget,
} from "../src/gateway/compute/conformance.js";

export interface OpenTarget {
  target: ConformanceTarget;
  close(): Promise<void>;
}

/** One test for each thing that a provider's adapter has to keep, and one that nothing is left behind. */
export function describeProvider(name: string, open: () => Promise<OpenTarget>): void {
  describe(`the ${name} adapter`, () => {
    let opened: OpenTarget | undefined;
    let session: ConformanceSession;
    beforeAll(async () => {
      opened = await open();
      session = new ConformanceSession(opened.target);
    }, 120_000);
    afterAll(() => opened?.close(), 120_000);

    for (const check of CONFORMANCE_CHECKS) {
      test(`${check.name}: ${check.about}`, {
        timeout: ((check.seconds ?? 60) + 40) * 1000,
      }, async (context) => {
        const { outcome, why } = await session.run(check);
        if (outcome === "skipped") return context.skip(why);
        if (outcome === "failed") throw new Error(why);
      });
    }

    test("no sandbox is left behind", { timeout: 120_000 }, async () => {
      expect(await session.close()).toEqual([]);
    });
  });
}
