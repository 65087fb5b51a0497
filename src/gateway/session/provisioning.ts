import { CerverError } from "../../protocol/errors.js";
import { isProviderHandle, type ProviderList, type ProviderName } from "../../protocol/providers.js";
import type { Attempt, Routing, RoutingDecision } from "../../protocol/routing.js";
import { sessionVariables } from "../../protocol/session-variables.js";
import type { CreateSessionRequest, Metadata } from "../../protocol/sessions.js";
import type { Logger } from "../../util/logger.js";
import type { CloudProviders } from "../compute/cloud-providers.js";
import type { Computes } from "../compute/computes.js";
import type { ProviderEnv, SandboxRecord } from "../compute/contract.js";
import type { ProviderProfile } from "../compute/profile.js";
import type { ProviderRegistry } from "../compute/registry.js";
import type { Database } from "../store/schema.js";
import { type Costs, proposedSandbox } from "./costs.js";
import { round } from "./metrics.js";
import type { Orphans } from "./orphans.js";
import { outcomeOf } from "./routing/breaker.js";
import { GENERAL } from "./routing/measurements.js";
import { providerStatus } from "./routing/provider-status.js";
import { noCompute } from "./routing/recommendation.js";
import { unrehearsed } from "./routing/rehearsed.js";
import { type Candidate, type RouterInput, type RouterResult, route } from "./routing/router.js";
import type { AccountMemory, RoutingMemory } from "./routing/routing-memory.js";
import { DEFAULT_MINUTES } from "./routing/wishes.js";
import { refuseSecretsAt } from "./secret-references.js";

/** How long a create may take in all, and one attempt of it while others are left. */
const PROVISION_TIMEOUT_MS = 90_000;
const ATTEMPT_TIMEOUT_MS = 30_000;
/** How long an adapter is waited for that was told to stop: often it is done at once, and says how it went. */
const UNDO_MS = 1_000;

export interface ProvisioningDeps {
  db: Database;
  computes: Computes;
  clouds: CloudProviders;
  providers: ProviderRegistry;
  catalog: readonly ProviderProfile[];
  memory: RoutingMemory;
  costs: Costs;
  orphans: Orphans;
  /** The address to put into commands that people paste. */
  gatewayUrl: () => string;
  logger: Logger;
  now: () => number;
}

/** A session that is to get a compute. */
export interface ProvisionOrder {
  accountId: string;
  sessionId: string;
  request: CreateSessionRequest;
  /** As it goes to the compute, values of variables included. */
  metadata: Metadata;
  signal: AbortSignal;
}

/** A session's compute, and how it came by it. */
export interface Provisioned {
  /** The stretch of compute that it is charged as. */
  useId: string;
  provider: string;
  computeId: string;
  sandboxId: string;
  provisionTimeMs: number;
  predictedStartupMs: number | null;
  routing: Routing;
  decision: RoutingDecision;
  attempts: Attempt[];
}

/** Finds a session its compute: asks the router, then tries what it says, in turn, until one has made a sandbox. */
export class Provisioning {
  readonly #deps: ProvisioningDeps;

  constructor(deps: ProvisioningDeps) {
    this.#deps = deps;
  }

