import { setMaxListeners } from "node:events";
import { CerverError } from "../../../protocol/errors.js";
import type { ProviderEnv, SandboxRecord } from "../contract.js";
import {
  CheckFailed,
  CheckSkipped,
  type ConformanceCheck,
  type ConformanceTarget,
  DEFAULT_CHECK_SECONDS,
} from "./check.js";
import { CheckContext } from "./context.js";
import type { CheckResult } from "./scorecard.js";

/** How long deleting what checks made may take, in milliseconds. */
const CLEANUP_MS = 30_000;

/** Checks of one target, one after the other, and the sandboxes that they make. */
export class ConformanceSession {
  readonly #target: ConformanceTarget;
  readonly #made = new Map<string, SandboxRecord>();
  #shared: Promise<SandboxRecord> | undefined;

  constructor(target: ConformanceTarget) {
    this.#target = target;
  }

  /** Runs a check. What it made for itself is deleted; after a failure the shared sandbox is too. */
  async run(check: ConformanceCheck, signal?: AbortSignal): Promise<CheckResult> {
    const own: SandboxRecord[] = [];
    const seconds = check.seconds ?? DEFAULT_CHECK_SECONDS;
    const limit = new AbortController();
    const timer = setTimeout(
      () => limit.abort(new CheckFailed(`It took longer than ${seconds} s.`)),
      seconds * 1000,
    );
    const ended = signal ? AbortSignal.any([limit.signal, signal]) : limit.signal;
    // Ten calls at once may each listen to it, and adapters do so more than once a call.
    setMaxListeners(200, ended);
    const context = new CheckContext(
      this.#target,
      {
        shared: (env) => this.#theShared(env),
        fresh: async (env, metadata) => {
          const record = await this.#create(env, metadata);
          own.push(record);
          return record;
        },
        forget: ({ sandboxId }) => this.#made.delete(sandboxId),
      },
      ended,
    );
    const began = performance.now();
    const { name, about } = check;
    const result = (outcome: CheckResult["outcome"], why?: string): CheckResult => ({
      name,
      about,
      outcome,
      ms: Math.round(performance.now() - began),
      ...(why !== undefined && { why }),
    });
    try {
      await unlessAborted(check.run(context), ended);
      return result("passed");
    } catch (error) {
      if (error instanceof CheckSkipped) return result("skipped", error.message);
      await this.#dropShared();
      if (signal?.aborted) return result("failed", "It was interrupted.");
      return result("failed", words(limit.signal.aborted ? limit.signal.reason : error));
    } finally {
      clearTimeout(timer);
      // Calls that nobody waits for any more end too.
      limit.abort(new CheckFailed("The check is over."));
      for (const record of own) await this.#delete(record);
    }
  }

  /** Deletes everything that is still there. Returns a sentence for each sandbox that could not be deleted. */
  async close(): Promise<string[]> {
    const left: string[] = [];
    for (const record of [...this.#made.values()]) {
      const why = await this.#delete(record);
      if (why) left.push(`Sandbox ${record.sandboxId} is still there: ${why}`);
    }
    return left;
  }

  async #create(env: ProviderEnv, metadata: Record<string, unknown>): Promise<SandboxRecord> {
    // A create that nobody waits for any more is waited for all the same: its sandbox has to be known to be deleted.
    const record = await this.#target.adapter.createSandbox(
      { engine: "shell", timeout_ms: 15 * 60_000, metadata },
      env,
    );
    this.#made.set(record.sandboxId, record);
    return record;
  }

  #theShared(env: ProviderEnv): Promise<SandboxRecord> {
    this.#shared ??= this.#create(env, {}).catch((error: unknown) => {
      this.#shared = undefined;
      throw error;
    });
    return this.#shared;
  }

  async #dropShared(): Promise<void> {
    const record = await this.#shared?.catch(() => undefined);
    this.#shared = undefined;
    if (record) await this.#delete(record);
  }

  /** Deletes a sandbox, within bounds; says why when it could not. */
  async #delete(record: SandboxRecord): Promise<string | undefined> {
    if (!this.#made.has(record.sandboxId)) return undefined;
    const { adapter, computeId, credentials } = this.#target;
    const signal = AbortSignal.timeout(CLEANUP_MS);
    try {
      const deleting = adapter.deleteSandbox(record, { computeId, credentials, signal });
      const response = await unlessAborted(deleting, signal);
      if (response.status >= 400) return `${response.status} ${(await response.text()).slice(0, 200)}`;
      this.#made.delete(record.sandboxId);
      return undefined;
    } catch (error) {
      return words(error);
    }
  }
}

/** Waits, but not for longer than the signal lets it. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}

function words(error: unknown): string {
  if (error instanceof CheckFailed) return error.message;
  if (error instanceof CerverError)
    return `The adapter failed with ${error.code}: ${error.message}${error.hint ? ` ${error.hint}` : ""}`;
  return `The adapter threw ${error instanceof Error ? (error.stack ?? String(error)) : String(error)}`;
}
