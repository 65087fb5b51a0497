import { setTimeout as sleep } from "node:timers/promises";
import { newId } from "../../protocol/ids.js";
import type { ProviderName } from "../../protocol/providers.js";
import type { Logger } from "../../util/logger.js";
import type { CloudProviders } from "../compute/cloud-providers.js";
import type { Computes } from "../compute/computes.js";
import {
  type ProviderAdapter,
  type ProviderEnv,
  registeredName,
  type SandboxRecord,
} from "../compute/contract.js";
import type { ProviderRegistry } from "../compute/registry.js";
import type { Database, OrphanRow } from "../store/schema.js";

/** How long a create that nobody waits for any longer may take to come to its own end. */
const CREATE_WAIT_MS = 60_000;
/** How long finding and ending what a create left may take. */
const CLEAN_TIMEOUT_MS = 15_000;
/** An orphan on a compute that its account does not have any more is given up after so long. */
const GIVE_UP_MS = 24 * 3_600_000;
/** How many are ended at once. */
const PAGE = 20;

export interface OrphansDeps {
  db: Database;
  computes: Computes;
  clouds: CloudProviders;
  providers: ProviderRegistry;
  logger: Logger;
  now: () => number;
}

/** A create whose answer never came. */
export interface LostCreate {
  accountId: string;
  sessionId: string;
  adapter: ProviderAdapter;
  computeId: string;
  /** The id that the sandbox has where the compute let us choose it. */
  proposed: string;
  why: string;
}

/** Sandboxes that nobody has: what a failed create or a failed end may have left is ended, now or as soon as it can be. */
export class Orphans {
  readonly #deps: OrphansDeps;
  /** By the id of their row: sweeps leave them alone. */
  readonly #ending = new Map<string, { sessionId: string; ending: Promise<void> }>();
  #sweeping: Promise<void> | undefined;

  constructor(deps: OrphansDeps) {
    this.#deps = deps;
  }

  /** Keeps in mind what a create may have left: whatever becomes of this gateway, it is found and ended. */
  keepLost({ adapter, proposed, ...lost }: LostCreate): Promise<OrphanRow> {
    const provider = registeredName(adapter);
    return this.keep({ ...lost, provider, sandboxId: this.named(provider, proposed) });
  }

  /** Ends an orphan as soon as its create has come to its own end: before that, the vendor may be about to make it. */
  endAfter(creating: Promise<unknown>, orphan: OrphanRow): void {
    const ending = this.#endAfter(creating, orphan).finally(() => this.#ending.delete(orphan.id));
    this.#ending.set(orphan.id, { sessionId: orphan.session_id, ending });
  }

