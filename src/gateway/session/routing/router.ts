import type { Compute } from "../../../protocol/computes.js";
import type { Estimates, Refusal, Routing, RoutingDecision, ScoreTerm } from "../../../protocol/routing.js";

import type { ProviderProfile } from "../../compute/profile.js";
import type { Breaker } from "./breaker.js";
import { type CanaryLedger, canaryChoice } from "./canary.js";
import { type Contender, contenders, type ProviderAccess } from "./contender.js";
import { estimatesOf } from "./estimates.js";
import type { Measurements } from "./measurements.js";
import { refusalsOf } from "./refusals.js";
import { recordDecision } from "./routing-decision.js";
import { confidenceOf, primaryReason, secondaryReasons, whyNone } from "./routing-words.js";
import { scoreOf, type TermValues, termValues } from "./score.js";
import { type RoutedRequest, type Wishes, wishesOf } from "./wishes.js";

export interface RouterInput {
  request: RoutedRequest;
  /** All computes of the account, offline ones too. */
  computes: readonly Compute[];
  catalog: readonly ProviderProfile[];
  /** By canonical provider name; a provider that is not in it has neither adapter nor credentials. */
  access: ReadonlyMap<string, ProviderAccess>;
  /** Runs that are going on, by compute id. */
  activeRuns: ReadonlyMap<string, number>;
  /** What this account's own sessions measured. */
  measurements: Measurements;
  /** By candidate: a compute id, or `provider_…`. */
  breakers: ReadonlyMap<string, Breaker>;
  canaries: CanaryLedger;
  /** Milliseconds of the wall clock. */
  now: number;
  /** A random number from 0 to below 1, which decides on a canary and on nothing else. */
  chance: number;
}

/** One compute or provider that was looked at, and what was found. */
export interface Candidate {
  /** `cmp_…`, or `provider_…` for a whole provider. */
  key: string;
  provider: string;
  label: string;
  compute_id?: string;
  executable: boolean;
  /** 0 when it cannot be used; otherwise higher is better, 100 at most. */
  score: number;
  /** 0 to 1, and the points that they gave under this policy; absent when it cannot be used. */
  values?: TermValues;
  points?: Record<ScoreTerm, number>;
  estimates: Estimates;
  refusals: Refusal[];
  /** In plain words: why not, or what speaks for it. */
  reasons: string[];
}

export interface RouterResult {
  /** The first of `order`; undefined when nothing can take the session, and `why` says so. */
  chosen: Candidate | undefined;
  why: string | undefined;
  /** What a create tries, in turn: only the first when the caller named it. */
  order: readonly Candidate[];
  predictedStartupMs: number | null;
  predictedCostUsd: number | null;
  routing: Routing;
  /** Everything that was looked at, the best first, then what was refused. */
  candidates: readonly Candidate[];
  /** The whole of it, small enough to keep with the session. */
  decision: RoutingDecision;
}

/**
 * Chooses where a new session runs: hard requirements first, then the highest score.
 *
 * The same input gives the same answer. Throws `invalid_request` for a policy that nobody can follow.
 */
export function route(input: RouterInput): RouterResult {
  const wishes = wishesOf(input.request, input.catalog);
  const candidates = contenders(input.computes, input.catalog, input.access)
    .map((contender) => judge(contender, wishes, input))
    .sort(byRank);
  const ranked = candidates.filter(({ executable }) => executable);
  const canary = canaryChoice(wishes, ranked, input.canaries, input.chance);
  const chosen = ranked.find(({ key }) => key === canary?.key) ?? ranked[0];
  const rest = ranked.filter((candidate) => candidate !== chosen);
  const order = chosen ? [chosen, ...(wishes.named ? [] : rest)] : [];
  const why = chosen ? undefined : whyNone(wishes, candidates, input);
  const routing: Routing = {
    recommended_provider: chosen?.provider ?? null,
    confidence: chosen ? confidenceOf(ranked, wishes) : "none",
    primary_reason: chosen ? primaryReason(chosen, ranked, wishes, canary) : why!,
    secondary_reasons: chosen ? chosen.reasons.slice(0, 6) : [],
    fallback_order: [...new Set(order.slice(1).map(({ provider }) => provider))],
    canary_run: canary?.taken ?? false,
  };
  return {
    chosen,
    why,
    order,
    predictedStartupMs: chosen?.estimates.startup?.p50_ms ?? null,
    predictedCostUsd: chosen?.estimates.cost?.usd ?? null,
    routing,
    candidates,
    decision: recordDecision({ wishes, candidates, order, canary, routing, now: input.now }),
  };
}

function judge(contender: Contender, wishes: Wishes, input: RouterInput): Candidate {
  const { key, provider, label, computeId } = contender;
  const breaker = input.breakers.get(key);
  const estimates = estimatesOf(contender, wishes, input.measurements, input.now);
  const refusals = refusalsOf(contender, wishes, estimates, breaker, input.now);
  const about = { key, provider, label, ...(computeId !== undefined && { compute_id: computeId }) };
  if (refusals.length > 0) {
    const reasons = refusals.map(({ reason }) => reason);
    return { ...about, executable: false, score: 0, estimates, refusals, reasons };
  }
  const values = termValues(contender, wishes, estimates, input.activeRuns.get(key) ?? 0);
  const { score, points } = scoreOf(values, wishes.mode);
  const reasons = secondaryReasons(contender, wishes, estimates, breaker, input.now);
  return { ...about, executable: true, score, values, points, estimates, refusals, reasons };
}

/** By score, then by key, so that the same input is ranked the same way. */
function byRank(a: Candidate, b: Candidate): number {
  if (a.executable !== b.executable) return a.executable ? -1 : 1;
  return b.score - a.score || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0);
}
