import type { Env } from "../util/paths.js";
import {
  type ConformanceOptions,
  chosenChecks,
  runConformance,
  type Scorecard,
} from "./compute/conformance.js";
import { openAdapter } from "./compute/open-adapter.js";

export type { CheckResult, ConformanceOptions, Scorecard } from "./compute/conformance.js";

/** How long deleting the first sandbox may take, in milliseconds. */
const DELETE_MS = 30_000;

export interface TryProviderOptions extends ConformanceOptions {
  /** Hears how many checks there will be. */
  onCount?: (checks: number) => void;
}

/**
 * Tries a provider's adapter with the credentials of the environment, without a gateway.
 *
 * Throws `invalid_request` when something is not set, and what the provider says when it gives no sandbox at all: then
 * every check would fail for that one reason.
 */
export async function tryProvider(
  name: string,
  variables: Env,
  { onCount, ...options }: TryProviderOptions = {},
): Promise<Scorecard> {
  const checks = chosenChecks(options.only);
  const { target, close } = await openAdapter(name, variables);
  try {
    const env = { ...target, signal: options.signal ?? new AbortController().signal };
    const first = await target.adapter.createSandbox({ engine: "shell", metadata: {} }, env);
    // A signal that has aborted since must not keep it there.
    await target.adapter.deleteSandbox(first, { ...env, signal: AbortSignal.timeout(DELETE_MS) });
    onCount?.(checks.length);
    return await runConformance(target, options);
  } finally {
    close();
  }
}
