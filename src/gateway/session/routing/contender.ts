import type { Compute } from "../../../protocol/computes.js";
import { providerHandle } from "../../../protocol/providers.js";
import type { ProviderProfile } from "../../compute/profile.js";

/** What a gateway and an account have of a cloud provider. */
export interface ProviderAccess {
  /** This gateway can reach it. */
  adapter: boolean;
  /** This account gave credentials for it. */
  credentials: boolean;
}

/**
 * One compute of the account, or one cloud provider as a whole, as the router sees it.
 *
 * A fact is null when nothing says so: a machine that does not speak of browsers, a vendor whose documents do not.
 */
export interface Contender {
  /** `cmp_…`, or `provider_…`. */
  key: string;
  provider: string;
  label: string;
  computeId: string | undefined;
  profile: ProviderProfile | undefined;
  /** Why it is out of reach whatever is asked: undefined when it is there. */
  away: "offline" | "modelled_only" | "no_adapter" | "no_credentials" | undefined;
  runtimes: readonly string[] | null;
  packageInstall: boolean | null;
  publicPreview: boolean | null;
  persistence: "none" | "low" | "medium" | "high" | null;
  desktop: boolean | null;
  browser: boolean | null;
  regions: readonly string[] | null;
  labels: Readonly<Record<string, unknown>>;
  maxMinutes: number | null;
  /** Processors, where it says how many; a cloud provider grows as needed. */
  cpus: number | null;
}

/** All that could be chosen: every compute, and every provider that is not a person's own machines. */
export function contenders(
  computes: readonly Compute[],
  catalog: readonly ProviderProfile[],
  access: ReadonlyMap<string, ProviderAccess>,
): Contender[] {
  const profiles = new Map<string, ProviderProfile>(catalog.map((profile) => [profile.provider, profile]));
  return [
    ...computes.map((compute) => ofCompute(compute, profiles.get(compute.provider))),
    ...catalog
      .filter(({ provider }) => provider !== "p69")
      .map((profile) => ofProvider(profile, access.get(profile.provider))),
  ];
}

function ofCompute(compute: Compute, profile: ProviderProfile | undefined): Contender {
  const says = compute.capabilities ?? {};
  const facts = compute.metadata ?? {};
  const region = text(facts.region);
  return {
    key: compute.compute_id,
    provider: compute.provider,
    label: compute.label,
    computeId: compute.compute_id,
    profile,
    away: compute.status === "ready" ? undefined : "offline",
    runtimes: Array.isArray(says.runtimes) ? says.runtimes.filter((one) => typeof one === "string") : null,
    packageInstall: flag(says.package_install) ?? profile?.packageInstall ?? null,
    // A machine that does not speak of previews is one whose relay does not know them.
    publicPreview: flag(says.public_preview) ?? false,
    persistence: level(says.persistence) ?? profile?.persistence ?? null,
    desktop: flag(says.desktop),
    browser: flag(says.browser),
    regions: region === null ? null : [region],
    labels: record(compute.labels) ?? record(facts.labels) ?? {},
    maxMinutes: null,
    cpus: typeof facts.cpus === "number" && facts.cpus > 0 ? facts.cpus : null,
  };
}

function ofProvider(profile: ProviderProfile, access: ProviderAccess | undefined): Contender {
  return {
    key: providerHandle(profile.provider),
    provider: profile.provider,
    label: profile.label,
    computeId: undefined,
    profile,
    away: awayOf(profile, access),
    runtimes: profile.runtimes,
    packageInstall: profile.packageInstall,
    publicPreview: profile.publicPreview,
    persistence: profile.persistence,
    desktop: profile.desktop,
    browser: profile.browser,
    regions: profile.regions,
    labels: {},
    maxMinutes: profile.limits.maxLifetimeMinutes,
    cpus: null,
  };
}

function awayOf(profile: ProviderProfile, access: ProviderAccess | undefined): Contender["away"] {
  if (profile.kind === "modelled") return "modelled_only";
  if (!access?.adapter) return "no_adapter";
  return access.credentials ? undefined : "no_credentials";
}

function flag(value: unknown): boolean | null {
  return typeof value === "boolean" ? value : null;
}

function text(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}

function record(value: unknown): Record<string, unknown> | null {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : null;
}

function level(value: unknown): Contender["persistence"] {
  return value === "none" || value === "low" || value === "medium" || value === "high" ? value : null;
}
