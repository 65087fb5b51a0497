import { z } from "zod";
import { Policy, Requirements } from "./sessions.js";

/** How the creates of a live test follow each other: one after the other, every 200 ms, or all at once. */
export const StressPattern = z.enum(["sequential", "staggered", "burst"]);
export type StressPattern = z.infer<typeof StressPattern>;

/** Body of `POST /gateway/stress-tests`. */
export const StressTestRequest = z
  .looseObject({
    task: z.string().max(10_000).optional(),
    kind: z.string().max(64).optional().describe("A name for what is compared, such as preview_launch."),
    workload: z.string().max(64).optional(),
    requirements: Requirements.optional(),
    policy: Policy.optional(),
    providers: z
      .array(z.string().max(64))
      .min(1)
      .max(16)
      .optional()
      .describe("All that are known, unless said."),
    sample_size: z
      .number()
      .int()
      .min(1)
      .max(100)
      .default(5)
      .describe("Samples of each provider and pattern."),
    mode: z
      .enum(["simulated", "live"])
      .default("simulated")
      .describe("`live` makes real sandboxes with this account's credentials, and costs what they cost."),
    patterns: z.array(StressPattern).min(1).max(3).default(["sequential", "staggered", "burst"]),
    concurrency: z.number().int().min(1).max(50).default(5).describe("Sandboxes that exist at once, live."),
    max_cost_usd: z
      .number()
      .nonnegative()
      .default(0.25)
      .describe("A live test begins no sample that could bring its cost above this."),
    seed: z
      .number()
      .int()
      .min(0)
      .max(0xffffffff)
      .optional()
      .describe("Makes a simulated report the same again."),
  })
  .meta({ id: "StressTestRequest" });
export type StressTestRequest = z.infer<typeof StressTestRequest>;

/** Milliseconds; null where nothing was measured. */
export const Distribution = z
  .object({
    n: z.number().int(),
    p50: z.number(),
    p95: z.number(),
    p99: z.number(),
    min: z.number(),
    max: z.number(),
  })
  .nullable();
export type Distribution = z.infer<typeof Distribution>;

/** One sample: a sandbox was made, a first command ran in it, then some more, then it was deleted. */
export const StressSample = z.looseObject({
  provider: z.string(),
  pattern: StressPattern,
  index: z.number().int(),
  ok: z.boolean(),
  create_ms: z.number().optional(),
  tti_ms: z
    .number()
    .optional()
    .describe("Time to interactive: from the create until the first command is done."),
  first_byte_ms: z
    .number()
    .optional()
    .describe("From asking for the first command until its first byte of output."),
  exec_ms: z.array(z.number()).optional().describe("Commands in a sandbox that is there already."),
  cost_usd: z.number().optional(),
  code: z.string().optional(),
  error: z.string().optional(),
});
export type StressSample = z.infer<typeof StressSample>;

export const ProviderResult = z.looseObject({
  provider: z.string(),
  label: z.string(),
  executable: z.boolean().describe("Can run sessions of this account now."),
  skipped: z.string().optional().describe("Why there is nothing of it, in words."),
  samples: z.number().int(),
  success_rate: z.number().nullable(),
  tti: z.object({ sequential: Distribution, staggered: Distribution, burst: Distribution }),
  first_byte: Distribution,
  exec: Distribution,
  cost_usd: z.number(),
  score: z.number().nullable().describe("0 to 100, see docs/stress-tests.md."),
  rank: z.number().int().nullable(),
  reasons: z.array(z.string()),
});
export type ProviderResult = z.infer<typeof ProviderResult>;

/** The report of a comparison. */
export const StressReport = z
  .looseObject({
    stress_test_id: z.string(),
    mode: z.enum(["simulated", "live"]),
    status: z.enum(["running", "done", "cancelled", "failed"]),
    kind: z.string().nullable(),
    task: z.string().nullable(),
    workload: z.string(),
    created_at: z.string(),
    ended_at: z.string().nullable(),
    seed: z.number().int().nullable(),
    made_of: z.array(z.string()).describe("Where the figures come from, in words."),
    recommended_provider: z.string().nullable(),
    confidence: z.enum(["high", "medium", "low", "none"]),
    primary_reason: z.string(),
    ranking: z.array(z.string()),
    providers: z.array(ProviderResult),
    cost_usd: z.number(),
    clean_up: z
      .object({ made: z.number().int(), deleted: z.number().int(), left: z.array(z.string()) })
      .describe("Sandboxes of this test; `left` names those that could not be shown to be gone."),
    samples: z.array(StressSample).describe("The raw samples."),
  })
  .meta({ id: "StressReport" });
export type StressReport = z.infer<typeof StressReport>;

/** News of a live test, as server-sent events; `report` is the last. */
export const StressEvent = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("progress"),
    stress_test_id: z.string(),
    done: z.number().int(),
    total: z.number().int(),
    cost_usd: z.number(),
    sample: StressSample.optional(),
  }),
  z.object({ type: z.literal("report"), report: StressReport }),
]);
export type StressEvent = z.infer<typeof StressEvent>;

export const StressTestList = z.looseObject({
  stress_tests: z.array(
    StressReport.pick({
      stress_test_id: true,
      mode: true,
      status: true,
      kind: true,
      created_at: true,
      ended_at: true,
      recommended_provider: true,
      cost_usd: true,
    }),
  ),
});
export type StressTestList = z.infer<typeof StressTestList>;
