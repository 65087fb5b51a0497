import type {
  Distribution,
  ProviderResult,
  StressPattern,
  StressReport,
  StressSample,
} from "../../../protocol/stress-tests.js";

/** What is known of a provider before its samples. */
export interface Contestant {
  provider: string;
  label: string;
  executable: boolean;
  /** Why there are no samples of it. */
  skipped?: string | undefined;
}

const PATTERNS = ["sequential", "staggered", "burst"] as const satisfies readonly StressPattern[];
/** This share of the values is left out at each end, as in computesdk's method. */
const TRIMMED = 0.05;
/** A time that is worth nothing, in milliseconds. */
const WORTHLESS_MS = 10_000;
const WEIGHTS = { p50: 0.6, p95: 0.25, p99: 0.15 } as const;
/** With so few samples of the best two, nobody can be sure. */
const FEW = 5;
const MANY = 20;

type Ranked = Pick<
  StressReport,
  "providers" | "ranking" | "recommended_provider" | "confidence" | "primary_reason" | "cost_usd"
>;

/**
 * Ranks providers by their samples.
 *
 * The score of a pattern is 0.60 of its median, 0.25 of its P95 and 0.15 of its P99, each worth `100 x (1 - ms / 10000)`,
 * times the share that succeeded: the method of computesdk/benchmarks, so that numbers compare. A provider's score is the
 * mean of its patterns'.
 */
export function rank(contestants: readonly Contestant[], samples: readonly StressSample[]): Ranked {
  const results = contestants.map((one) =>
    resultOf(
      one,
      samples.filter(({ provider }) => provider === one.provider),
    ),
  );
  const ranked = results
    .filter(({ score }) => score !== null)
    .sort((a, b) => b.score! - a.score! || a.cost_usd - b.cost_usd || (a.provider < b.provider ? -1 : 1));
  for (const [index, result] of ranked.entries()) {
    result.rank = index + 1;
    result.reasons = reasonsOf(result, ranked);
  }
  const [best, second] = ranked;
  return {
    providers: [...ranked, ...results.filter(({ score }) => score === null)],
    ranking: ranked.map(({ provider }) => provider),
    recommended_provider: best && best.success_rate! > 0 ? best.provider : null,
    confidence: confidenceOf(best, second),
    primary_reason: primaryReason(best, second),
    cost_usd: round(
      samples.reduce((sum, { cost_usd = 0 }) => sum + cost_usd, 0),
      6,
    ),
  };
}

/** What the values of a measure look like. Quantiles are taken after trimming; the ends are the true ones. */
export function distributionOf(values: readonly number[]): Distribution {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  const cut = Math.floor(sorted.length * TRIMMED);
  const kept = sorted.slice(cut, sorted.length - cut);
  const at = (q: number) => round(kept[Math.min(kept.length - 1, Math.ceil(q * kept.length) - 1)]!, 2);
  return {
    n: sorted.length,
    p50: at(0.5),
    p95: at(0.95),
    p99: at(0.99),
    min: round(sorted[0]!, 2),
    max: round(sorted.at(-1)!, 2),
  };
}

function resultOf(
  { provider, label, executable, skipped }: Contestant,
  samples: readonly StressSample[],
): ProviderResult {
  const ok = samples.filter((sample) => sample.ok);
  const tti = Object.fromEntries(
    PATTERNS.map((pattern) => [
      pattern,
      distributionOf(ok.filter((sample) => sample.pattern === pattern).flatMap(({ tti_ms }) => tti_ms ?? [])),
    ]),
  ) as ProviderResult["tti"];
  return {
    provider,
    label,
    executable,
    ...(skipped !== undefined && { skipped }),
    samples: samples.length,
    success_rate: samples.length === 0 ? null : round(ok.length / samples.length, 4),
    tti,
    first_byte: distributionOf(ok.flatMap(({ first_byte_ms }) => first_byte_ms ?? [])),
    exec: distributionOf(ok.flatMap(({ exec_ms }) => exec_ms ?? [])),
    cost_usd: round(
      samples.reduce((sum, { cost_usd = 0 }) => sum + cost_usd, 0),
      6,
    ),
    score: scoreOf(samples, tti),
    rank: null,
    reasons: skipped === undefined ? [] : [skipped],
  };
}

function scoreOf(samples: readonly StressSample[], tti: ProviderResult["tti"]): number | null {
  const scores = PATTERNS.flatMap((pattern) => {
    const of = samples.filter((sample) => sample.pattern === pattern);
    if (of.length === 0) return [];
    const found = tti[pattern];
    if (!found) return [0];
    const worth = (ms: number) => Math.max(0, 100 * (1 - ms / WORTHLESS_MS));
    const time =
      WEIGHTS.p50 * worth(found.p50) + WEIGHTS.p95 * worth(found.p95) + WEIGHTS.p99 * worth(found.p99);
    return [(time * of.filter(({ ok }) => ok).length) / of.length];
  });
  if (scores.length === 0) return null;
  return round(scores.reduce((sum, score) => sum + score, 0) / scores.length, 1);
}

function reasonsOf(result: ProviderResult, ranked: readonly ProviderResult[]): string[] {
  const { tti, success_rate, exec, cost_usd } = result;
  const first = tti.sequential ?? tti.staggered ?? tti.burst;
  const isBest = (of: (one: ProviderResult) => number | undefined) => {
    const own = of(result);
    return (
      own !== undefined &&
      ranked.length > 1 &&
      ranked.every((one) => one === result || (of(one) ?? Infinity) > own)
    );
  };
  return [
    ...(first
      ? [`Interactive after ${Math.round(first.p50)} ms (median), ${Math.round(first.p95)} ms (P95)`]
      : []),
    ...(isBest((one) => one.tti.sequential?.p50) ? ["The fastest one after the other"] : []),
    ...(isBest((one) => one.tti.burst?.p50) ? ["The fastest when all come at once"] : []),
    ...(exec ? [`A command takes ${Math.round(exec.p50 * 10) / 10} ms (median)`] : []),
    ...(success_rate! < 1 ? [`${Math.round((1 - success_rate!) * 1000) / 10} % of its samples failed`] : []),
    ...(cost_usd > 0 ? [`Its samples cost $${cost_usd}`] : []),
  ];
}

function confidenceOf(
  best: ProviderResult | undefined,
  second: ProviderResult | undefined,
): StressReport["confidence"] {
  if (!best || best.success_rate === 0) return "none";
  if (!second) return best.samples >= FEW ? "medium" : "low";
  const n = Math.min(best.samples, second.samples);
  const lead = best.score! - second.score!;
  if (n < FEW || lead < 1) return "low";
  return n >= MANY && lead >= 5 ? "high" : "medium";
}

function primaryReason(best: ProviderResult | undefined, second: ProviderResult | undefined): string {
  if (!best) return "No provider could be compared.";
  if (best.success_rate === 0) return "No sample of any provider succeeded.";
  if (!second) return `${best.label} is the only one that could be compared.`;
  const lead = round(best.score! - second.score!, 1);
  return `${best.label} has the best score, ${best.score}: ${lead} ahead of ${second.label}.`;
}

function round(value: number, digits: number): number {
  return Math.round(value * 10 ** digits) / 10 ** digits;
}
