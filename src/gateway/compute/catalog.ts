import type { FigureSource } from "../../protocol/providers.js";
import type { Limits, MeasuredStartup, ProviderProfile } from "./profile.js";

const BENCHMARK = {
  method:
    "time to interactive: the create call until a first `node -v` is done; 100 in sequence, 5 % trimmed at each end",
  source: "computesdk/benchmarks, sequential run of 2026-05-05 01:17 UTC",
  date: "2026-05-05",
  checked: true,
};
const measured = (p50: number, p95: number, p99: number): MeasuredStartup => ({
  p50,
  p95,
  p99,
  ...BENCHMARK,
});
const published = (ms: number, source: string, date: string): FigureSource & { ms: number } => ({
  ms,
  source,
  date,
  checked: true,
});
/** A price list that was known but not read again: the router uses it, and says so. */
const listPrice = (source: string, date: string): FigureSource => ({
  source: `${source}, list price; it and the usual size were not read again`,
  date,
  checked: false,
});

const NO_LIMITS: Limits = {
  maxLifetimeMinutes: null,
  freeMaxLifetimeMinutes: null,
  concurrency: null,
  freeConcurrency: null,
  ports: null,
  source: null,
};

/** What nobody's documents that were read say: a profile starts from here and states what it knows. */
const UNKNOWN = {
  packageInstall: null,
  publicPreview: null,
  persistence: null,
  desktop: null,
  browser: null,
  regions: null,
  purposes: [],
  price: null,
  limits: NO_LIMITS,
  startup: { published: null, measured: null },
  uptimePercent: null,
  credentials: [],
} as const;