  /** What the router says of a request now. Nothing is made. */
  async recommend(accountId: string, request: CreateSessionRequest): Promise<RouterResult> {
    return route(await this.#input(accountId, request));
  }

  /** What the account can do with each provider now. */
  async providers(accountId: string): Promise<ProviderList["providers"]> {
    const input = await this.#input(accountId, {}, "all");
    const { candidates } = route(input);
    return this.#deps.catalog.map((profile) =>
      providerStatus(profile, input, candidates, this.#deps.gatewayUrl()),
    );
  }

  /**
   * Makes a sandbox for a session.
   *
   * Fails with `no_compute` and a report when nothing fits, and with the last attempt's failure and all attempts in
   * its details when nothing that fits could make one. What an attempt may have left is ended, or kept as an orphan.
   */
  async provision(order: ProvisionOrder): Promise<Provisioned> {
    const { accountId, request, signal } = order;
    const input = await this.#input(accountId, request);
    const result = route(input);
    const counting = request.policy?.canary
      ? this.#deps.memory.countedCanary(accountId, input.memory, result.routing.canary_run)
      : undefined;
    await counting;
    if (!result.chosen) throw noCompute(result, input, this.#deps.gatewayUrl());
    const until = performance.now() + PROVISION_TIMEOUT_MS;
    const attempts: Attempt[] = [];
    let failure: CerverError | undefined;
    for (const [index, candidate] of result.order.entries()) {
      const isLast = index === result.order.length - 1;
      const leftMs = Math.ceil(until - performance.now());
      if (leftMs <= 0) break;
      try {
        const admitted = await this.#deps.memory.admit(accountId, candidate.key);
        if (!admitted && !result.decision.named) throw leftOut(candidate);
        const made = await this.#attempt(
          order,
          candidate,
          isLast ? leftMs : Math.min(leftMs, ATTEMPT_TIMEOUT_MS),
        );
        attempts.push(toAttempt(candidate, made.provisionTimeMs));
        return {
          ...made,
          provider: candidate.provider,
          predictedStartupMs: candidate.estimates.startup?.p50_ms ?? null,
          routing: index === 0 ? result.routing : fallenBack(result, candidate, attempts),
          decision: result.decision,
          attempts,
        };
      } catch (error) {
        if (signal.aborted || !(error instanceof CerverError)) throw error;
        failure = error;
        attempts.push(toAttempt(candidate, 0, error));
        // A mistake of the caller would be one everywhere.
        if (error.code === "invalid_request") break;
      }
    }
    throw withAttempts(failure!, attempts);
  }

  async #attempt(
    { accountId, sessionId, request, metadata, signal }: ProvisionOrder,
    candidate: Candidate,
    timeoutMs: number,
  ): Promise<Pick<Provisioned, "useId" | "computeId" | "sandboxId" | "provisionTimeMs">> {
    const { costs, orphans } = this.#deps;
    const adapter = this.#deps.providers.get(candidate.provider as ProviderName);
    if (!adapter) throw new Error(`the router chose ${candidate.provider}, which has no adapter`);
    refuseSecretsAt(candidate.provider, { envs: sessionVariables(metadata) });
    const computeId = candidate.compute_id ?? candidate.key;
    const reservedUsd = candidate.estimates.cost?.usd ?? 0;
    const useId = await costs.admit({
      accountId,
      sessionId,
      provider: candidate.provider,
      computeId,
      reservedUsd,
    });
    const env: ProviderEnv = {
      accountId,
      computeId,
      signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
      credentials: {},
    };
    // Its id is ours where the compute lets it be: then a create whose answer is lost can be undone.
    const proposed = proposedSandbox(useId);
    const began = performance.now();
    const creating = adapter.createSandbox(
      {
        engine: "shell",
        sandbox_id: proposed,
        metadata: { ...metadata, cerver_session_id: sessionId },
        ...lifetime(request, computeId),
      },
      env,
    );
    let record: SandboxRecord;
    try {
      record = await inTime(creating, env.signal);
    } catch (error) {
      const failure = timelyFailure(error, candidate, timeoutMs, signal);
      const orphan = mayHaveMade(failure, env.signal)
        ? await orphans.keepLost({ accountId, sessionId, adapter, computeId, proposed, why: failure.message })
        : undefined;
      // The orphan first: a gateway that is killed in between finds one of the two at its next start.
      await costs.discard(useId);
      if (orphan) orphans.endAfter(creating, orphan);
      await this.#learn(accountId, candidate, request, failure);
      throw failure;
    }
    const provisionTimeMs = round(performance.now() - began);
    await costs.began(useId, record.sandboxId);
    await this.#learn(accountId, candidate, request, provisionTimeMs);
    return { useId, computeId, sandboxId: record.sandboxId, provisionTimeMs };
  }

  /** What a create showed: how long it took, or how it failed. */
  async #learn(
    accountId: string,
    { key: candidate, provider }: Candidate,
    request: CreateSessionRequest,
    shown: number | CerverError,
  ): Promise<void> {
    const { memory, now } = this.#deps;
    const about = { candidate, provider, workload: request.workload || GENERAL, at: now() };
    if (typeof shown === "number") {
      await memory.observed(accountId, { ...about, startupMs: shown, ok: true });
      return memory.outcome(accountId, candidate, { kind: "ok" });
    }
    const retryAfter = shown.details?.retry_after_ms;
    const outcome = outcomeOf(shown.code, typeof retryAfter === "number" ? retryAfter : undefined);
    if (!outcome) return;
    if (outcome.kind === "failed") await memory.observed(accountId, { ...about, ok: false });
    await memory.outcome(accountId, candidate, outcome);
  }

  async #input(
    accountId: string,
    request: CreateSessionRequest,
    of: "all" | "offered" = "offered",
  ): Promise<RouterInput & { memory: AccountMemory }> {
    const { computes, clouds, providers, catalog, memory, now } = this.#deps;
    const [own, enabled, known, activeRuns] = await Promise.all([
      computes.list(accountId),
      clouds.list(accountId),
      memory.of(accountId),
      this.#activeRuns(accountId),
    ]);
    const offered = of === "all" ? catalog : unrehearsed(catalog, request, own, enabled);
    const credentials = new Set(enabled.map(({ provider }) => provider));
    return {
      request,
      computes: own,
      catalog: offered,
      access: new Map(
        offered.map(({ provider }) => [
          provider,
          { adapter: providers.has(provider as ProviderName), credentials: credentials.has(provider) },
        ]),
      ),
      activeRuns,
      measurements: known.measurements,
      breakers: known.breakers,
      canaries: known.canaries,
      memory: known,
      now: now(),
      chance: Math.random(),
    };
  }

  async #activeRuns(accountId: string): Promise<Map<string, number>> {
    const rows = await this.#deps.db
      .selectFrom("runs")
      .select(({ fn }) => ["compute_id", fn.countAll<number>().as("count")])
      .where("account_id", "=", accountId)
      .where("ended_at", "is", null)
      .where("compute_id", "is not", null)
      .groupBy("compute_id")
      .execute();
    return new Map(rows.map(({ compute_id, count }) => [compute_id!, Number(count)]));
  }
}

