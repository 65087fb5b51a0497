import { z } from "zod";
import { Estimates } from "./routing.js";

/** Providers with an adapter contract, under their canonical names. */
export const PROVIDER_NAMES = ["p69", "vercel", "e2b", "cloudflare"] as const;
export const ProviderName = z.enum(PROVIDER_NAMES);
export type ProviderName = z.infer<typeof ProviderName>;

/** The word the public gateway uses for a local machine; our relay registers with it. */
export const PUBLIC_LOCAL_PROVIDER = "cerver_local_provider";
const LOCAL_NAMES = new Set(["p69", PUBLIC_LOCAL_PROVIDER, "cerver_local", "local"]);

/** The canonical name for any name seen on input: every older word for a local machine is `p69`. */
export function canonicalProvider(name: string): string {
  return LOCAL_NAMES.has(name) ? "p69" : name;
}

/** Providers that are known well enough to be compared, but that no adapter reaches. */
export const MODELLED_PROVIDER_NAMES = ["daytona", "modal", "fly", "runloop", "codesandbox"] as const;
export type ModelledProviderName = (typeof MODELLED_PROVIDER_NAMES)[number];

/** What a gateway registers a rehearsal under, beside the providers and never in the place of one. */
export type RehearsalName = "rehearsal" | `rehearsal_${string}`;

/** `provider_vercel` stands for a whole provider where a compute id is asked for. */
const HANDLE_PREFIX = "provider_";
export const providerHandle = (provider: string): string => `${HANDLE_PREFIX}${provider}`;
/** The canonical provider that a handle stands for; undefined for the id of one compute. */
export function providerOfHandle(id: string): string | undefined {
  return id.startsWith(HANDLE_PREFIX) ? canonicalProvider(id.slice(HANDLE_PREFIX.length)) : undefined;
}

/** Where a figure is from, and the day it held. `checked` is false for one that was not read again for this version. */
export const FigureSource = z.object({ source: z.string(), date: z.string(), checked: z.boolean() });
export type FigureSource = z.infer<typeof FigureSource>;

/** What is known of a provider whoever asks. A null says that no source gives the figure. */
export const ProfileView = z
  .looseObject({
    provider: z.string(),
    label: z.string(),
    kind: z
      .enum(["live", "modelled", "rehearsal"])
      .describe(
        "`modelled` is compared only: this gateway has no adapter contract for it. `rehearsal` plays a recording: nothing runs.",
      ),
    runtimes: z.array(z.string()),
    package_install: z.boolean().nullable(),
    public_preview: z.boolean().nullable(),
    persistence: z.enum(["low", "medium", "high"]).nullable(),
    desktop: z.boolean().nullable(),
    browser: z.boolean().nullable(),
    regions: z.array(z.string()).nullable(),
    purposes: z.array(z.string()).describe("Workloads that the vendor's own documents say it is made for."),
    cost: FigureSource.extend({
      usd_per_vcpu_hour: z.number(),
      usd_per_gb_hour: z.number(),
      usd_per_create: z.number(),
      default_vcpus: z.number(),
      default_gb: z.number(),
      formula: z.string(),
    }).nullable(),
    limits: z.object({
      max_lifetime_minutes: z.number().nullable(),
      free_max_lifetime_minutes: z.number().nullable(),
      concurrency: z.number().nullable(),
      free_concurrency: z.number().nullable(),
      ports: z.number().nullable(),
      source: z.string().nullable(),
    }),
    startup: z.object({
      published: FigureSource.extend({ ms: z.number() }).nullable(),
      measured: FigureSource.extend({
        p50_ms: z.number(),
        p95_ms: z.number(),
        p99_ms: z.number(),
        method: z.string(),
      }).nullable(),
    }),
    uptime_percent: z.number().nullable(),
    credentials: z.array(z.string()).describe("The names of the credentials that enabling it takes."),
    how_to_enable: z.array(z.string()).describe("Commands to paste."),
  })
  .meta({ id: "ProfileView" });
export type ProfileView = z.infer<typeof ProfileView>;

/** One line of `GET /gateway/providers`: what this account can execute on now, and if not, why. */
export const ProviderStatus = z.looseObject({
  provider: z.string(),
  label: z.string(),
  executable: z.boolean(),
  reason: z.string().describe("Why it can be used now, or what is missing."),
  computes: z.array(z.looseObject({ compute_id: z.string(), label: z.string(), status: z.string() })),
  own_measurements: Estimates.omit({ cost: true })
    .optional()
    .describe("What this account's own sessions and tests measured; `source` says where a figure is from."),
  profile: ProfileView.optional(),
});
export const ProviderList = z.looseObject({ providers: z.array(ProviderStatus) });
export type ProviderList = z.infer<typeof ProviderList>;

export function isProviderHandle(computeId: string): boolean {
  return computeId.startsWith(HANDLE_PREFIX);
}

/** Body of `POST /v2/account/providers` (contract section 3.4). */
export const EnableProviderRequest = z
  .strictObject({
    provider: z.string().min(1).max(64),
    credentials: z
      .record(
        z.string().regex(/^[a-z][a-z0-9_]{0,63}$/, "is not a credential's name"),
        z
          .string()
          .min(1)
          .max(16_384)
          .regex(/^\P{Cc}*$/u, "holds a line break or another control character: copy it again, without it"),
      )
      .refine((value) => Object.keys(value).length <= 16, { message: "has more than 16 entries" }),
  })
  .meta({ id: "EnableProviderRequest" });
export type EnableProviderRequest = z.infer<typeof EnableProviderRequest>;

/** A cloud provider that an account has enabled. The credentials themselves are never given out. */
export const EnabledProvider = z
  .looseObject({
    provider: z.string(),
    label: z.string(),
    target_compute_id: z.string().describe("What a session's `target_compute_id` may be to use it."),
    credentials: z.array(z.string()).describe("The names of the credentials that are kept, sealed."),
    verified_at: z.string().describe("When the vendor last said that they work."),
    created_at: z.string(),
  })
  .meta({ id: "EnabledProvider" });
export type EnabledProvider = z.infer<typeof EnabledProvider>;
export const EnabledProviderList = z.looseObject({ providers: z.array(EnabledProvider) });
