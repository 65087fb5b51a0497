import type {
  FigureSource,
  ModelledProviderName,
  ProfileView,
  ProviderName,
  RehearsalName,
} from "../../protocol/providers.js";

/**
 * What the router and the list of providers know of a provider, whether or not it can run here.
 *
 * Null is an answer: no source gives the figure, and nothing stands in for it.
 */
export interface ProviderProfile {
  readonly provider: ProviderName | ModelledProviderName | RehearsalName;
  readonly label: string;
  /** Reached by an adapter contract of this gateway, known for comparison only, or played from a recording. */
  readonly kind: "live" | "modelled" | "rehearsal";
  readonly runtimes: readonly string[];
  readonly packageInstall: boolean | null;
  readonly publicPreview: boolean | null;
  readonly persistence: "low" | "medium" | "high" | null;
  readonly desktop: boolean | null;
  readonly browser: boolean | null;
  readonly regions: readonly string[] | null;
  /** Workloads that the vendor's own documents say it is made for. */
  readonly purposes: readonly string[];
  readonly price: Price | null;
  readonly limits: Limits;
  readonly startup: {
    readonly published: (FigureSource & { readonly ms: number }) | null;
    readonly measured: MeasuredStartup | null;
  };
  readonly uptimePercent: number | null;
  /** Names of the credentials that its adapter takes; none for one's own machines. */
  readonly credentials: readonly string[];
}

/** A price list boiled down to what time costs: the most that a busy sandbox of this size is charged. */
export interface Price extends FigureSource {
  readonly usdPerVcpuHour: number;
  readonly usdPerGbHour: number;
  readonly usdPerCreate: number;
  /** The size a sandbox has when nobody asks for another. */
  readonly defaultVcpus: number;
  readonly defaultGb: number;
}

/** `free` figures hold for accounts that do not pay; the others are the most that any plan gives. */
export interface Limits {
  readonly maxLifetimeMinutes: number | null;
  readonly freeMaxLifetimeMinutes: number | null;
  readonly concurrency: number | null;
  readonly freeConcurrency: number | null;
  readonly ports: number | null;
  readonly source: string | null;
}

export interface MeasuredStartup extends FigureSource {
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly method: string;
}

/** Dollars for a sandbox that lives this long. The size is the provider's usual one unless it is given. */
export function costUsd(
  price: Price,
  seconds: number,
  vcpus: number = price.defaultVcpus,
  gb: number = price.defaultGb,
): number {
  return price.usdPerCreate + (seconds / 3600) * (vcpus * price.usdPerVcpuHour + gb * price.usdPerGbHour);
}

/** What makes a provider usable, as commands to paste, the shortest first. */
export function enableCommands(profile: ProviderProfile, gatewayUrl: string): string[] {
  if (profile.provider === "p69") return [`cerver relay --gateway ${gatewayUrl}`];
  if (profile.kind !== "live") return [];
  const credentials = Object.fromEntries(profile.credentials.map((name) => [name, "..."]));
  return [
    `cerver provider enable ${profile.provider}`,
    [
      `curl -X POST ${gatewayUrl}/v2/account/providers -H "Authorization: Bearer $CERVER_API_TOKEN"`,
      `-H "Content-Type: application/json" -d '${JSON.stringify({ provider: profile.provider, credentials })}'`,
    ].join(" "),
  ];
}

/** The profile as `GET /gateway/providers` shows it. */
export function profileView(profile: ProviderProfile, gatewayUrl: string): ProfileView {
  const { price, limits, startup } = profile;
  return {
    provider: profile.provider,
    label: profile.label,
    kind: profile.kind,
    runtimes: [...profile.runtimes],
    package_install: profile.packageInstall,
    public_preview: profile.publicPreview,
    persistence: profile.persistence,
    desktop: profile.desktop,
    browser: profile.browser,
    regions: profile.regions && [...profile.regions],
    purposes: [...profile.purposes],
    cost: price && {
      usd_per_vcpu_hour: price.usdPerVcpuHour,
      usd_per_gb_hour: price.usdPerGbHour,
      usd_per_create: price.usdPerCreate,
      default_vcpus: price.defaultVcpus,
      default_gb: price.defaultGb,
      formula: "usd_per_create + hours x (vcpus x usd_per_vcpu_hour + gb x usd_per_gb_hour)",
      ...source(price),
    },
    limits: {
      max_lifetime_minutes: limits.maxLifetimeMinutes,
      free_max_lifetime_minutes: limits.freeMaxLifetimeMinutes,
      concurrency: limits.concurrency,
      free_concurrency: limits.freeConcurrency,
      ports: limits.ports,
      source: limits.source,
    },
    startup: {
      published: startup.published && { ms: startup.published.ms, ...source(startup.published) },
      measured: startup.measured && {
        p50_ms: startup.measured.p50,
        p95_ms: startup.measured.p95,
        p99_ms: startup.measured.p99,
        method: startup.measured.method,
        ...source(startup.measured),
      },
    },
    uptime_percent: profile.uptimePercent,
    credentials: [...profile.credentials],
    how_to_enable: enableCommands(profile, gatewayUrl),
  };
}

function source({ source, date, checked }: FigureSource): FigureSource {
  return { source, date, checked };
}
