import type { Compute } from "../../protocol/computes.js";
import { CerverError } from "../../protocol/errors.js";
import { canonicalProvider } from "../../protocol/providers.js";
import type { CreateSessionRequest, Requirements, Routing } from "../../protocol/sessions.js";

/** A provider as the router sees it. */
export interface RoutableProvider {
  provider: string;
  label: string;
  /** Has an adapter in this gateway. */
  runnable: boolean;
  howToEnable: string;
}

export interface RouterInput {
  request: Pick<CreateSessionRequest, "target_compute_id" | "compute" | "policy" | "requirements">;
  /** All computes of the account, offline ones too. */
  computes: readonly Compute[];
  providers: readonly RoutableProvider[];
  /** Milliseconds that this account's last sessions on a compute took to provision, by compute id. */
  measuredStartupMs: ReadonlyMap<string, number>;
}

/** One compute or provider that was looked at, and what was found. */
export type Candidate = {
  provider: string;
  compute_id?: string;
  executable: boolean;
  /** 0 when it cannot be used; otherwise higher is better, 100 at most. */
  score: number;
  reasons: string[];
};

export type RouterResult =
  | { chosen: Compute; predictedStartupMs: number | null; routing: Routing; candidates: Candidate[] }
  | { chosen: undefined; why: string; candidates: Candidate[] };

/**
 * Chooses the compute of a new session: the one that was asked for, else the best ready one that policy and
 * requirements leave. Throws `invalid_request` for a policy that cannot be followed by anybody.
 */
export function route(input: RouterInput): RouterResult {
  const wanted = wantedCompute(input);
  const allowed = allowedProviders(input);
  const candidates = [
    ...input.computes.map((compute) => judge(compute, input, wanted, allowed)),
    ...input.providers
      .filter((provider) => provider.provider !== "p69")
      .map((provider) => judgeProvider(provider, allowed)),
  ];
  const best = candidates
    .filter((candidate) => candidate.executable)
    .sort((a, b) => b.score - a.score || a.compute_id!.localeCompare(b.compute_id!));
  const chosen = input.computes.find((compute) => compute.compute_id === best[0]?.compute_id);
  if (!chosen) return { chosen: undefined, why: whyNone(input, wanted, allowed), candidates };
  return {
    chosen,
    predictedStartupMs: input.measuredStartupMs.get(chosen.compute_id) ?? null,
    routing: {
      recommended_provider: chosen.provider,
      confidence: wanted || best.length === 1 ? "high" : "medium",
      primary_reason: primaryReason(chosen, input, wanted, best.length),
      secondary_reasons: best[0]!.reasons,
      fallback_order: [...new Set(best.slice(1).map((candidate) => candidate.provider))],
      canary_run: false,
    },
    candidates,
  };
}

/** The compute id that the request names, if it names one rather than a provider. */
function wantedCompute({ request }: RouterInput): string | undefined {
  const id = request.target_compute_id ?? request.compute?.compute_id;
  return id?.startsWith("provider_") ? undefined : id;
}

/** The providers that the request leaves, or undefined for all. */
function allowedProviders({ request, providers }: RouterInput): Set<string> | undefined {
  const { policy, target_compute_id: target, compute } = request;
  const known = (field: string, name: string) => {
    const provider = canonicalProvider(name);
    if (providers.some((profile) => profile.provider === provider)) return provider;
    throw new CerverError("invalid_request", `${field}: there is no provider called "${name}".`, {
      hint: `Known providers: ${providers.map((profile) => profile.provider).join(", ")}.`,
    });
  };
  if (policy?.mode === "pinned" && !policy.pinned_provider) {
    throw new CerverError(
      "invalid_request",
      "policy.mode is pinned, but policy.pinned_provider is missing.",
      {
        hint: 'Name the provider, for example "pinned_provider": "p69".',
      },
    );
  }
  if (target?.startsWith("provider_"))
    return new Set([known("target_compute_id", target.slice("provider_".length))]);
  if (compute?.provider) return new Set([known("compute.provider", compute.provider)]);
  if (policy?.mode === "pinned") return new Set([known("policy.pinned_provider", policy.pinned_provider!)]);
  if (!policy?.allowed_providers?.length) return undefined;
  return new Set(policy.allowed_providers.map((name) => known("policy.allowed_providers", name)));
}