  async #endAfter(creating: Promise<unknown>, orphan: OrphanRow): Promise<void> {
    const waited = new AbortController();
    await Promise.race([
      creating.catch(() => {}),
      sleep(CREATE_WAIT_MS, undefined, { signal: waited.signal, ref: false }).catch(() => {}),
    ]);
    waited.abort();
    try {
      await this.#endOne(orphan);
      await this.#forget(orphan);
    } catch (error) {
      this.#deps.logger.warn(
        { err: error, session_id: orphan.session_id },
        "what a lost create left could not be ended yet",
      );
    }
  }

  /** Waits until nothing is being ended. */
  async settled(): Promise<void> {
    await Promise.all([...this.#ending.values()].map(({ ending }) => ending));
  }

  /** What lost creates of a session may have left, once all that could be done about it now is done. */
  async leftOf(sessionId: string): Promise<OrphanRow[]> {
    const own = [...this.#ending.values()].filter((one) => one.sessionId === sessionId);
    await Promise.all(own.map(({ ending }) => ending));
    return this.#deps.db.selectFrom("orphans").selectAll().where("session_id", "=", sessionId).execute();
  }

  /** The id by which a sandbox is ended that was to get this one; null where vendors choose ids, and are asked for them. */
  named(provider: string, proposed: string): string | null {
    return this.#deps.providers.get(provider as ProviderName)?.cloud ? null : proposed;
  }

  /** A sandbox that could not be ended. It is tried again until it is gone. */
  keep(orphan: {
    accountId: string;
    sessionId: string;
    provider: string;
    computeId: string;
    sandboxId: string | null;
    why: string;
  }): Promise<OrphanRow> {
    return this.#deps.db
      .insertInto("orphans")
      .values({
        id: newId("orp", this.#deps.now()),
        account_id: orphan.accountId,
        session_id: orphan.sessionId,
        provider: orphan.provider,
        compute_id: orphan.computeId,
        sandbox_id: orphan.sandboxId,
        found_at: this.#deps.now(),
        why: orphan.why.slice(0, 500),
      })
      .returningAll()
      .executeTakeFirstOrThrow();
  }

  list(accountId: string): Promise<OrphanRow[]> {
    return this.#deps.db
      .selectFrom("orphans")
      .selectAll()
      .where("account_id", "=", accountId)
      .orderBy("found_at")
      .limit(1_000)
      .execute();
  }

  /** Tries to end each one that is kept in mind. Sweeps never overlap: who asks while one goes on waits for its end. */
  sweep(): Promise<void> {
    this.#sweeping ??= this.#sweep().finally(() => {
      this.#sweeping = undefined;
    });
    return this.#sweeping;
  }

  async #sweep(): Promise<void> {
    for (let after = "", more = true; more; ) {
      const rows = await this.#deps.db
        .selectFrom("orphans")
        .selectAll()
        .where("id", ">", after)
        .orderBy("id")
        .limit(PAGE)
        .execute();
      await Promise.all(rows.map((row) => this.#tryAgain(row)));
      after = rows.at(-1)?.id ?? "";
      more = rows.length === PAGE;
    }
  }

  async #tryAgain(row: OrphanRow): Promise<void> {
    if (this.#ending.has(row.id)) return;
    try {
      await this.#endOne(row);
    } catch (error) {
      if (this.#deps.now() - row.found_at < GIVE_UP_MS || (await this.#hasWayTo(row))) return;
      this.#deps.logger.warn(
        { err: error, orphan_id: row.id, compute_id: row.compute_id },
        "an orphan was given up: its account has that compute no longer",
      );
    }
    await this.#forget(row);
  }

  /** Whether the account still has the machine or the provider that an orphan is on. */
  async #hasWayTo({ account_id, compute_id }: OrphanRow): Promise<boolean> {
    const { computes, clouds } = this.#deps;
    const all = [...(await computes.list(account_id)), ...(await clouds.computes(account_id))];
    return all.some((one) => one.compute_id === compute_id);
  }

  /** Ends what an orphan's row says. Fails when it cannot be shown to be gone. */
  async #endOne(row: OrphanRow): Promise<void> {
    const adapter = this.#deps.providers.get(row.provider as ProviderName);
    if (!adapter) throw new Error(`no adapter for ${row.provider}`);
    const env: ProviderEnv = {
      accountId: row.account_id,
      computeId: row.compute_id,
      signal: AbortSignal.timeout(CLEAN_TIMEOUT_MS),
      credentials: {},
    };
    const found = row.sandbox_id
      ? [{ sandboxId: row.sandbox_id, computeId: row.compute_id, provider: adapter.providerName }]
      : await this.#find(adapter, row.session_id, env);
    for (const record of found) await this.#end(adapter, record, env);
  }

  async #forget({ id }: OrphanRow): Promise<void> {
    await this.#deps.db.deleteFrom("orphans").where("id", "=", id).execute();
  }

  /** What a vendor has of a session, without what the session lives in, or is about to. */
  async #find({ cloud }: ProviderAdapter, sessionId: string, env: ProviderEnv): Promise<SandboxRecord[]> {
    const { db } = this.#deps;
    const found = (await cloud?.find(sessionId, env)) ?? [];
    const uses = await db
      .selectFrom("compute_uses")
      .select("sandbox_id")
      .where("session_id", "=", sessionId)
      .where("compute_id", "=", env.computeId)
      .where("ended_at", "is", null)
      .execute();
    if (uses.some(({ sandbox_id }) => sandbox_id === null))
      throw new Error(`another sandbox for ${sessionId} is being made there`);
    const session = await db
      .selectFrom("sessions")
      .select("sandbox_id")
      .where("id", "=", sessionId)
      .where("ended_at", "is", null)
      .executeTakeFirst();
    const kept = new Set([session?.sandbox_id, ...uses.map(({ sandbox_id }) => sandbox_id)]);
    return found.filter(({ sandboxId }) => !kept.has(sandboxId));
  }

  async #end(adapter: ProviderAdapter, record: SandboxRecord, env: ProviderEnv): Promise<void> {
    const response = await adapter.deleteSandbox(record, env);
    await response.body?.cancel();
    if (!response.ok && response.status !== 404)
      throw new Error(`ending ${record.sandboxId}: HTTP ${response.status}`);
  }
}
