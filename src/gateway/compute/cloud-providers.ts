import type { Compute } from "../../protocol/computes.js";
import { CerverError } from "../../protocol/errors.js";
import {
  canonicalProvider,
  type EnabledProvider,
  type EnableProviderRequest,
  type ProviderName,
  providerHandle,
} from "../../protocol/providers.js";
import { profileOf } from "./catalog.js";
import type { CloudAccount, ProviderAdapter, ProviderEnv } from "./contract.js";
import type { ProviderProfile } from "./profile.js";
import type { ProviderRegistry } from "./registry.js";

/** How long a vendor may take to say whether credentials work. */
const VERIFY_TIMEOUT_MS = 20_000;

/** Where the credentials of accounts are kept. */
export interface CredentialKeeper {
  keep(accountId: string, provider: string, credentials: Record<string, string>): Promise<Kept>;
  list(accountId: string): Promise<Kept[]>;
  open(accountId: string, provider: string): Promise<Readonly<Record<string, string>> | undefined>;
  remove(accountId: string, provider: string): Promise<boolean>;
}
interface Kept {
  provider: string;
  names: string[];
  verifiedAt: number;
  createdAt: number;
}

/** The cloud providers that accounts have enabled with credentials of their own. */
export class CloudProviders {
  readonly #adapters: ProviderRegistry;
  readonly #credentials: CredentialKeeper;
  readonly #rehearsals: readonly ProviderProfile[];
  readonly #startedAt = new Date().toISOString();

  constructor({
    adapters,
    credentials,
    rehearsals = [],
  }: {
    adapters: ProviderRegistry;
    credentials: CredentialKeeper;
    /** Providers that every account has, without credentials. */
    rehearsals?: readonly ProviderProfile[];
  }) {
    this.#adapters = adapters;
    this.#credentials = credentials;
    this.#rehearsals = rehearsals;
  }

