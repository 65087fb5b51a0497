import { CerverError } from "../../../protocol/errors.js";
import type {
  DecisionCandidate,
  ReplayReport,
  RoutingDecision,
  RoutingMode,
} from "../../../protocol/routing.js";
import { scoreOf, type TermValues } from "./score.js";

/** A decision of the past, and what became of it where that is known. */
export interface RecordedDecision {
  decision: RoutingDecision;
  sessionId?: string;
  /** What really happened: how long the start took, and how long the session lived. */
  actual?: { startupMs?: number | undefined; minutes?: number | undefined };
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
    startup_ms: startups(pairs),
    cost_usd: costs(pairs),
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

interface Pair extends RecordedDecision {
  was: DecisionCandidate;
  wouldBe: DecisionCandidate;
}

/** Expected medians on both sides: what happened has tails in it, and would make the past look slower than it was. */
function startups(pairs: readonly Pair[]): ReplayReport["startup_ms"] {
  const known = pairs.flatMap(({ was, wouldBe }) => {
    const [a, b] = [was.estimates.startup?.p50_ms, wouldBe.estimates.startup?.p50_ms];
    return a === undefined || b === undefined ? [] : [{ was: a, wouldBe: b }];
  });
  if (known.length === 0) return null;
  const happened = pairs.flatMap(({ actual }) => actual?.startupMs ?? []);
  return {
    was: round(mean(known.map(({ was }) => was)), 1),
    would_be: round(mean(known.map(({ wouldBe }) => wouldBe)), 1),
    compared: known.length,
    happened: happened.length === 0 ? null : round(mean(happened), 1),
  };
}

function costs(pairs: readonly Pair[]): ReplayReport["cost_usd"] {
  const known = pairs.flatMap(({ was, wouldBe, actual }) => {
    const [a, b] = [was.estimates.cost, wouldBe.estimates.cost];
    if (!a || !b) return [];
    const part = Math.min(1, (actual?.minutes ?? a.minutes) / a.minutes);
    return [{ was: a.usd * part, wouldBe: b.usd * part }];
  });
  if (known.length === 0) return null;
  return {
    was: round(
      known.reduce((sum, { was }) => sum + was, 0),
      6,
    ),
    would_be: round(
      known.reduce((sum, { wouldBe }) => sum + wouldBe, 0),
      6,
    ),
    compared: known.length,
  };
}

/** The term in which the other candidate is ahead the most. */
function difference({ terms: was }: DecisionCandidate, { terms: wouldBe }: DecisionCandidate): string {
  if (!was || !wouldBe) return "it could not have been used";
  const [term] = (Object.keys(wouldBe) as (keyof typeof wouldBe)[]).sort(
    (a, b) => wouldBe[b]!.value - was[b]!.value - (wouldBe[a]!.value - was[a]!.value),
  );
  return `better in ${term}`;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function round(value: number, digits: number): number {
  return Math.round(value * 10 ** digits) / 10 ** digits;
}
