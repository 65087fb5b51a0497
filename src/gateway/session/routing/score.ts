import { type Estimates, type RoutingMode, SCORE_TERMS, type ScoreTerm } from "../../../protocol/routing.js";
import type { Contender } from "./contender.js";
import type { Wishes } from "./wishes.js";

/** What each part of a score counts for, of 100. A pin leaves one provider; its machines are compared as balanced. */
export const WEIGHTS: Record<RoutingMode, Record<ScoreTerm, number>> = {
  balanced: { startup: 25, exec: 10, reliability: 25, cost: 15, fit: 15, load: 5, locality: 5 },
  fastest: { startup: 56, exec: 20, reliability: 9, cost: 0, fit: 10, load: 5, locality: 0 },
  cheapest: { startup: 8, exec: 4, reliability: 15, cost: 60, fit: 8, load: 5, locality: 0 },
  resilient: { startup: 12, exec: 5, reliability: 60, cost: 3, fit: 10, load: 10, locality: 0 },
  pinned: { startup: 25, exec: 10, reliability: 25, cost: 15, fit: 15, load: 5, locality: 5 },
};

export type TermValues = Record<ScoreTerm, number>;

/** What a term is worth when nothing is known: a candidate that was never tried is neither praised nor buried. */
const UNKNOWN_TIME = 0.5;
const UNKNOWN_COST = 0.3;

/** Each part of the score from 0, worst, to 1: the same under every policy, so that another one can be replayed. */
export function termValues(
  contender: Contender,
  wishes: Wishes,
  estimates: Estimates,
  activeRuns: number,
): TermValues {
  const { startup, exec, success, cost } = estimates;
  return {
    startup: startup
      ? 0.6 * quickness(startup.p50_ms, 50, 10_000) + 0.4 * quickness(startup.p95_ms, 50, 10_000)
      : UNKNOWN_TIME,
    exec: exec
      ? 0.6 * quickness(exec.p50_ms, 5, 2_000) + 0.4 * quickness(exec.p95_ms, 5, 2_000)
      : UNKNOWN_TIME,
    // Nothing is left of it when one create in six fails.
    reliability: Math.max(0, 1 - 6 * (1 - success.share)),
    // Half of it is gone at two cents.
    cost: cost ? 1 / (1 + cost.usd / 0.02) : UNKNOWN_COST,
    fit: fit(contender, wishes),
    load: contender.computeId === undefined ? 1 : 1 / (1 + activeRuns / (contender.cpus ?? 1)),
    locality: contender.computeId === undefined ? 0.5 : 1,
  };
}

/** The score, 0 to 100, and each term's points, by a policy's weights. */
export function scoreOf(
  values: TermValues,
  mode: RoutingMode,
): { score: number; points: Record<ScoreTerm, number> } {
  const weights = WEIGHTS[mode];
  const points = Object.fromEntries(
    SCORE_TERMS.map((term) => [term, round(values[term] * weights[term])]),
  ) as Record<ScoreTerm, number>;
  return { score: round(SCORE_TERMS.reduce((sum, term) => sum + points[term], 0)), points };
}

/** 1 at no time at all, 0 at the slowest, and equal steps for equal ratios: 40 to 80 ms matters as much as 1 to 2 s. */
function quickness(ms: number, quick: number, slowest: number): number {
  return Math.max(0, 1 - Math.log(1 + ms / quick) / Math.log(1 + slowest / quick));
}

type Trait = (contender: Contender) => boolean | null;

const HAS = {
  preview: (one) => one.publicPreview,
  packages: (one) => one.packageInstall,
  browser: (one) => one.browser,
  desktop: (one) => one.desktop,
  keepsFiles: (one) => one.persistence && (one.persistence === "medium" || one.persistence === "high"),
  livesLong: (one) => one.computeId !== undefined || (one.maxMinutes === null ? null : one.maxMinutes >= 480),
  isOwn: (one) => one.computeId !== undefined,
} satisfies Record<string, Trait>;
const runs =
  (runtime: string): Trait =>
  ({ runtimes }) =>
    runtimes?.includes(runtime) ?? null;
const isMadeFor =
  (purpose: string): Trait =>
  ({ profile }) =>
    profile?.purposes.includes(purpose) ?? null;

/** What the words of a request ask for, softly: the requirements are the hard side of it. */
const TRAITS: Record<string, Trait[]> = {
  preview: [HAS.preview, isMadeFor("preview")],
  "needs-preview": [HAS.preview],
  nextjs: [isMadeFor("nextjs"), runs("node")],
  coding: [HAS.packages, HAS.keepsFiles, isMadeFor("coding")],
  data: [runs("python"), isMadeFor("data")],
  browser: [HAS.browser],
  "needs-browser": [HAS.browser],
  "needs-desktop": [HAS.desktop],
  "needs-persistence": [HAS.keepsFiles],
  "long-running": [HAS.livesLong],
  "local-files": [HAS.isOwn],
  private: [HAS.isOwn],
  python: [runs("python")],
  typescript: [runs("node")],
  javascript: [runs("node")],
};

/** The share of the traits that workload and repo ask for; half for each that nothing is known of. */
function fit(contender: Contender, { workload, signals }: Wishes): number {
  const words = new Set([workload.toLowerCase(), ...signals]);
  const traits = [...words].flatMap((word) => (Object.hasOwn(TRAITS, word) ? TRAITS[word]! : []));
  if (traits.length === 0) return 1;
  const has = traits.map((trait) => trait(contender));
  return has.reduce((sum, one) => sum + (one === null ? 0.5 : Number(one)), 0) / traits.length;
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
