import { CerverError } from "../../../protocol/errors.js";
import { canonicalProvider, providerOfHandle } from "../../../protocol/providers.js";
import type { RoutingMode } from "../../../protocol/routing.js";
import type { CreateSessionRequest } from "../../../protocol/sessions.js";
import type { ProviderProfile } from "../../compute/profile.js";
import { GENERAL } from "./measurements.js";

/** The part of a create request that a router acts on. */
export type RoutedRequest = Pick<
  CreateSessionRequest,
  "task" | "workload" | "repo" | "requirements" | "policy" | "target_compute_id" | "compute"
>;

/** A session's lifetime for the cost, when the request gives none. */
export const DEFAULT_MINUTES = 5;

/** What a request wants, once its names are understood. */
export interface Wishes {
  /** The one compute that is asked for by its id. */
  computeId: string | undefined;
  /** The providers that may be used; undefined for all. */
  providers: ReadonlySet<string> | undefined;
  /** Named by id, by handle or by a pin: the caller chose, so no canary, no fallback, and no breaker in the way. */
  named: boolean;
  mode: RoutingMode;
  workload: string;
  /** Words of the repo that say what it needs, in lower case. */
  signals: readonly string[];
  minutes: number;
  requirements: NonNullable<RoutedRequest["requirements"]>;
  policy: NonNullable<RoutedRequest["policy"]>;
}

/** Reads a request. Throws `invalid_request` for a policy that nobody can follow. */
export function wishesOf(request: RoutedRequest, catalog: readonly ProviderProfile[]): Wishes {
  const { policy = {}, requirements = {}, repo, workload } = request;
  const target = request.target_compute_id ?? request.compute?.compute_id;
  const handle = target === undefined ? undefined : providerOfHandle(target);
  const computeId = handle === undefined ? target : undefined;
  const one = oneProvider(request, handle, catalog);
  const named = computeId !== undefined || one !== undefined;
  const allowed = (policy.allowed_providers ?? []).map((name) =>
    known("policy.allowed_providers", name, catalog),
  );
  return {
    computeId,
    providers: one !== undefined ? new Set([one]) : allowed.length > 0 ? new Set(allowed) : undefined,
    named,
    mode: policy.mode ?? "balanced",
    workload: workload || GENERAL,
    signals: [...(repo?.signals ?? []), ...(repo?.languages ?? []), repo?.framework ?? ""]
      .filter((word) => word !== "")
      .map((word) => word.toLowerCase()),
    minutes: requirements.timeout_minutes ?? DEFAULT_MINUTES,
    requirements,
    policy,
  };
}

/** The only provider that a handle, `compute.provider` or a pin leaves. */
function oneProvider(
  { policy, compute, target_compute_id: target }: RoutedRequest,
  handle: string | undefined,
  catalog: readonly ProviderProfile[],
): string | undefined {
  if (policy?.mode === "pinned" && !policy.pinned_provider) {
    throw new CerverError(
      "invalid_request",
      "policy.mode is pinned, but policy.pinned_provider is missing.",
      { hint: 'Name the provider, for example "pinned_provider": "p69".' },
    );
  }
  if (handle !== undefined) {
    return known(target === undefined ? "compute.compute_id" : "target_compute_id", handle, catalog);
  }
  if (compute?.provider) return known("compute.provider", compute.provider, catalog);
  if (policy?.mode === "pinned") return known("policy.pinned_provider", policy.pinned_provider!, catalog);
  return undefined;
}

function known(field: string, name: string, catalog: readonly ProviderProfile[]): string {
  const provider = canonicalProvider(name);
  if (catalog.some((profile) => profile.provider === provider)) return provider;
  throw new CerverError("invalid_request", `${field}: there is no provider called "${name}".`, {
    hint: `Known providers: ${catalog.map((profile) => profile.provider).join(", ")}.`,
  });
}
