import { CerverError } from "../../protocol/errors.js";
import type { RecommendationReport } from "../../protocol/sessions.js";
import type { Candidate, RouterInput } from "./router.js";

/**
 * The 409 of a create that found no compute: what was looked at, why nothing fits, and what to type next
 * (contract section 1.6).
 */
export function noCompute(
  why: string,
  candidates: Candidate[],
  input: Pick<RouterInput, "computes">,
  gatewayUrl: string,
): CerverError {
  const report: RecommendationReport = {
    recommended_provider: candidates.find(({ executable }) => executable)?.provider ?? "p69",
    confidence: "none",
    primary_reason: why,
    secondary_reasons: candidates.flatMap(({ reasons }) => reasons).slice(0, 5),
    fallback_order: [],
    canary_run: false,
    candidates,
    next_steps: nextSteps(input.computes, gatewayUrl),
  };
  return new CerverError("no_compute", why, { hint: report.next_steps[0]!, details: { report } });
}

function nextSteps(computes: RouterInput["computes"], gatewayUrl: string): string[] {
  const attach = `On the machine you want to use: cerver relay --gateway ${gatewayUrl}`;
  const look = `See what is attached: curl ${gatewayUrl}/v2/computes -H "Authorization: Bearer $CERVER_API_TOKEN"`;
  const keep = 'For a session that only keeps a transcript, send "compute": null.';
  const ready = computes.find((compute) => compute.status === "ready");
  if (ready) return [`Use what is ready: "target_compute_id": "${ready.compute_id}"`, attach, look, keep];
  return [attach, look, keep];
}
