import { z } from "zod";

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

/** One line of `GET /gateway/providers`: what this account can execute on now, and if not, why. */
export const ProviderStatus = z.looseObject({
  provider: z.string(),
  label: z.string(),
  executable: z.boolean(),
  reason: z.string().describe("Why it can be used now, or what is missing."),
  computes: z.array(z.looseObject({ compute_id: z.string(), label: z.string(), status: z.string() })),
});
export const ProviderList = z.looseObject({ providers: z.array(ProviderStatus) });
export type ProviderList = z.infer<typeof ProviderList>;

const HANDLE_PREFIX = "provider_";

/** The id by which a cloud provider is asked for as a compute: `provider_vercel`. */
export function providerHandle(provider: string): string {
  return `${HANDLE_PREFIX}${provider}`;
}

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
        z.string().min(1).max(16_384),
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