/** All profiles. Being here makes a provider selectable; being in the registry makes it runnable. */
export const CATALOG: readonly ProviderProfile[] = [
  {
    ...UNKNOWN,
    provider: "p69",
    label: "Your own machines",
    kind: "live",
    // Every machine says for itself what it has; this is what holds for all of them.
    runtimes: ["shell", "node"],
    packageInstall: true,
    persistence: "high",
    purposes: ["coding"],
    price: {
      usdPerVcpuHour: 0,
      usdPerGbHour: 0,
      usdPerCreate: 0,
      defaultVcpus: 1,
      defaultGb: 1,
      source: "your own machine: nobody is paid",
      date: "2026-11-24",
      checked: true,
    },
  },
  {
    ...UNKNOWN,
    provider: "vercel",
    label: "Vercel Sandbox",
    kind: "live",
    runtimes: ["shell", "node", "python"],
    packageInstall: true,
    publicPreview: true,
    // Kept by name and resumed with the files of before, says the README of @vercel/sandbox 3.5.0.
    persistence: "medium",
    desktop: false,
    regions: [
      ...["iad1", "sfo1", "cle1", "cdg1", "fra1", "arn1", "sin1", "pdx1", "lhr1", "icn1", "bom1", "cpt1"],
      ...["dub1", "gru1", "hkg1", "syd1", "yul1", "hnd1", "kix1"],
    ],
    purposes: ["preview", "web", "nextjs"],
    price: {
      // Only the time in which the processor works is charged, so this is the most that it can be.
      usdPerVcpuHour: 0.128,
      usdPerGbHour: 0.0212,
      usdPerCreate: 0.0000006,
      defaultVcpus: 2,
      defaultGb: 4,
      ...listPrice("vercel.com/docs/vercel-sandbox/pricing", "2025-10"),
    },
    limits: {
      maxLifetimeMinutes: 24 * 60,
      freeMaxLifetimeMinutes: 45,
      concurrency: null,
      freeConcurrency: null,
      ports: 15,
      source: "@vercel/sandbox 3.5.0, README and types",
    },
    startup: {
      published: published(300, "getqpro.com's table, 200 to 400 ms, an estimate", "2026-04"),
      measured: measured(671, 1062, 1315),
    },
    credentials: ["vercel_token", "vercel_team_id", "vercel_project_id"],
  },
  {
    ...UNKNOWN,
    provider: "e2b",
    label: "E2B",
    kind: "live",
    runtimes: ["shell", "node", "python"],
    packageInstall: true,
    publicPreview: true,
    persistence: "medium",
    desktop: false,
    purposes: ["code-interpreter", "data", "agent"],
    price: {
      usdPerVcpuHour: 0.0504,
      usdPerGbHour: 0.0162,
      usdPerCreate: 0,
      defaultVcpus: 2,
      defaultGb: 1,
      source:
        "E2B's pricing, $0.0828 an hour for 1 vCPU and 2 GB; how it is split, and the usual size, were not read again",
      date: "2026-08-21",
      checked: false,
    },
    limits: {
      maxLifetimeMinutes: 24 * 60,
      freeMaxLifetimeMinutes: 60,
      concurrency: 100,
      freeConcurrency: 20,
      ports: null,
      source: "E2B's plans Hobby and Pro, 2026-08-21; lifetimes also in the types of e2b 2.51.0",
    },
    startup: {
      published: published(150, "E2B's pricing.json, cold_start_ms", "2026-08-21"),
      measured: measured(491, 685, 740),
    },
    credentials: ["e2b_api_key"],
  },
  {
    ...UNKNOWN,
    provider: "cloudflare",
    label: "Cloudflare Sandbox",
    kind: "live",
    // Python is in another image than the default one.
    runtimes: ["shell", "node"],
    packageInstall: true,
    publicPreview: true,
    // A container that sleeps loses its files.
    persistence: "low",
    desktop: false,
    purposes: ["web"],
    price: {
      usdPerVcpuHour: 0.072,
      usdPerGbHour: 0.009,
      usdPerCreate: 0,
      defaultVcpus: 0.25,
      defaultGb: 1,
      ...listPrice("developers.cloudflare.com/containers/pricing", "2025-10"),
    },
    startup: {
      published: published(50, "getqpro.com's table, under 50 ms", "2026-04"),
      measured: measured(2056, 2969, 3476),
    },
    credentials: ["cloudflare_sandbox_url", "cloudflare_sandbox_key"],
  },
  {
    ...UNKNOWN,
    provider: "daytona",
    label: "Daytona",
    kind: "modelled",
    runtimes: ["shell", "node", "python"],
    packageInstall: true,
    publicPreview: true,
    persistence: "medium",
    startup: {
      published: published(90, "particula.tech and stateset", "2026-08-20"),
      measured: measured(186, 492, 560),
    },
  },
  {
    ...UNKNOWN,
    provider: "modal",
    label: "Modal sandboxes",
    kind: "modelled",
    runtimes: ["shell", "node", "python"],
    packageInstall: true,
    publicPreview: true,
    persistence: "medium",
    limits: { ...NO_LIMITS, maxLifetimeMinutes: 24 * 60, source: "Modal's documentation, 2026-08" },
    startup: {
      published: published(600, "getqpro.com's table, from 600 ms", "2026-04"),
      measured: measured(1723, 2309, 2494),
    },
  },
  {
    ...UNKNOWN,
    provider: "fly",
    label: "Sprites (Fly)",
    kind: "modelled",
    runtimes: ["shell"],
    publicPreview: true,
    persistence: "high",
    startup: {
      published: published(1500, "Sprites' documentation, a cold start of 1 to 2 s", "2026-08-07"),
      measured: null,
    },
  },
  {
    ...UNKNOWN,
    provider: "runloop",
    label: "Runloop",
    kind: "modelled",
    runtimes: ["shell", "node"],
    startup: { published: null, measured: measured(1688, 1931, 1942) },
  },
  {
    ...UNKNOWN,
    provider: "codesandbox",
    label: "CodeSandbox",
    kind: "modelled",
    runtimes: ["shell", "node"],
    startup: { published: null, measured: measured(2486, 2784, 2903) },
  },
];

/** The profile of a provider, under its canonical name. */
export function profileOf(provider: string): ProviderProfile | undefined {
  return CATALOG.find((profile) => profile.provider === provider);
}
