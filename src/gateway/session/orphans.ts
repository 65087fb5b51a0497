import { newId } from "../../protocol/ids.js";
import { isProviderHandle, type ProviderName } from "../../protocol/providers.js";
import type { Logger } from "../../util/logger.js";
import {
  type ProviderAdapter,
  type ProviderEnv,
  registeredName,
  type SandboxRecord,
} from "../compute/contract.js";
import type { ProviderRegistry } from "../compute/registry.js";
import type { Database, OrphanRow } from "../store/schema.js";

/** How long finding and ending what a create left may take. */
const CLEAN_TIMEOUT_MS = 15_000;
/** An orphan that could not be ended for so long is given up: its own deadline has ended it. */
const GIVE_UP_MS = 24 * 3_600_000;

export interface OrphansDeps {
  db: Database;
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
  readonly #cleaning = new Set<Promise<void>>();

  constructor(deps: OrphansDeps) {
    this.#deps = deps;
  }

  /** {@link clean}, once the create has come to its own end. */
  async cleanAfter(creating: Promise<unknown>, lost: LostCreate): Promise<void> {
    const cleaning = creating.then(
      () => {},
      () => {},
    );
    const all = cleaning.then(() => this.clean(lost));
    this.#cleaning.add(all);
    try {
      await all;
    } catch (error) {
      this.#deps.logger.error(
        { err: error, session_id: lost.sessionId },
        "a lost create could not be kept in mind",
      );
    } finally {
      this.#cleaning.delete(all);
    }
  }

  /** Waits until nothing is being cleaned up. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#cleaning);
  }

  /** Ends what a lost create may have left; what cannot be reached now is kept in mind. */
  async clean({ accountId, sessionId, adapter, computeId, proposed, why }: LostCreate): Promise<void> {
    try {
      for (const record of await this.#find(adapter, accountId, sessionId, computeId, proposed))
        await this.#end(adapter, record, this.#env(accountId, computeId));
    } catch (error) {
      this.#deps.logger.warn(
        { err: error, session_id: sessionId },
        "what a lost create left could not be ended yet",
      );
      const provider = registeredName(adapter);
      const sandboxId = this.named(provider, proposed);
      await this.keep({ accountId, sessionId, provider, computeId, sandboxId, why });
    }
  }

  /** The id by which a sandbox is ended that was to get this one; null where vendors choose ids, and are asked for them. */
  named(provider: string, proposed: string): string | null {
    return this.#deps.providers.get(provider as ProviderName)?.cloud ? null : proposed;
  }

  /** A sandbox that could not be ended. It is tried again until it is gone. */
  async keep(orphan: {
    accountId: string;
    sessionId: string;
    provider: string;
    computeId: string;
    sandboxId: string | null;
    why: string;
  }): Promise<void> {
    await this.#deps.db
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
      .execute();
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

  /** Tries to end each one that is kept in mind. */
  async sweep(): Promise<void> {
    const rows = await this.#deps.db
      .selectFrom("orphans")
      .selectAll()
      .orderBy("found_at")
      .limit(200)
      .execute();
    for (const row of rows) {
      const adapter = this.#deps.providers.get(row.provider as ProviderName);
      try {
        if (!adapter) throw new Error(`no adapter for ${row.provider}`);
        const env = this.#env(row.account_id, row.compute_id);
        const found = row.sandbox_id
          ? [{ sandboxId: row.sandbox_id, computeId: row.compute_id, provider: adapter.providerName }]
          : await this.#find(adapter, row.account_id, row.session_id, row.compute_id, "");
        for (const record of found) await this.#end(adapter, record, env);
      } catch (error) {
        if (this.#deps.now() - row.found_at < GIVE_UP_MS) continue;
        this.#deps.logger.warn({ err: error, orphan_id: row.id }, "an orphan was given up after a day");
      }
      await this.#deps.db.deleteFrom("orphans").where("id", "=", row.id).execute();
    }
  }

  async #find(
    adapter: ProviderAdapter,
    accountId: string,
    sessionId: string,
    computeId: string,
    proposed: string,
  ): Promise<SandboxRecord[]> {
    if (adapter.cloud && isProviderHandle(computeId)) {
      const found = await adapter.cloud.find(sessionId, this.#env(accountId, computeId));
      // The session may live on there: then what a later create of it left is an orphan, and its own sandbox is not.
      const session = await this.#deps.db
        .selectFrom("sessions")
        .select("sandbox_id")
        .where("id", "=", sessionId)
        .where("ended_at", "is", null)
        .executeTakeFirst();
      return found.filter(({ sandboxId }) => sandboxId !== session?.sandbox_id);
    }
    return proposed === "" ? [] : [{ sandboxId: proposed, computeId, provider: adapter.providerName }];
  }

  async #end(adapter: ProviderAdapter, record: SandboxRecord, env: ProviderEnv): Promise<void> {
    const response = await adapter.deleteSandbox(record, env);
    await response.body?.cancel();
    if (!response.ok && response.status !== 404)
      throw new Error(`ending ${record.sandboxId}: HTTP ${response.status}`);
  }

  #env(accountId: string, computeId: string): ProviderEnv {
    return { accountId, computeId, signal: AbortSignal.timeout(CLEAN_TIMEOUT_MS), credentials: {} };
  }
}
