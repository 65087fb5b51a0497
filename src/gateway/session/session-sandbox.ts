import { isProviderHandle, type ProviderName } from "../../protocol/providers.js";
import type { Logger } from "../../util/logger.js";
import { type ReachedSandbox, registeredName } from "../compute/contract.js";
import type { ProviderRegistry } from "../compute/registry.js";
import type { Orphans } from "./orphans.js";
import type { Session } from "./session-record.js";

/** How long the end of a session waits for the compute to end the sandbox. */
const END_TIMEOUT_MS = 15_000;

/** Where a session's sandbox is. */
export type SandboxPlace = Pick<Session, "account_id" | "id" | "provider" | "compute_id" | "sandbox_id">;

export type PlacedSandbox = Pick<ReachedSandbox, "adapter" | "record">;

/** A session's sandbox and the adapter for it. Undefined for a session that has none. */
export function placed(
  providers: ProviderRegistry,
  { provider, compute_id, sandbox_id }: SandboxPlace,
): PlacedSandbox | undefined {
  const adapter = providers.get(provider as ProviderName);
  if (!adapter || compute_id === null || sandbox_id === null) return undefined;
  return {
    adapter,
    record: { sandboxId: sandbox_id, computeId: compute_id, provider: adapter.providerName },
  };
}

/** The sandboxes that sessions have: reaching one, and ending it for good. */
export class SessionSandboxes {
  readonly #deps: { providers: ProviderRegistry; orphans: Orphans; logger: Logger };

  constructor(deps: { providers: ProviderRegistry; orphans: Orphans; logger: Logger }) {
    this.#deps = deps;
  }

  /** Undefined for a session that has none. */
  reach(place: SandboxPlace, signal: AbortSignal): ReachedSandbox | undefined {
    const sandbox = placed(this.#deps.providers, place);
    if (!sandbox) return undefined;
    const { computeId } = sandbox.record;
    return { ...sandbox, env: { accountId: place.account_id, computeId, signal, credentials: {} } };
  }

  /** Ends a sandbox. One that cannot be reached now is ended as soon as it can be: the session goes on all the same. */
  async end(place: SandboxPlace): Promise<void> {
    const reached = this.reach(place, AbortSignal.timeout(END_TIMEOUT_MS));
    if (!reached) return;
    const { adapter, record, env } = reached;
    try {
      const response = await adapter.deleteSandbox(record, env);
      await response.body?.cancel();
      if (response.ok || response.status === 404) return;
      throw new Error(`HTTP ${response.status}`);
    } catch (error) {
      this.#deps.logger.warn(
        { err: error, compute_id: record.computeId, sandbox_id: record.sandboxId },
        "a sandbox could not be ended yet",
      );
      await this.#deps.orphans.keep({
        accountId: place.account_id,
        sessionId: place.id,
        provider: registeredName(adapter),
        computeId: record.computeId,
        sandboxId: record.sandboxId,
        why: error instanceof Error ? error.message : String(error),
      });
    }
  }

  /** Whether a sandbox can rest with its files: one's own machine keeps them, some vendors do. */
  canRest({ provider, compute_id }: SandboxPlace): boolean {
    if (compute_id === null || !isProviderHandle(compute_id)) return true;
    const cloud = this.#deps.providers.get(provider as ProviderName)?.cloud;
    return cloud?.suspend !== undefined && cloud.wake !== undefined;
  }
}
