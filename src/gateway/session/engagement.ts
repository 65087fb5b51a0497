import type { EngagementLabel } from "../../protocol/metrics.js";

export interface Interactions {
  /** Runs of either kind, started. */
  runs: number;
  /** User turns: input and appended user entries. */
  inputs: number;
  /** Whether the session has ended. */
  ended: boolean;
}

/**
 * How much a session is being used: one point for a run, two for a user's turn.
 *
 * The label: `warming` until the third point of an open session, `engaged` from the third, `deep` from the twentieth;
 * `idle` for a session that ended without reaching `engaged`.
 */
export function engagement({ runs, inputs, ended }: Interactions): { score: number; label: EngagementLabel } {
  const score = runs + 2 * inputs;
  return { score, label: labelFor(score, ended) };
}

function labelFor(score: number, ended: boolean): EngagementLabel {
  if (score >= 20) return "deep";
  if (score >= 3) return "engaged";
  return ended ? "idle" : "warming";
}