  /** Asks the vendor whether the credentials work, then keeps them. Fails with the vendor's own refusal. */
  async enable(
    accountId: string,
    { provider: name, credentials }: EnableProviderRequest,
    signal: AbortSignal,
  ): Promise<EnabledProvider> {
    const { adapter, cloud } = this.#cloud(name);
    checkNames(adapter.providerName, cloud, credentials);
    await cloud.verify({
      accountId,
      computeId: providerHandle(adapter.providerName),
      credentials,
      signal: AbortSignal.any([signal, AbortSignal.timeout(VERIFY_TIMEOUT_MS)]),
    });
    return toEnabled(await this.#credentials.keep(accountId, adapter.providerName, credentials));
  }

  async list(accountId: string): Promise<EnabledProvider[]> {
    const own = (await this.#credentials.list(accountId)).map(toEnabled);
    return [...own, ...this.#rehearsals.map((profile) => this.#rehearsed(profile))];
  }

  /** Forgets the credentials. Sandboxes that are still there go on until their own deadline. */
  async disable(accountId: string, name: string): Promise<void> {
    const provider = canonicalProvider(name.replace(/^provider_/, ""));
    if (await this.#credentials.remove(accountId, provider)) return;
    if (this.#rehearsals.some((profile) => profile.provider === provider)) {
      throw new CerverError(
        "conflict",
        `${provider} is a rehearsal, which every account of this gateway has.`,
        {
          hint: "Start the gateway without CERVER_REHEARSAL.",
        },
      );
    }
    throw new CerverError("not_found", `This account has no credentials for a provider called "${name}".`, {
      hint: "List those it has with GET /v2/account/providers.",
    });
  }

  /** The enabled providers as computes that a session may ask for (contract section 3.2). */
  async computes(accountId: string): Promise<Compute[]> {
    const kept = await this.#credentials.list(accountId);
    const own = kept
      .filter(({ provider }) => this.#adapters.has(provider as ProviderName))
      .map(({ provider, verifiedAt }) =>
        toCompute(provider, profileOf(provider)?.label ?? provider, accountId, {
          verified_at: new Date(verifiedAt).toISOString(),
        }),
      );
    const rehearsals = this.#rehearsals.map(({ provider, label }) =>
      toCompute(provider, label, accountId, { rehearsal: true }),
    );
    return [...own, ...rehearsals];
  }

  #rehearsed({ provider, label }: ProviderProfile): EnabledProvider {
    return {
      provider,
      label,
      target_compute_id: providerHandle(provider),
      credentials: [],
      rehearsal: true,
      verified_at: this.#startedAt,
      created_at: this.#startedAt,
    };
  }

  #cloud(name: string): { adapter: ProviderAdapter; cloud: CloudAccount } {
    const provider = canonicalProvider(name);
    const adapter = this.#adapters.get(provider as ProviderName);
    if (adapter?.cloud && !adapter.registeredAs) return { adapter, cloud: adapter.cloud };
    const known = [...this.#adapters.values()]
      .filter(({ cloud, registeredAs }) => cloud && !registeredAs)
      .map((one) => one.providerName);
    if (provider === "p69") {
      throw new CerverError("invalid_request", "Your own machines need no credentials here.", {
        hint: "Run `cerver relay` on the machine that you want to use.",
      });
    }
    throw new CerverError("invalid_request", `provider: "${name}" cannot be enabled in this gateway.`, {
      hint: `Those that can: ${known.join(", ")}.`,
    });
  }
}

/** Gives an adapter the credentials of the account with each call. */
export function credentialed(
  adapter: ProviderAdapter,
  open: (accountId: string, provider: string) => Promise<Readonly<Record<string, string>> | undefined>,
): ProviderAdapter {
  const { cloud, providerName } = adapter;
  if (!cloud) return adapter;
  const opened = async (env: ProviderEnv): Promise<ProviderEnv> => {
    if (Object.keys(env.credentials).length > 0) return env;
    const credentials = env.accountId === undefined ? undefined : await open(env.accountId, providerName);
    if (credentials) return { ...env, credentials };
    throw new CerverError(
      "no_compute",
      `This account has no credentials for ${profileOf(providerName)?.label ?? providerName}.`,
      {
        hint: `Enable it: POST /v2/account/providers {"provider": "${providerName}", "credentials": {…}}.`,
      },
    );
  };
  const { portUrl, suspend, wake } = cloud;
  return {
    providerName,
    createSandbox: async (request, env) => adapter.createSandbox(request, await opened(env)),
    runSandbox: async (record, request, env) => adapter.runSandbox(record, request, await opened(env)),
    runSandboxStream: async (record, request, env) =>
      adapter.runSandboxStream(record, request, await opened(env)),
    installPackage: async (record, request, env) =>
      adapter.installPackage(record, request, await opened(env)),
    writeFile: async (record, request, env) => adapter.writeFile(record, request, await opened(env)),
    readFile: async (record, path, encoding, env) =>
      adapter.readFile(record, path, encoding, await opened(env)),
    getState: async (record, env) => adapter.getState(record, await opened(env)),
    setState: async (record, state, env) => adapter.setState(record, state, await opened(env)),
    deleteSandbox: async (record, env) => adapter.deleteSandbox(record, await opened(env)),
    cloud: {
      credentialNames: cloud.credentialNames,
      verify: async (env) => cloud.verify(await opened(env)),
      find: async (sessionId, env) => cloud.find(sessionId, await opened(env)),
      ...(portUrl && {
        portUrl: async (record, port, env) => portUrl.call(cloud, record, port, await opened(env)),
      }),
      ...(suspend && { suspend: async (record, env) => suspend.call(cloud, record, await opened(env)) }),
      ...(wake && { wake: async (record, env) => wake.call(cloud, record, await opened(env)) }),
    },
  };
}

function toCompute(
  provider: string,
  label: string,
  accountId: string,
  metadata: Record<string, unknown>,
): Compute {
  return {
    compute_id: providerHandle(provider),
    label,
    provider,
    kind: "cloud",
    scope: "shared",
    status: "ready",
    last_heartbeat_at: null,
    capabilities: {},
    metadata,
    owner_id: accountId,
  };
}

function checkNames(
  provider: string,
  { credentialNames }: CloudAccount,
  given: Record<string, string>,
): void {
  const { required, optional } = credentialNames;
  const missing = required.filter((name) => !(name in given));
  const unknown = Object.keys(given).filter((name) => !required.includes(name) && !optional.includes(name));
  if (missing.length === 0 && unknown.length === 0) return;
  const problem =
    missing.length > 0
      ? `credentials: ${missing.join(" and ")} ${missing.length === 1 ? "is" : "are"} missing for ${provider}.`
      : `credentials: ${provider} has no credential called ${unknown.map((name) => `"${name}"`).join(" or ")}.`;
  throw new CerverError("invalid_request", problem, {
    hint: `It needs ${required.join(", ")}${optional.length > 0 ? `, and takes ${optional.join(", ")}` : ""}.`,
  });
}

function toEnabled({ provider, names, verifiedAt, createdAt }: Kept): EnabledProvider {
  return {
    provider,
    label: profileOf(provider)?.label ?? provider,
    target_compute_id: providerHandle(provider),
    credentials: names,
    verified_at: new Date(verifiedAt).toISOString(),
    created_at: new Date(createdAt).toISOString(),
  };
}