function judge(
  compute: Compute,
  { request, measuredStartupMs }: RouterInput,
  wanted: string | undefined,
  allowed: Set<string> | undefined,
): Candidate {
  const predicted = measuredStartupMs.get(compute.compute_id);
  const limit = request.policy?.max_startup_ms;
  const refusals = [
    compute.status !== "ready" && `${compute.label} is offline`,
    wanted !== undefined && compute.compute_id !== wanted && "Another compute was asked for",
    wanted === undefined &&
      allowed &&
      !allowed.has(compute.provider) &&
      "Its provider is not allowed by the policy",
    ...unmet(request.requirements, compute),
    limit !== undefined &&
      predicted !== undefined &&
      predicted > limit &&
      `Startup is ${Math.round(predicted)} ms, over the ${limit} ms asked for`,
  ].filter((reason) => typeof reason === "string");
  const about = { provider: compute.provider, compute_id: compute.compute_id };
  if (refusals.length > 0) return { ...about, executable: false, score: 0, reasons: refusals };
  const reasons = [
    predicted === undefined
      ? "Startup not measured yet"
      : `Startup ${Math.round(predicted)} ms, measured on this account's own sessions`,
    ...met(request.requirements),
  ];
  return { ...about, executable: true, score: 100 - Math.min(50, (predicted ?? 100) / 100), reasons };
}

function judgeProvider(provider: RoutableProvider, allowed: Set<string> | undefined): Candidate {
  const excluded = allowed && !allowed.has(provider.provider);
  return {
    provider: provider.provider,
    executable: false,
    score: 0,
    reasons: [
      provider.runnable ? "No credentials for it on this account" : provider.howToEnable,
      ...(excluded ? ["Not allowed by the policy"] : []),
    ],
  };
}

/** The hard requirements that a compute says it does not have. */
function unmet(requirements: Requirements | undefined, compute: Compute): string[] {
  const { runtimes, desktop } = (compute.capabilities ?? {}) as { runtimes?: unknown; desktop?: unknown };
  const missing: string[] = [];
  const runtime = requirements?.runtime;
  if (runtime && Array.isArray(runtimes) && !runtimes.includes(runtime))
    missing.push(`It has no ${runtime} runtime`);
  if (requirements?.desktop && desktop === false) missing.push("It has no desktop");
  if (requirements?.public_preview) missing.push("Public preview is not available on it yet");
  return missing;
}

function met(requirements: Requirements | undefined): string[] {
  const { runtime, package_install: install } = requirements ?? {};
  return [
    ...(runtime ? [`It has the ${runtime} runtime`] : []),
    ...(install ? ["Packages can be installed"] : []),
  ];
}

function primaryReason(
  chosen: Compute,
  { request }: RouterInput,
  wanted: string | undefined,
  ready: number,
): string {
  if (wanted) return `${chosen.label} was asked for by its id`;
  if (request.policy?.mode === "pinned") return `The policy pins ${chosen.provider}`;
  return ready === 1 ? `${chosen.label} is the only ready compute` : `Best of ${ready} ready computes`;
}

function whyNone(input: RouterInput, wanted: string | undefined, allowed: Set<string> | undefined): string {
  if (input.computes.length === 0 && !allowed) return "No compute is attached to this account.";
  const named = wanted && input.computes.find((compute) => compute.compute_id === wanted);
  if (named && named.status !== "ready") return `The compute ${named.label} (${wanted}) is offline.`;
  if (wanted && !named) return `This account has no compute ${wanted}.`;
  const off = allowed && input.providers.filter((p) => allowed.has(p.provider) && p.provider !== "p69");
  if (off?.length === allowed?.size && off?.length) {
    return `${off.map((p) => p.label).join(" and ")} cannot be used by this account yet.`;
  }
  if (input.computes.length > 0 && input.computes.every((compute) => compute.status !== "ready")) {
    return "Every compute of this account is offline.";
  }
  return "No ready compute satisfies the requirements and the policy.";
}
