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
