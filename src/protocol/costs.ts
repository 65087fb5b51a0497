import { z } from "zod";

/** `GET` and `PUT /v2/account/limits`: what an account may spend and hold. Null is no limit. */
export const AccountLimits = z
  .strictObject({
    spend_per_month_usd: z
      .number()
      .nonnegative()
      .nullable()
      .optional()
      .describe(
        "Estimated cloud spend in a calendar month (UTC), what open sessions may still cost included.",
      ),
    max_sessions: z
      .number()
      .int()
      .min(0)
      .nullable()
      .optional()
      .describe("Sessions that hold a compute at once."),
  })
  .meta({ id: "AccountLimits" });
export type AccountLimits = z.infer<typeof AccountLimits>;

/** Answer of `GET /v2/account/limits`. */
export const AccountSpend = AccountLimits.extend({
  spent_usd: z.number().describe("Estimated spend of this month so far."),
  reserved_usd: z.number().describe("What open sessions may still cost beyond that."),
  open_sessions: z.number().int(),
}).meta({ id: "AccountSpend" });
export type AccountSpend = z.infer<typeof AccountSpend>;

/** One stretch of time that a session had a compute. */
export const ComputeUse = z.looseObject({
  provider: z.string(),
  compute_id: z.string(),
  started_at: z.string(),
  ended_at: z.string().nullable(),
  seconds: z.number(),
  cost_usd: z.number().describe("Estimated by the provider's formula; so far, while it lasts."),
});

/** `GET /v2/sessions/:id/cost`. */
export const SessionCost = z
  .looseObject({
    session_id: z.string(),
    cost_usd: z.number(),
    max_cost_usd: z.number().nullable(),
    uses: z.array(ComputeUse),
  })
  .meta({ id: "SessionCost" });
export type SessionCost = z.infer<typeof SessionCost>;
