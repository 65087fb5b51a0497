import { OrphanList, ProviderDisabled } from "../../../../protocol/answers.js";
import { AccountLimits, AccountSpend } from "../../../../protocol/costs.js";
import {
  EnabledProvider,
  EnabledProviderList,
  EnableProviderRequest,
  ProviderList,
} from "../../../../protocol/providers.js";
import type { Theme } from "../operation.js";

export const providers: Theme = {
  name: "Providers and account",
  description: "Who supplies compute, with whose credentials, and how much of it.",
  operations: [
    {
      id: "listProviders",
      method: "get",
      path: "/v2/providers",
      summary: "Every known provider: what this account can execute on, and what is missing for the rest",
      scope: "read",
      answers: { 200: { what: "All of them.", json: ProviderList } },
    },
    {
      id: "listEnabledProviders",
      method: "get",
      path: "/v2/account/providers",
      summary: "Cloud providers that the account has enabled",
      scope: "read",
      answers: { 200: { what: "Names and dates, never credentials.", json: EnabledProviderList } },
    },
    {
      id: "enableProvider",
      method: "post",
      path: "/v2/account/providers",
      summary: "Enable a cloud provider with the account's own credentials",
      description: "They are checked with the vendor, then kept sealed, and never given out.",
      scope: "admin",
      body: { json: EnableProviderRequest, optional: false },
      answers: { 201: { what: "It is enabled.", json: EnabledProvider } },
      errors: ["credentials_refused", "provider_failed"],
    },
    {
      id: "disableProvider",
      method: "delete",
      path: "/v2/account/providers/{provider}",
      summary: "Forget a provider's credentials",
      scope: "admin",
      answers: { 200: { what: "They are gone.", json: ProviderDisabled } },
      errors: ["not_found", "conflict"],
    },
    {
      id: "getLimits",
      method: "get",
      path: "/v2/account/limits",
      summary: "What the account may spend and hold, and what it has",
      scope: "read",
      answers: { 200: { what: "Limits and spend.", json: AccountSpend } },
    },
    {
      id: "setLimits",
      method: "put",
      path: "/v2/account/limits",
      summary: "Set what the account may spend and hold",
      scope: "admin",
      body: { json: AccountLimits },
      answers: { 200: { what: "Limits and spend.", json: AccountSpend } },
    },
    {
      id: "listOrphans",
      method: "get",
      path: "/v2/account/orphans",
      summary: "Sandboxes that could not be ended yet",
      scope: "read",
      answers: { 200: { what: "They are tried again until they are gone.", json: OrphanList } },
    },
  ],
};
