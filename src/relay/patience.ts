import { setTimeout as sleep } from "node:timers/promises";
import { CerverError, type ErrorCode } from "../protocol/errors.js";
import { Backoff } from "../util/backoff.js";

const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;

/** What may be over by itself. */
const PASSING: readonly ErrorCode[] = [
  "gateway_unreachable",
  "provider_failed",
  "compute_offline",
  "too_many_requests",
  "timed_out",
  "internal",
];

export interface PatienceOptions {
  /** Hears of each failure, and how long the next attempt waits, in milliseconds. */
  onWait(error: CerverError, waitMs: number): void;
  signal: AbortSignal;
  /** More that may be over by itself. */
  passing?: readonly ErrorCode[] | undefined;
}

/**
 * Tries until it works, for a relay that nobody sits in front of: its gateway may start later than it does. Throws what
 * waiting does not mend, and the last failure when the signal aborts.
 */
export async function patiently<T>(
  attempt: () => Promise<T>,
  { onWait, signal, passing = [] }: PatienceOptions,
): Promise<T> {
  const backoff = new Backoff(FIRST_WAIT_MS, LONGEST_WAIT_MS);
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      const passes =
        error instanceof CerverError && (PASSING.includes(error.code) || passing.includes(error.code));
      if (!passes || signal.aborted) throw error;
      const waitMs = backoff.next();
      onWait(error, waitMs);
      await sleep(waitMs, undefined, { signal }).catch(() => {});
      if (signal.aborted) throw error;
    }
  }
}