/** What a create gives; rejects when nobody waits for it any longer, whatever becomes of it. */
async function inTime<T>(creating: Promise<T>, signal: AbortSignal): Promise<T> {
  let onAbort = () => {};
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => setTimeout(() => reject(signal.reason), UNDO_MS);
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([creating, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** When a session on a compute ends by itself, in milliseconds from its start. A vendor's sandbox always has an end. */
export function lifetimeMs({ requirements }: CreateSessionRequest, computeId: string): number | null {
  const minutes =
    requirements?.timeout_minutes ?? (isProviderHandle(computeId) ? DEFAULT_MINUTES : undefined);
  return minutes === undefined ? null : minutes * 60_000;
}

function lifetime(request: CreateSessionRequest, computeId: string): { timeout_ms?: number } {
  const ms = lifetimeMs(request, computeId);
  return ms === null ? {} : { timeout_ms: ms };
}

/** A create that was refused made nothing; one whose answer never came, or that nobody waited for, may have. */
function mayHaveMade({ code }: CerverError, { aborted }: AbortSignal): boolean {
  return aborted || ["compute_lost", "timed_out", "provider_failed", "internal"].includes(code);
}

/** What a failed create is called: a vendor's own failure, or that it took too long. */
function timelyFailure(
  error: unknown,
  { label }: Candidate,
  timeoutMs: number,
  caller: AbortSignal,
): CerverError {
  if (error instanceof CerverError) return error;
  if (caller.aborted || (error as Error)?.name === "TimeoutError") {
    return new CerverError(
      "timed_out",
      `${label} made no sandbox within ${Math.round(timeoutMs / 1000)} s.`,
      {
        hint: "Try again, or let another provider do it.",
        cause: error,
      },
    );
  }
  return new CerverError(
    "provider_failed",
    `${label} could not make a sandbox: ${(error as Error)?.message ?? error}.`,
    {
      hint: "Try again, or let another provider do it.",
      cause: error,
    },
  );
}

/** The routing of a session that its first choice could not take. */
function fallenBack(result: RouterResult, candidate: Candidate, attempts: readonly Attempt[]): Routing {
  const failed = attempts.filter(({ ok }) => !ok).map(({ label, error }) => `${label} could not: ${error}`);
  const at = result.order.indexOf(candidate);
  return {
    ...result.routing,
    primary_reason: `${candidate.label} took it after ${failed.length === 1 ? "another candidate" : `${failed.length} others`} could not`,
    secondary_reasons: [...failed, ...candidate.reasons].slice(0, 6),
    fallback_order: [...new Set(result.order.slice(at + 1).map(({ provider }) => provider))],
  };
}

/** Another create is its probe just now, or it was left out since the router looked. */
function leftOut({ label }: Candidate): CerverError {
  return new CerverError(
    "provider_failed",
    `${label} is left out for now: creates there have been failing.`,
    {
      hint: "Try again in a minute, or name it to try it all the same.",
      details: { retry_after_ms: 30_000 },
    },
  );
}

function toAttempt({ key, provider, label }: Candidate, ms: number, error?: CerverError): Attempt {
  return {
    candidate: key,
    provider,
    label,
    ok: error === undefined,
    ...(error ? { code: error.code, error: error.message } : { provision_time_ms: ms }),
  };
}

function withAttempts(failure: CerverError, attempts: Attempt[]): CerverError {
  const { code, message, hint, details } = failure;
  return new CerverError(code, message, {
    ...(hint && { hint }),
    details: { ...details, attempts },
    cause: failure,
  });
}
