import type { Estimates } from "../../../protocol/routing.js";
import { dollars } from "./refusals.js";
import type { Wishes } from "./wishes.js";

/** How many creates of an account asked for a canary share in the window that is counted, and how many became one. */
export interface CanaryLedger {
  creates: number;
  canaries: number;
}

export interface CanaryChoice {
  share: number;
  taken: boolean;
  reason: string;
  /** The candidate to try first, when it is taken. */
  key?: string;
}

interface Ranked {
  key: string;
  score: number;
  estimates: Estimates;
}

/**
 * Whether this create goes to a candidate that is not first, and to which: the one that was measured least, where two points
 * of score that it is behind count as one measurement, so that the hopeless ones are tried less often.
 *
 * The chance is what the budget has left, so canaries never exceed the share by more than one, and use it up on average.
 * `chance` is a random number from 0 to below 1. Null when the policy asks for none.
 */
export function canaryChoice(
  { policy, named }: Pick<Wishes, "policy" | "named">,
  ranked: readonly Ranked[],
  ledger: CanaryLedger,
  chance: number,
): CanaryChoice | null {
  const { share = 0, max_cost_usd: cap } = policy.canary ?? {};
  if (share <= 0) return null;
  const not = (reason: string): CanaryChoice => ({ share, taken: false, reason });
  if (named) return not("The candidate was named, so no other is tried.");
  const others = ranked.slice(1).filter(({ estimates: { cost } }) => withinCap(cost, cap));
  const needed = (one: Ranked) => evidence(one) + (ranked[0]!.score - one.score) / 2;
  const least = [...others].sort((a, b) => needed(a) - needed(b))[0];
  if (!least) {
    return not(
      ranked.length > 1
        ? `No other candidate is known to cost ${dollars(cap!)} at most.`
        : "No other candidate can take it.",
    );
  }
  const left = budgetLeft(share, ledger);
  if (left <= 0) return not(`The share of ${percent(share)} is used up.`);
  if (chance >= left) return not("Not drawn this time.");
  return {
    share,
    taken: true,
    reason: `Tried to measure it: a candidate that was measured little, within a share of ${percent(share)}.`,
    key: least.key,
  };
}

/** The canaries that may still be made once this create is counted. */
export function budgetLeft(share: number, { creates, canaries }: CanaryLedger): number {
  return share * (creates + 1) - canaries;
}

/** The ledger once a create that asked for a canary share was made. */
export function counted({ creates, canaries }: CanaryLedger, taken: boolean): CanaryLedger {
  return { creates: creates + 1, canaries: canaries + (taken ? 1 : 0) };
}

function withinCap(cost: Estimates["cost"], cap: number | undefined): boolean {
  return cap === undefined || (cost !== null && cost.usd <= cap);
}

function evidence({ estimates }: Ranked): number {
  return Math.max(estimates.startup?.n ?? 0, estimates.success.n);
}

function percent(share: number): string {
  return `${Math.round(share * 1000) / 10} %`;
}
