import type { ProviderName } from "../../protocol/providers.js";

/** What the router and the list of providers know of a provider, whether or not it can run here. */
export interface ProviderProfile {
  provider: ProviderName;
  label: string;
  /** How a person makes it usable. */
  howToEnable: string;
}

/** All profiles. Being here makes a provider selectable; being in the registry makes it runnable. */
export const CATALOG: readonly ProviderProfile[] = [
  {
    provider: "p69",
    label: "Your own machines",
    howToEnable: "Run `cerver relay` on the machine you want to use.",
  },
  { provider: "vercel", label: "Vercel Sandbox", howToEnable: "This version has no adapter for it yet." },
  { provider: "e2b", label: "E2B", howToEnable: "This version has no adapter for it yet." },
  {
    provider: "cloudflare",
    label: "Cloudflare Sandbox",
    howToEnable: "This version has no adapter for it yet.",
  },
];

/** The profile of a provider, under its canonical name. */
export function profileOf(provider: string): ProviderProfile | undefined {
  return CATALOG.find((profile) => profile.provider === provider);
}
