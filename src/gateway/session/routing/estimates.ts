import type { Estimates, TimeFigure } from "../../../protocol/routing.js";
import { costUsd } from "../../compute/profile.js";
import type { Contender } from "./contender.js";
import { estimateSuccess, estimateTime, type Measurements } from "./measurements.js";
import type { Wishes } from "./wishes.js";

/** What to expect of a candidate for this request, and where each figure comes from. */
export function estimatesOf(
  contender: Contender,
  wishes: Pick<Wishes, "workload" | "minutes">,
  measurements: Measurements,
  now: number,
): Estimates {
  const about = {
    candidate: contender.key,
    provider: contender.provider,
    workload: wishes.workload,
    at: now,
  };
  const success = estimateSuccess(measurements, about);
  return {
    startup: startup(contender, about, measurements),
    exec: figure(estimateTime(measurements, "exec", about, null), ""),
    success: {
      share: round(success.share, 4),
      n: round(success.n, 1),
      source: success.n > 0 ? OWN : "assumed until something is measured",
    },
    cost: cost(contender, wishes.minutes),
  };
}

const OWN = "measured on this account's own sessions";
const SIBLINGS = "measured on this account's other machines";

function startup(
  { profile }: Contender,
  about: Parameters<typeof estimateTime>[2],
  measurements: Measurements,
): TimeFigure | null {
  const { measured = null, published = null } = profile?.startup ?? {};
  // A published start has no tail: its one figure stands for both, which flatters it until something is measured.
  const prior = measured ?? (published && { p50: published.ms, p95: published.ms });
  const from = measured
    ? `measured by others: ${measured.source}`
    : published
      ? `published, without a tail: ${published.source}, ${published.date}`
      : SIBLINGS;
  return figure(estimateTime(measurements, "startup", about, prior), from);
}

function figure(estimate: ReturnType<typeof estimateTime>, otherwise: string): TimeFigure | null {
  if (!estimate) return null;
  return {
    p50_ms: round(estimate.p50, 1),
    p95_ms: round(estimate.p95, 1),
    n: round(estimate.n, 1),
    source: estimate.n > 0 ? OWN : otherwise || SIBLINGS,
  };
}

function cost({ profile }: Contender, minutes: number): Estimates["cost"] {
  const price = profile?.price;
  if (!price) return null;
  return {
    usd: round(costUsd(price, minutes * 60), 6),
    minutes,
    source: `${price.source} (${price.date})`,
  };
}

function round(value: number, digits: number): number {
  return Math.round(value * 10 ** digits) / 10 ** digits;
}
