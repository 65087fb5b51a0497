import type { Estimates, Routing } from "../../../protocol/routing.js";

import { type Breaker, heldWords } from "./breaker.js";
import type { CanaryChoice } from "./canary.js";
import type { Contender } from "./contender.js";
import { GENERAL } from "./measurements.js";
import { dollars } from "./refusals.js";
import type { Candidate, RouterInput } from "./router.js";
import type { Wishes } from "./wishes.js";

/** A lead in points, and a number of own measurements on both sides of it, that make a choice sure. */
const CLEAR_LEAD = 2;
const ENOUGH_MEASURED = 5;
/** A lead that no estimate of ours would turn around. */
const HUGE_LEAD = 15;
const SLIGHT_LEAD = 1.5;

/** How sure the choice is: from the lead over the next candidate, and from what was measured of both. */
export function confidenceOf(ranked: readonly Candidate[], { computeId }: Wishes): Routing["confidence"] {
  const [first, second] = ranked;
  if (!first) return "none";
  if (!second || computeId !== undefined) return "high";
  const lead = first.score - second.score;
  const measured = Math.min(evidence(first), evidence(second));
  if (lead >= HUGE_LEAD || (lead >= CLEAR_LEAD && measured >= ENOUGH_MEASURED)) return "high";
  return lead < SLIGHT_LEAD && measured < ENOUGH_MEASURED ? "low" : "medium";
}

function evidence({ estimates }: Candidate): number {
  return estimates.startup?.n ?? 0;
}

/** Why this one, in a sentence. */
export function primaryReason(
  chosen: Candidate,
  ranked: readonly Candidate[],
  wishes: Wishes,
  canary: CanaryChoice | null,
): string {
  if (canary?.taken) return `Canary: ${canary.reason} ${ranked[0]!.label} scored highest.`;
  if (wishes.computeId !== undefined) return `${chosen.label} was asked for by its id`;
  if (wishes.mode === "pinned") return `The policy pins ${chosen.provider}`;
  if (wishes.named) return `${chosen.label} was asked for by name`;
  if (ranked.length === 1) {
    return `${chosen.label} is the only ${chosen.compute_id === undefined ? "provider that can take it" : "ready compute"}`;
  }
  const best = (figure: (candidate: Candidate) => number | undefined, sign: 1 | -1) => {
    const own = figure(chosen);
    return own !== undefined && ranked.every((one) => sign * (figure(one) ?? Infinity * sign) >= sign * own);
  };
  if (wishes.mode === "fastest" && best(({ estimates }) => estimates.startup?.p50_ms, 1)) {
    return `Fastest expected start of ${ranked.length} candidates`;
  }
  if (wishes.mode === "cheapest" && best(({ estimates }) => estimates.cost?.usd, 1)) {
    return `Lowest expected cost of ${ranked.length} candidates`;
  }
  if (wishes.mode === "resilient" && best(({ estimates }) => estimates.success.share, -1)) {
    return `Most reliable of ${ranked.length} candidates`;
  }
  if (wishes.workload !== GENERAL) return `Best fit for ${wishes.workload} workloads`;
  return ranked.every(({ compute_id }) => compute_id !== undefined)
    ? `Best of ${ranked.length} ready computes`
    : `Best of ${ranked.length} candidates under the ${wishes.mode} policy`;
}

/** What speaks for a candidate, and what to know of it. */
export function secondaryReasons(
  contender: Contender,
  { requirements, policy, minutes, named }: Wishes,
  { startup, cost }: Estimates,
  breaker: Breaker | undefined,
  now: number,
): string[] {
  const { runtime, persistence_level: persistence } = requirements;
  const free = contender.profile?.limits.freeMaxLifetimeMinutes ?? null;
  const held = named && breaker ? heldWords(breaker, now) : undefined;
  return [
    startupWords(startup, policy.max_startup_ms),
    ...(requirements.public_preview ? ["Public preview supported"] : []),
    ...(runtime ? [`It has the ${runtime} runtime`] : []),
    ...(requirements.package_install ? ["Packages can be installed"] : []),
    ...(persistence && persistence !== "none" ? [`Keeps files as well as required (${persistence})`] : []),
    ...(policy.max_cost_usd !== undefined && cost
      ? [`Costs ${dollars(cost.usd)} at most, within the limit`]
      : []),
    ...(contender.computeId === undefined && free !== null && minutes > free
      ? [`More than ${free} minutes need a paid plan at ${contender.label}`]
      : []),
    ...(held ? [`It was asked for by name; others would find it ${held}`] : []),
  ];
}

function startupWords(startup: Estimates["startup"], limit: number | undefined): string {
  if (!startup) return "Startup not measured yet";
  if (limit !== undefined) return "Startup within target";
  return `Startup ${Math.round(startup.p50_ms)} ms, ${startup.source}`;
}

/** Why nothing can take the session, in a sentence. */
export function whyNone(wishes: Wishes, candidates: readonly Candidate[], input: RouterInput): string {
  const { computes, access, catalog } = input;
  const usable = [...access.values()].some(({ adapter, credentials }) => adapter && credentials);
  const named = candidates.find(({ key }) => key === wishes.computeId);
  if (computes.length === 0 && !usable && !wishes.named && !wishes.providers) {
    return "No compute is attached to this account.";
  }
  if (named) {
    return has(named, "offline")
      ? `The compute ${named.label} (${named.key}) is offline.`
      : `${named.label} (${named.key}) cannot take this session: ${lower(named.reasons[0]!)}.`;
  }
  if (wishes.computeId !== undefined) return `This account has no compute ${wishes.computeId}.`;
  const wanted = candidates.filter(({ provider }) => wishes.providers?.has(provider) ?? true);
  const held = wanted.find(({ refusals }) => refusals.length === 1 && refusals[0]!.code === "held");
  if (held) return `${held.label} is ${lower(held.reasons[0]!)}.`;
  const off = wanted.filter((one) => OUT_OF_REACH.some((code) => has(one, code)));
  if (wishes.providers && off.length === wanted.length && off.length > 0) {
    return `${off.map(({ label }) => label).join(" and ")} cannot be used by this account yet.`;
  }
  if (wishes.providers && wanted.length === 0) {
    const labels = catalog
      .filter(({ provider }) => wishes.providers!.has(provider))
      .map(({ label }) => label);
    return `This account has none of what is asked for: ${labels.join(", ")}.`;
  }
  const labels = Object.entries(wishes.requirements.labels ?? {}).map((pair) => pair.join("="));
  if (labels.length > 0) {
    const carriers = candidates.filter((one) => one.compute_id !== undefined && !has(one, "labels"));
    if (carriers.length === 0) return `No compute of this account carries ${listed(labels)}.`;
    if (carriers.every((one) => has(one, "offline")))
      return `What carries ${listed(labels)} is offline: ${listed(carriers.map(({ label }) => label))}.`;
  }
  if (computes.length > 0 && !usable && computes.every((compute) => compute.status !== "ready")) {
    return "Every compute of this account is offline.";
  }
  return "No ready compute satisfies the requirements and the policy.";
}

const OUT_OF_REACH = ["modelled_only", "no_adapter", "no_credentials"] as const;

function has({ refusals }: Candidate, code: Candidate["refusals"][number]["code"]): boolean {
  return refusals.some((refusal) => refusal.code === code);
}

function listed(words: readonly string[]): string {
  return words.slice(0, 5).join(" and ").slice(0, 200);
}

function lower(sentence: string): string {
  return sentence[0]!.toLowerCase() + sentence.slice(1);
}
