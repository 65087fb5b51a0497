import {
  type DecisionCandidate,
  MAX_DECISION_CANDIDATES,
  type Routing,
  type RoutingDecision,
  SCORE_TERMS,
  type TermScore,
} from "../../../protocol/routing.js";

import type { CanaryChoice } from "./canary.js";
import type { Candidate } from "./router.js";
import { WEIGHTS } from "./score.js";
import type { Wishes } from "./wishes.js";

/** The decision as it is kept: the best candidates, then refused ones while there is room, the informative ones first. */
export function recordDecision(made: {
  wishes: Wishes;
  candidates: readonly Candidate[];
  order: readonly Candidate[];
  canary: CanaryChoice | null;
  routing: Routing;
  now: number;
}): RoutingDecision {
  const { wishes, candidates, order, canary, routing, now } = made;
  const [chosen] = order;
  const kept = [...candidates]
    .sort((a, b) => Number(b === chosen) - Number(a === chosen) || rank(a) - rank(b))
    .slice(0, MAX_DECISION_CANDIDATES);
  return {
    version: 1,
    at: new Date(now).toISOString(),
    mode: wishes.mode,
    workload: wishes.workload,
    named: wishes.named,
    chosen: chosen?.key ?? null,
    order: order.slice(0, MAX_DECISION_CANDIDATES).map(({ key }) => key),
    weights: { ...WEIGHTS[wishes.mode] },
    canary: canary && { share: canary.share, taken: canary.taken, reason: canary.reason },
    routing,
    candidates: kept.map(recordCandidate),
    left_out: candidates.length - kept.length,
  };
}

/** Usable ones first, then those that only this request left out, then those that nobody could use. */
function rank({ executable, refusals }: Candidate): number {
  if (executable) return 0;
  return refusals[0]!.code === "modelled_only" ? 2 : 1;
}

function recordCandidate({ values, points, ...candidate }: Candidate): DecisionCandidate {
  return {
    candidate: candidate.key.slice(0, 128),
    provider: candidate.provider.slice(0, 64),
    label: candidate.label.slice(0, 128),
    executable: candidate.executable,
    score: candidate.score,
    ...(values &&
      points && {
        terms: Object.fromEntries(
          SCORE_TERMS.map((term) => [term, { value: round(values[term]), points: points[term] }]),
        ) as Record<(typeof SCORE_TERMS)[number], TermScore>,
      }),
    estimates: candidate.estimates,
    refusals: candidate.refusals,
  };
}

function round(value: number): number {
  return Math.round(value * 10_000) / 10_000;
}
