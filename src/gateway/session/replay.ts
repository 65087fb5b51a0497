import { CerverError } from "../../protocol/errors.js";
import type {
  DecisionCandidate,
  ReplayReport,
  RoutingDecision,
  RoutingMode,
} from "../../protocol/routing.js";
import { scoreOf, type TermValues } from "./score.js";

/** A decision of the past, and what became of it where that is known. */
export interface RecordedDecision {
  decision: RoutingDecision;
  sessionId?: string;
  /** What really happened; the estimates of then stand in for what is not known. */
  actual?: { startupMs?: number | undefined; costUsd?: number | undefined };
}

const MAX_CHANGES = 100;

/**
 * What another policy would have chosen, and at which start and cost, from what was known when each decision was made.
 *
 * What was refused stays refused: hard requirements are no matter of the policy's mode. The start of a candidate that was
 * not taken is its estimate of then, so the report is as good as those estimates.
 */
export function replay(recorded: readonly RecordedDecision[], mode: RoutingMode): ReplayReport {
  if (mode === "pinned") {
    throw new CerverError("invalid_request", "A pinned policy chooses nothing, so it cannot be replayed.", {
      hint: "Replay balanced, fastest, cheapest or resilient.",
    });
  }
  const free = recorded.filter(({ decision }) => !decision.named && decision.chosen !== null);
  const pairs = free.flatMap((one) => {
    const was = one.decision.candidates.find(({ candidate }) => candidate === one.decision.chosen);
    const wouldBe = bestUnder(one.decision.candidates, mode);
    return was && wouldBe ? [{ ...one, was, wouldBe }] : [];
  });
  const changed = pairs.filter(({ was, wouldBe }) => was.candidate !== wouldBe.candidate);
  return {
    mode,
    decisions: recorded.length,
    replayed: pairs.length,
    fixed: recorded.length - pairs.length,
    changed: changed.length,
    startup_ms: compare(
      pairs.map(({ was, wouldBe, actual }) =>
        both(was, wouldBe, actual?.startupMs, ({ estimates }) => estimates.startup?.p50_ms),
      ),
      (sum, count) => Math.round((sum / count) * 10) / 10,
    ),
    cost_usd: compare(
      pairs.map(({ was, wouldBe, actual }) =>
        both(was, wouldBe, actual?.costUsd, ({ estimates }) => estimates.cost?.usd),
      ),
      (sum) => Math.round(sum * 1e6) / 1e6,
    ),
    changes: changed.slice(-MAX_CHANGES).map(({ decision, sessionId, was, wouldBe }) => ({
      ...(sessionId !== undefined && { session_id: sessionId }),
      at: decision.at,
      was: was.candidate,
      would_be: wouldBe.candidate,
      reason: decision.canary?.taken ? "it was a canary" : difference(was, wouldBe),
    })),
  };
}

/** The usable candidate that scores highest by this policy's weights, ties as the router breaks them. */
function bestUnder(
  candidates: readonly DecisionCandidate[],
  mode: RoutingMode,
): DecisionCandidate | undefined {
  return candidates
    .filter(({ executable, terms }) => executable && terms)
    .map((candidate) => ({ candidate, ...scoreOf(valuesOf(candidate), mode) }))
    .sort((a, b) => b.score - a.score || (a.candidate.candidate < b.candidate.candidate ? -1 : 1))[0]
    ?.candidate;
}

function valuesOf({ terms }: DecisionCandidate): TermValues {
  return Object.fromEntries(
    Object.entries(terms!).map(([term, { value }]) => [term, value]),
  ) as unknown as TermValues;
}

/** A figure on both sides; what really happened counts for a choice that stays, and for the side that was. */
function both(
  was: DecisionCandidate,
  wouldBe: DecisionCandidate,
  actual: number | undefined,
  estimate: (candidate: DecisionCandidate) => number | undefined,
): [number, number] | undefined {
  const then = actual ?? estimate(was);
  const instead = was.candidate === wouldBe.candidate ? then : estimate(wouldBe);
  return then === undefined || instead === undefined ? undefined : [then, instead];
}

function compare(
  pairs: readonly ([number, number] | undefined)[],
  over: (sum: number, count: number) => number,
): { was: number; would_be: number; compared: number } | null {
  const known = pairs.filter((pair) => pair !== undefined);
  if (known.length === 0) return null;
  const sum = (side: 0 | 1) =>
    over(
      known.reduce((total, pair) => total + pair[side], 0),
      known.length,
    );
  return { was: sum(0), would_be: sum(1), compared: known.length };
}

/** The term in which the other candidate is ahead the most. */
function difference({ terms: was }: DecisionCandidate, { terms: wouldBe }: DecisionCandidate): string {
  if (!was || !wouldBe) return "it could not have been used";
  const [term] = (Object.keys(wouldBe) as (keyof typeof wouldBe)[]).sort(
    (a, b) => wouldBe[b]!.value - was[b]!.value - (wouldBe[a]!.value - was[a]!.value),
  );
  return `better in ${term}`;
}
