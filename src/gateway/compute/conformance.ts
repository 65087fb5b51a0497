import { CerverError } from "../../protocol/errors.js";
import type { ConformanceCheck, ConformanceTarget } from "./conformance/check.js";
import { CANCEL } from "./conformance/checks/cancel.js";
import { CLOUD } from "./conformance/checks/cloud.js";
import { DURABLE } from "./conformance/checks/durable.js";
import { ENDS } from "./conformance/checks/ends.js";
import { FILES } from "./conformance/checks/files.js";
import { INSTALL } from "./conformance/checks/install.js";
import { OPTIONS } from "./conformance/checks/options.js";
import { OUTPUT } from "./conformance/checks/output.js";
import { SANDBOXES } from "./conformance/checks/sandboxes.js";
import type { CheckResult, Scorecard } from "./conformance/scorecard.js";
import { ConformanceSession } from "./conformance/session.js";

export type { ConformanceCheck, ConformanceTarget } from "./conformance/check.js";
export type { CheckResult, Scorecard } from "./conformance/scorecard.js";
export { ConformanceSession } from "./conformance/session.js";

/** What every provider's adapter has to keep, in the order in which it is tried. */
export const CONFORMANCE_CHECKS: readonly ConformanceCheck[] = [
  ...ENDS,
  ...OUTPUT,
  ...OPTIONS,
  ...FILES,
  ...INSTALL,
  ...SANDBOXES,
  ...CANCEL,
  ...DURABLE,
  ...CLOUD,
];

export interface ConformanceOptions {
  /** Hears of each check when it begins, and when it has ended. */
  onStart?: (check: ConformanceCheck) => void;
  onResult?: (result: CheckResult) => void;
  /** Ends it: the check under way is given up, and everything is deleted all the same. */
  signal?: AbortSignal;
  /** Names of checks, or what several names begin with: those alone. */
  only?: readonly string[];
}

/**
 * Tries an adapter: every check, one after the other.
 *
 * Deletes every sandbox it made; `left_behind` names those that could not be. Throws `invalid_request` when `only`
 * names no check.
 */
export async function runConformance(
  target: ConformanceTarget,
  { onStart, onResult, signal, only }: ConformanceOptions = {},
): Promise<Scorecard> {
  const checks = chosenChecks(only);
  const session = new ConformanceSession(target);
  const results: CheckResult[] = [];
  const began = performance.now();
  for (const check of checks) {
    if (signal?.aborted) break;
    onStart?.(check);
    const result = await session.run(check, signal);
    results.push(result);
    onResult?.(result);
  }
  const left_behind = await session.close();
  const count = (outcome: CheckResult["outcome"]) =>
    results.filter((result) => result.outcome === outcome).length;
  return {
    provider: target.adapter.providerName,
    compute_id: target.computeId,
    results,
    passed: count("passed"),
    failed: count("failed"),
    skipped: count("skipped"),
    ms: Math.round(performance.now() - began),
    left_behind,
    ...(signal?.aborted && { interrupted: true as const }),
  };
}

/** The checks with these names; a name that no check has stands for those that begin with it. */
export function chosenChecks(only: readonly string[] | undefined): readonly ConformanceCheck[] {
  if (!only || only.length === 0) return CONFORMANCE_CHECKS;
  const chosen = new Set<ConformanceCheck>();
  for (const name of only) {
    const exact = CONFORMANCE_CHECKS.filter((check) => check.name === name);
    const meant =
      exact.length > 0 ? exact : CONFORMANCE_CHECKS.filter((check) => check.name.startsWith(name));
    if (meant.length === 0) {
      throw new CerverError("invalid_request", `No check is called “${name}”.`, {
        hint: `There are: ${CONFORMANCE_CHECKS.map((check) => check.name).join(", ")}.`,
      });
    }
    for (const check of meant) chosen.add(check);
  }
  return CONFORMANCE_CHECKS.filter((check) => chosen.has(check));
}
