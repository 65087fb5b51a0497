import { CerverError } from "../../../protocol/errors.js";
import { MAX_DECISION_CANDIDATES } from "../../../protocol/routing.js";
import type { RecommendationReport } from "../../../protocol/sessions.js";
import { enableCommands, type ProviderProfile } from "../../compute/profile.js";
import type { Candidate, RouterInput, RouterResult } from "./router.js";

type Code = Candidate["refusals"][number]["code"];

/**
 * The 409 of a create that nothing can take: what was looked at, why nothing fits, and what to type next
 * (contract section 1.6).
 */
export function noCompute(
  { why, candidates }: Pick<RouterResult, "why" | "candidates">,
  { catalog }: Pick<RouterInput, "catalog">,
  gatewayUrl: string,
): CerverError {
  const near = [...candidates].sort((a, b) => distance(a) - distance(b));
  const sentence = why ?? "Nothing can take this session.";
  const report: RecommendationReport = {
    recommended_provider:
      near.find((one) => !blockedBy(one, ["modelled_only", "no_adapter"]))?.provider ?? "p69",
    confidence: "none",
    primary_reason: sentence,
    secondary_reasons: near
      .filter((one) => !blockedBy(one, ["modelled_only", "not_asked_for"]))
      .map(({ label, reasons }) => `${label}: ${reasons[0]}`)
      .slice(0, 5),
    fallback_order: [],
    canary_run: false,
    candidates: near
      .slice(0, MAX_DECISION_CANDIDATES)
      .map(({ provider, compute_id, executable, score, reasons }) => ({
        provider,
        ...(compute_id !== undefined && { compute_id }),
        executable,
        score,
        reasons,
      })),
    next_steps: nextSteps(near, catalog, gatewayUrl),
  };
  return new CerverError("no_compute", sentence, { hint: report.next_steps[0]!, details: { report } });
}

/** How much has to change before a candidate could be used; a choice of names is changed most easily. */
const DISTANCE: Partial<Record<Code, number>> = {
  not_asked_for: 1,
  provider_not_allowed: 1,
  max_startup_ms: 2,
  max_cost_usd: 2,
  timeout_minutes: 2,
  held: 2,
  offline: 4,
  no_credentials: 5,
  no_adapter: 50,
  modelled_only: 100,
};

function distance({ refusals }: Candidate): number {
  return refusals.reduce((sum, { code }) => sum + (DISTANCE[code] ?? 8), 0);
}

function blockedBy({ refusals }: Candidate, codes: readonly Code[]): boolean {
  return refusals.some(({ code }) => codes.includes(code));
}

function onlyBlockedBy({ refusals }: Candidate, codes: readonly Code[]): boolean {
  return refusals.length > 0 && refusals.every(({ code }) => codes.includes(code));
}

/** What to do, the most useful first; what follows the colon is for pasting, into a shell or into the request. */
function nextSteps(
  near: readonly Candidate[],
  catalog: readonly ProviderProfile[],
  gatewayUrl: string,
): string[] {
  const profiles = new Map<string, ProviderProfile>(catalog.map((profile) => [profile.provider, profile]));
  const ready = near.find((one) => onlyBlockedBy(one, ["not_asked_for", "provider_not_allowed"]));
  const held = near.find((one) => onlyBlockedBy(one, ["held"]));
  const missing = near.filter(
    (one) =>
      onlyBlockedBy(one, ["no_credentials", "provider_not_allowed"]) && blockedBy(one, ["no_credentials"]),
  );
  // Those that the caller wanted first; of others one is enough to show how it is done.
  const wanted = missing.filter((one) => !blockedBy(one, ["provider_not_allowed"]));
  const relay = enableCommands(profiles.get("p69") ?? catalog[0]!, gatewayUrl)[0]!;
  return [
    ...(ready ? [`Use what is ready: "target_compute_id": "${ready.key}"`] : []),
    ...(held ? [`Try it all the same: "target_compute_id": "${held.key}"`] : []),
    ...near.flatMap(looserLimit).slice(0, 2),
    ...(wanted.length > 0 ? wanted : missing)
      .slice(0, 2)
      .flatMap(({ label, provider }) =>
        enableCommands(profiles.get(provider)!, gatewayUrl).map((command) => `Enable ${label}: ${command}`),
      ),
    `On the machine you want to use: ${relay}`,
    `See what is attached: curl ${gatewayUrl}/v2/computes -H "Authorization: Bearer $CERVER_API_TOKEN"`,
    'For a session that only keeps a transcript, send "compute": null.',
  ];
}

/** The limit that would let a candidate in which nothing else keeps out. */
function looserLimit(candidate: Candidate): string[] {
  const [refusal, ...more] = candidate.refusals;
  if (!refusal || more.length > 0) return [];
  const { startup, cost } = candidate.estimates;
  if (refusal.code === "max_startup_ms" && startup) {
    return [`Wait longer for ${candidate.label}: "max_startup_ms": ${Math.ceil(startup.p50_ms / 100) * 100}`];
  }
  if (refusal.code === "max_cost_usd" && cost) {
    return [`Spend more on ${candidate.label}: "max_cost_usd": ${Math.ceil(cost.usd * 1000) / 1000}`];
  }
  return [];
}
