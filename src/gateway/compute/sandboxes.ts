import type { Compute } from "../../protocol/computes.js";
import { CerverError } from "../../protocol/errors.js";
import { canonicalProvider, isProviderHandle, type ProviderName } from "../../protocol/providers.js";
import type { NewSandboxRequest, SandboxAnswer } from "../../protocol/sandbox.js";
import type { Database } from "../store/schema.js";
import type { CloudProviders } from "./cloud-providers.js";
import type { Computes } from "./computes.js";
import { type ProviderAdapter, type ProviderEnv, type ReachedSandbox, registeredName } from "./contract.js";
import type { ProviderRegistry } from "./registry.js";

/** How long a compute may take to make a sandbox. */
const CREATE_TIMEOUT_MS = 60_000;

export interface SandboxesDeps {
  db: Database;
  providers: ProviderRegistry;
  computes: Computes;
  clouds: CloudProviders;
  /** Fails where an account's limits would have to count a sandbox that no session has. */
  refuseUncounted: (accountId: string, provider: string) => Promise<void>;
  now?: () => number;
}

/** The compute layer used as it is, without a session: sandboxes of an account, on the compute that it names. */
export class Sandboxes {
  readonly #deps: Required<SandboxesDeps>;

  constructor(deps: SandboxesDeps) {
    this.#deps = { now: Date.now, ...deps };
  }

  /** Makes a sandbox on the named compute or provider, else on the first of the account's own machines that is ready. */
  async create(accountId: string, request: NewSandboxRequest, signal: AbortSignal): Promise<SandboxAnswer> {
    const { provider: _, compute_id: __, sandbox_id: ___, ...rest } = request;
    const compute = await this.#choose(accountId, request);
    const adapter = this.#adapter(compute.provider);
    await this.#deps.refuseUncounted(accountId, registeredName(adapter));
    const env: ProviderEnv = {
      accountId,
      computeId: compute.compute_id,
      credentials: {},
      signal: AbortSignal.any([signal, AbortSignal.timeout(CREATE_TIMEOUT_MS)]),
    };
    const record = await adapter.createSandbox(rest, env);
    const created_at = this.#deps.now();
    try {
      await this.#deps.db
        .insertInto("sandboxes")
        .values({
          account_id: accountId,
          sandbox_id: record.sandboxId,
          provider: registeredName(adapter),
          compute_id: record.computeId,
          created_at,
        })
        .execute();
    } catch (error) {
      // What is on no list could never be deleted.
      const signal = AbortSignal.timeout(CREATE_TIMEOUT_MS);
      const response = await adapter.deleteSandbox(record, { ...env, signal });
      await response.body?.cancel();
      throw error;
    }
    return {
      sandbox_id: record.sandboxId,
      provider: registeredName(adapter),
      compute_id: record.computeId,
      status: "ready",
      created_at: new Date(created_at).toISOString(),
    };
  }

  /** The account's sandbox of this id: one that was made here, or the one of an open session. */
  async reach(accountId: string, sandboxId: string, signal: AbortSignal): Promise<ReachedSandbox> {
    const row = (await this.#own(accountId, sandboxId)) ?? (await this.#ofSession(accountId, sandboxId));
    if (!row?.compute_id) throw notFound(sandboxId);
    const adapter = this.#adapter(row.provider);
    const computeId = row.compute_id;
    return {
      adapter,
      record: { sandboxId, computeId, provider: adapter.providerName },
      env: { accountId, computeId, signal, credentials: {} },
    };
  }

  /** Deletes a sandbox. One that is gone already is no failure; one of a session ends with it. */
  async delete(accountId: string, sandboxId: string, signal: AbortSignal): Promise<Response> {
    const own = await this.#own(accountId, sandboxId);
    if (!own && (await this.#ofSession(accountId, sandboxId))) {
      throw new CerverError("conflict", `Sandbox ${sandboxId} belongs to a session, which is still open.`, {
        hint: "End the session: DELETE /v2/sessions/SESSION_ID. Its sandbox goes with it.",
      });
    }
    if (!own) throw notFound(sandboxId);
    const { adapter, record, env } = await this.reach(accountId, sandboxId, signal);
    const response = await adapter.deleteSandbox(record, env);
    if (response.ok)
      await this.#deps.db
        .deleteFrom("sandboxes")
        .where("account_id", "=", accountId)
        .where("sandbox_id", "=", sandboxId)
        .execute();
    return response;
  }

  #own(accountId: string, sandboxId: string) {
    return this.#deps.db
      .selectFrom("sandboxes")
      .select(["provider", "compute_id"])
      .where("account_id", "=", accountId)
      .where("sandbox_id", "=", sandboxId)
      .executeTakeFirst();
  }

  #ofSession(accountId: string, sandboxId: string) {
    return this.#deps.db
      .selectFrom("sessions")
      .select(["provider", "compute_id"])
      .where("account_id", "=", accountId)
      .where("sandbox_id", "=", sandboxId)
      .where("ended_at", "is", null)
      .executeTakeFirst();
  }

  async #choose(accountId: string, { compute_id, provider }: NewSandboxRequest): Promise<Compute> {
    const { computes, clouds } = this.#deps;
    const all = [...(await computes.list(accountId)), ...(await clouds.computes(accountId))];
    const wanted = provider === undefined ? "p69" : canonicalProvider(provider);
    const found = all.filter((one) => (compute_id ? one.compute_id === compute_id : one.provider === wanted));
    const ready = found.find(({ status }) => status === "ready");
    if (ready) return ready;
    const what = compute_id ?? wanted;
    if (found.length > 0) {
      throw new CerverError("compute_offline", `${found[0]!.label} (${found[0]!.compute_id}) is offline.`, {
        hint: "Start its relay, or name another compute: GET /v2/computes lists them.",
      });
    }
    throw new CerverError(
      "compute_not_found",
      `This account has no compute "${what}" to make a sandbox on.`,
      {
        hint: isProviderHandle(what)
          ? "Enable the provider first: POST /v2/account/providers."
          : "GET /v2/computes lists what there is; `cerver relay` attaches a machine.",
      },
    );
  }

  #adapter(provider: string): ProviderAdapter {
    const adapter = this.#deps.providers.get(provider as ProviderName);
    if (adapter) return adapter;
    throw new CerverError("unsupported", `This gateway has no adapter for ${provider}.`);
  }
}

function notFound(sandboxId: string): CerverError {
  return new CerverError("sandbox_not_found", `This account has no sandbox ${sandboxId}.`, {
    hint: "Make one with POST /sandbox.",
  });
}
