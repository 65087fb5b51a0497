import { CerverError } from "../../protocol/errors.js";
import type { ProviderName } from "../../protocol/providers.js";
import type { Env } from "../../util/paths.js";
import type { ConformanceTarget } from "./conformance.js";
import type { ProviderAdapter } from "./contract.js";

/** An adapter that is opened for itself, without a gateway. */
export interface OpenAdapter {
  target: ConformanceTarget;
  /** Ends the connections it holds. */
  close(): void;
}

/** How an adapter is opened with what the environment holds. */
export interface AdapterEntry {
  /** Variable → name of the credential. */
  required: Readonly<Record<string, string>>;
  optional: Readonly<Record<string, string>>;
  /** Loads the adapter: a vendor's library is loaded with it, and not before. */
  open(credentials: Readonly<Record<string, string>>): Promise<{ adapter: ProviderAdapter; close?(): void }>;
}

/** Every adapter that there is. */
export const ADAPTERS: Readonly<Partial<Record<ProviderName, AdapterEntry>>> = {
  p69: {
    required: { P69_BASE_URL: "base_url" },
    optional: { P69_API_TOKEN: "api_token" },
    open: async ({ base_url, api_token }) => {
      const { DirectLink } = await import("./direct-link.js");
      const { p69Provider } = await import("./providers/p69.js");
      const link = new DirectLink({ baseUrl: base_url!, token: api_token });
      return {
        adapter: p69Provider(
          (_, request) => link.fetch(request),
          (_, call) => link.call(call),
        ),
        close: () => link.close(),
      };
    },
  },
  vercel: {
    required: { VERCEL_TOKEN: "vercel_token" },
    optional: { VERCEL_TEAM_ID: "vercel_team_id", VERCEL_PROJECT_ID: "vercel_project_id" },
    open: async () => {
      const { vercelProvider } = await import("./providers/vercel.js");
      return { adapter: vercelProvider() };
    },
  },
  e2b: {
    required: { E2B_API_KEY: "e2b_api_key" },
    // The last two are for an E2B of one's own; the vendor's SDK calls them so.
    optional: { E2B_DOMAIN: "e2b_domain", E2B_API_URL: "api_url", E2B_SANDBOX_URL: "sandbox_url" },
    open: async ({ api_url: apiUrl, sandbox_url: sandboxUrl }) => {
      const { e2bProvider } = await import("./providers/e2b.js");
      return { adapter: e2bProvider({ ...(apiUrl && { apiUrl }), ...(sandboxUrl && { sandboxUrl }) }) };
    },
  },
  cloudflare: {
    required: {
      CLOUDFLARE_SANDBOX_URL: "cloudflare_sandbox_url",
      CLOUDFLARE_SANDBOX_KEY: "cloudflare_sandbox_key",
    },
    optional: {},
    open: async () => {
      const { cloudflareProvider } = await import("./providers/cloudflare.js");
      return { adapter: cloudflareProvider() };
    },
  },
};

/** The variables that an adapter needs and that are not set. Throws `invalid_request` for a name that no adapter has. */
export function missingVariables(name: string, env: Env): string[] {
  return Object.keys(entryOf(name).required).filter((variable) => !env[variable]);
}

/** Opens an adapter. Throws `invalid_request` when there is none of this name, or a variable is not set. */
export async function openAdapter(name: string, env: Env): Promise<OpenAdapter> {
  const { required, optional, open } = entryOf(name);
  const missing = missingVariables(name, env);
  if (missing.length > 0) {
    throw new CerverError("invalid_request", `${name}: ${missing.join(" and ")} is not set.`, {
      hint: `It takes its credentials from the environment: ${[
        ...Object.keys(required),
        ...Object.keys(optional).map((variable) => `${variable} (if need be)`),
      ].join(", ")}.`,
    });
  }
  const credentials: Record<string, string> = {};
  for (const [variable, credential] of Object.entries({ ...required, ...optional })) {
    const value = env[variable];
    if (value) credentials[credential] = value;
  }
  const { adapter, close } = await open(credentials);
  // A vendor's compute is the vendor: there is no machine to choose.
  return { target: { adapter, computeId: `cmp_${name}`, credentials }, close: () => close?.() };
}

function entryOf(name: string): AdapterEntry {
  const entry = Object.hasOwn(ADAPTERS, name) ? ADAPTERS[name as ProviderName] : undefined;
  if (entry) return entry;
  throw new CerverError("invalid_request", `There is no adapter called “${name}”.`, {
    hint: `There are: ${Object.keys(ADAPTERS).join(", ")}.`,
  });
}
