import { providerOfHandle } from "../../../protocol/providers.js";
import type { ProviderProfile } from "../../compute/profile.js";
import type { RoutedRequest } from "./wishes.js";

/**
 * The catalog for one request: rehearsals are in it when the request names one, or when the account has nothing that is
 * real. So work that is meant to be done never ends where nothing runs.
 */
export function unrehearsed(
  catalog: readonly ProviderProfile[],
  request: RoutedRequest,
  machines: readonly unknown[],
  enabled: readonly { provider: string }[],
): readonly ProviderProfile[] {
  const rehearsals = new Set<string>(
    catalog.filter(({ kind }) => kind === "rehearsal").map(({ provider }) => provider),
  );
  if (rehearsals.size === 0) return catalog;
  const hasReal = machines.length > 0 || enabled.some(({ provider }) => !rehearsals.has(provider));
  if (!hasReal || namesOf(request).some((name) => rehearsals.has(name))) return catalog;
  return catalog.filter(({ kind }) => kind !== "rehearsal");
}

function namesOf({ policy, compute, target_compute_id: target }: RoutedRequest): string[] {
  const handles = [target, compute?.compute_id].map((id) => id && providerOfHandle(id));
  return [
    ...(policy?.allowed_providers ?? []),
    policy?.pinned_provider,
    compute?.provider,
    ...handles,
  ].filter((name) => typeof name === "string");
}
