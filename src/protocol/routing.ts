import { z } from "zod";

/** Why a session is where it is, in words (seed, "Create a session"). */
export const Routing = z
  .looseObject({
    recommended_provider: z.string().nullable(),
    confidence: z.enum(["high", "medium", "low", "none"]),
    primary_reason: z.string(),
    secondary_reasons: z.array(z.string()),
    fallback_order: z.array(z.string()),
    canary_run: z.boolean(),
  })
  .meta({ id: "Routing" });
export type Routing = z.infer<typeof Routing>;

/** One try of a create. */
export const Attempt = z.looseObject({
  candidate: z.string().describe("`cmp_…`, or `provider_…`."),
  provider: z.string(),
  label: z.string(),
  ok: z.boolean(),
  provision_time_ms: z.number().optional(),
  code: z.string().optional(),
  error: z.string().optional(),
});
export type Attempt = z.infer<typeof Attempt>;

/** The parts of a candidate's score. */
export const SCORE_TERMS = ["startup", "exec", "reliability", "cost", "fit", "load", "locality"] as const;
export type ScoreTerm = (typeof SCORE_TERMS)[number];

export const RoutingMode = z.enum(["balanced", "fastest", "cheapest", "resilient", "pinned"]);
export type RoutingMode = z.infer<typeof RoutingMode>;

/** How many candidates a decision keeps, and how much of what it says of each. */
export const MAX_DECISION_CANDIDATES = 24;
export const MAX_DECISION_WORDS = 200;

const words = z.string().max(MAX_DECISION_WORDS);
const share = z.number().min(0).max(1);

/** `n` is the number of this account's own measurements behind a figure, after fading. */
export const TimeFigure = z.object({ p50_ms: z.number(), p95_ms: z.number(), n: z.number(), source: words });
export type TimeFigure = z.infer<typeof TimeFigure>;

/** What was expected of a candidate when the decision was made, and where each figure came from. */
export const Estimates = z.object({
  startup: TimeFigure.nullable(),
  exec: TimeFigure.nullable(),
  success: z.object({ share, n: z.number(), source: words }),
  cost: z.object({ usd: z.number(), minutes: z.number(), source: words }).nullable(),
});
export type Estimates = z.infer<typeof Estimates>;

/** Why a candidate cannot be used: a word for programs, and a sentence. */
export const Refusal = z.object({
  code: z.enum([
    "offline",
    "not_asked_for",
    "provider_not_allowed",
    "modelled_only",
    "no_adapter",
    "no_credentials",
    "held",
    "runtime",
    "package_install",
    "public_preview",
    "persistence_level",
    "desktop",
    "browser",
    "region",
    "labels",
    "timeout_minutes",
    "max_startup_ms",
    "max_cost_usd",
  ]),
  reason: words,
});
export type Refusal = z.infer<typeof Refusal>;

export const TermScore = z.object({
  value: share.describe("0 is worst, 1 is best; the same under every policy."),
  points: z.number().describe("The value times the policy's weight for this term."),
});

export type TermScore = z.infer<typeof TermScore>;

/** One candidate as a decision saw it. A refused one has no terms, and a score of 0. */
export const DecisionCandidate = z.object({
  candidate: z.string().max(128).describe("`cmp_…`, or `provider_…` for a whole provider."),
  provider: z.string().max(64),
  label: z.string().max(128),
  executable: z.boolean(),
  score: z.number().min(0).max(100),
  terms: z.record(z.enum(SCORE_TERMS), TermScore).optional(),
  estimates: Estimates,
  refusals: z.array(Refusal).max(18),
});
export type DecisionCandidate = z.infer<typeof DecisionCandidate>;

/** A choice as it is kept with its session, small and whole: enough to explain it, and to choose again by another policy. */
export const RoutingDecision = z
  .object({
    version: z.literal(1),
    at: z.string().describe("RFC 3339."),
    mode: RoutingMode,
    workload: z.string().max(64),
    /** Named by id, by provider handle or by a pin: another policy could not have chosen otherwise. */
    named: z.boolean(),
    chosen: z.string().nullable(),
    order: z.array(z.string()).max(MAX_DECISION_CANDIDATES).describe("What a create tries, in turn."),
    weights: z.record(z.enum(SCORE_TERMS), z.number()),
    canary: z.object({ share: z.number(), taken: z.boolean(), reason: words }).nullable(),
    routing: Routing,
    candidates: z.array(DecisionCandidate).max(MAX_DECISION_CANDIDATES),
    left_out: z.number().int().describe("Candidates that were looked at, but are not kept here."),
  })
  .meta({ id: "RoutingDecision" });
export type RoutingDecision = z.infer<typeof RoutingDecision>;

/** What another policy would have chosen and cost, from recorded decisions alone. */
export const ReplayReport = z
  .object({
    mode: RoutingMode,
    decisions: z.number().int(),
    replayed: z.number().int(),
    /** Named or refused: no policy could have chosen otherwise. */
    fixed: z.number().int(),
    changed: z.number().int(),
    /** Means of the medians that were expected, over what was replayed; `happened` is the mean of what is known to have been. */
    startup_ms: z
      .object({
        was: z.number(),
        would_be: z.number(),
        compared: z.number().int(),
        happened: z.number().nullable(),
      })
      .nullable(),
    /** Sums over what was replayed, for the minutes that sessions lived where that is known, else for those they might have. */
    cost_usd: z.object({ was: z.number(), would_be: z.number(), compared: z.number().int() }).nullable(),
    changes: z
      .array(
        z.object({
          session_id: z.string().optional(),
          at: z.string(),
          was: z.string(),
          would_be: z.string(),
          reason: z.string(),
        }),
      )
      .describe("The newest ones, 100 at most."),
  })
  .meta({ id: "ReplayReport" });
export type ReplayReport = z.infer<typeof ReplayReport>;

/** `GET /v2/sessions/:id/routing`: how a session came by its compute. */
export const SessionRouting = z
  .looseObject({
    session_id: z.string(),
    routing: Routing,
    attempts: z.array(Attempt),
    decision: RoutingDecision.nullable().describe(
      "Null of sessions that were created before decisions were kept.",
    ),
  })
  .meta({ id: "SessionRouting" });
export type SessionRouting = z.infer<typeof SessionRouting>;

/** Query of `GET /v2/routing/replay`. */
export const ReplayQuery = z.object({
  policy: RoutingMode.exclude(["pinned"]),
  since: z
    .string()
    .regex(/^\d{1,5}[mhd]$/, "is not a time such as 90m, 24h or 7d")
    .default("7d")
    .describe("How far back decisions are replayed."),
});

/** Answer of `POST /v2/routing/explain`: a decision as it would be made now; `why` when nothing fits. */
export const RoutingExplained = RoutingDecision.extend({ why: z.string().optional() });
export type RoutingExplained = z.infer<typeof RoutingExplained>;
