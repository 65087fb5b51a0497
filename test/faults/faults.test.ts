import { expect, test } from "vitest";
import { table } from "./report.js";
import { runSuite } from "./suite.js";

/** In a good case this takes half of it. */
const DEADLINE_MS = 60_000;

test(
  "runs under faults are executed once, end as they really did, and keep their output",
  async () => {
    const report = await runSuite({
      seed: 3,
      runs: { mixed: 28, "relay restarts": 12, "full disk": 4 },
      worlds: 2,
      atOnce: true,
      deadlineMs: DEADLINE_MS,
    });
    expect(report.failures, table(report)).toEqual([]);
  },
  DEADLINE_MS + 30_000,
);
