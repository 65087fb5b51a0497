import type { ProviderName } from "../../../protocol/providers.js";

/** What became of one check. */
export interface CheckResult {
  name: string;
  /** What had to be true. */
  about: string;
  outcome: "passed" | "failed" | "skipped";
  ms: number;
  /** Why it failed, or does not apply. */
  why?: string;
}

/** What became of all of them. */
export interface Scorecard {
  provider: ProviderName;
  compute_id: string;
  results: CheckResult[];
  passed: number;
  failed: number;
  skipped: number;
  ms: number;
  /** The sandboxes that could not be deleted, and why: somebody has to. */
  left_behind: string[];
  /** Present when it was ended before all checks had run. */
  interrupted?: true;
}
