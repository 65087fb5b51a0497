import { OrphanList, ProviderDisabled } from "../protocol/answers.js";
import { AccountSpend } from "../protocol/costs.js";
import { EnabledProvider, EnabledProviderList, ProviderList } from "../protocol/providers.js";
import { at, type GatewayHttp } from "./http.js";
import type * as wire from "./wire.js";

/** The vendor is asked whether the credentials work. */
const ENABLE_TIMEOUT_MS = 60_000;

/** Who supplies compute to an account, and how much of it. */
export interface ProviderCalls {
  /** Every known provider: what this account can execute on, and what is missing for the rest. */
  providers(): Promise<wire.ProviderList>;
  enabledProviders(): Promise<wire.EnabledProvider[]>;
  /** Enables a cloud provider with the account's own credentials, once the vendor says that they work. */
  enableProvider(body: wire.EnableProviderRequest, signal?: AbortSignal): Promise<wire.EnabledProvider>;
  disableProvider(provider: string): Promise<void>;
  /** What the account may spend and hold, and what it has. */
  limits(): Promise<wire.AccountSpend>;
  setLimits(limits: wire.AccountLimits): Promise<wire.AccountSpend>;
  /** Sandboxes that could not be ended yet. */
  orphans(): Promise<wire.OrphanList["orphans"]>;
}

export function providerCalls(http: GatewayHttp): ProviderCalls {
  return {
    providers: () => http.json("GET", "/gateway/providers", ProviderList),
    enabledProviders: async () =>
      (await http.json("GET", "/v2/account/providers", EnabledProviderList)).providers,
    enableProvider: (body, signal) =>
      http.json("POST", "/v2/account/providers", EnabledProvider, {
        body,
        signal,
        timeoutMs: ENABLE_TIMEOUT_MS,
      }),
    async disableProvider(provider) {
      await http.json("DELETE", at`/v2/account/providers/${provider}`, ProviderDisabled);
    },
    limits: () => http.json("GET", "/v2/account/limits", AccountSpend),
    setLimits: (body) => http.json("PUT", "/v2/account/limits", AccountSpend, { body }),
    orphans: async () => (await http.json("GET", "/v2/account/orphans", OrphanList)).orphans,
  };
}
