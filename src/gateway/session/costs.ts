import type { AccountLimits, AccountSpend, SessionCost } from "../../protocol/costs.js";
import { CerverError } from "../../protocol/errors.js";
import { newId } from "../../protocol/ids.js";
import { Lines } from "../../util/lines.js";
import type { ComputeUseRow, Database } from "../store/schema.js";
import type { Orphans } from "./orphans.js";
import type { Session } from "./session-record.js";

/** What a compute costs for so many seconds, in dollars. */
export type CostOf = (provider: string, seconds: number) => number;

export interface CostsDeps {
  db: Database;
  costOf: CostOf;
  now: () => number;
}

/** A stretch of compute that is about to begin. */
export interface NewUse {
  accountId: string;
  sessionId: string;
  provider: string;
  computeId: string;
  /** What it may cost at most. */
  reservedUsd: number;
}

/** By the ids of uses; now, or at a time that has been. */
interface WhichUses {
  only?: string;
  except?: string | undefined;
  at?: number;
}

/** The id that the sandbox of a use gets where the compute lets us choose it: known before anything is made. */
export function proposedSandbox(useId: string): `sbx_${string}` {
  return `sbx_${useId.replace(/^use_/, "")}`;
}

/**
 * What sessions cost, and what accounts may spend.
 *
 * A use is admitted before anything is made for it: what it may cost at most is reserved, so that any number of
 * creates at once stays under the cap. When it is over, what it did cost takes the place of what was reserved.
 */
export class Costs {
  readonly #deps: CostsDeps;
  /** Admissions of one account, one after the other. */
  readonly #admitting = new Lines();

  constructor(deps: CostsDeps) {
    this.#deps = deps;
  }

  /** Admits a use, and returns its id. Fails with `spend_limit` when the account's limits leave no room for it. */
  admit(use: NewUse): Promise<string> {
    return this.#admitting.inLine(use.accountId, () => this.#admit(use));
  }

  async #admit({ accountId, sessionId, provider, computeId, reservedUsd }: NewUse): Promise<string> {
    const id = newId("use", this.#deps.now());
    await this.#deps.db.transaction().execute(async (tx) => {
      // Taking the row makes admissions by other gateways wait here.
      const limits = await tx
        .updateTable("account_limits")
        .set({ updated_at: this.#deps.now() })
        .where("account_id", "=", accountId)
        .returningAll()
        .executeTakeFirst();
      if (limits) {
        const spend = await this.#spend(tx, accountId);
        refuseOver(limits, spend, reservedUsd);
      }
      await tx
        .insertInto("compute_uses")
        .values({
          id,
          account_id: accountId,
          session_id: sessionId,
          provider,
          compute_id: computeId,
          sandbox_id: null,
          started_at: this.#deps.now(),
          ended_at: null,
          reserved_usd: reservedUsd,
          cost_usd: null,
        })
        .execute();
    });
    return id;
  }

  /** The use has its sandbox: from now on it costs. */
  async began(useId: string, sandboxId: string): Promise<void> {
    await this.#deps.db
      .updateTable("compute_uses")
      .set({ sandbox_id: sandboxId, started_at: this.#deps.now() })
      .where("id", "=", useId)
      .execute();
  }

  /** Nothing was made for this use. */
  async discard(useId: string): Promise<void> {
    await this.#deps.db.deleteFrom("compute_uses").where("id", "=", useId).execute();
  }

  /**
   * Ends uses of a session: all that are open, or only one, or all but one. Their cost is on the session's row then.
   */
  async ended(sessionId: string, which: WhichUses = {}): Promise<void> {
    await this.#deps.db.transaction().execute((tx) => this.endedWithin(tx, sessionId, which));
  }

  /** {@link ended}, with what else is written in a transaction. */
  async endedWithin(tx: Database, sessionId: string, which: WhichUses): Promise<void> {
    const { costOf } = this.#deps;
    const at = which.at ?? this.#deps.now();
    const open = await tx
      .selectFrom("compute_uses")
      .selectAll()
      .where("session_id", "=", sessionId)
      .where("ended_at", "is", null)
      .execute();
    for (const use of open) {
      if (which.only !== undefined && use.id !== which.only) continue;
      if (use.id === which.except) continue;
      const cost = use.sandbox_id === null ? 0 : costOf(use.provider, secondsOf(use, at));
      const ended = await tx
        .updateTable("compute_uses")
        .set({ ended_at: at, cost_usd: cost })
        .where("id", "=", use.id)
        .where("ended_at", "is", null)
        .returning("id")
        .executeTakeFirst();
      if (!ended) continue;
      await tx
        .updateTable("sessions")
        .set(({ eb }) => ({ cost_usd: eb("cost_usd", "+", cost) }))
        .where("id", "=", sessionId)
        .execute();
    }
    if (which.only === undefined)
      await tx.updateTable("sessions").set({ cost_since: null }).where("id", "=", sessionId).execute();
  }

  /** Uses whose sandbox no open session has, of what an earlier process was in the middle of: their sandboxes are orphans. */
  async endAbandoned(orphans: Orphans): Promise<void> {
    const { db, costOf, now } = this.#deps;
    const uses = await db
      .selectFrom("compute_uses")
      .selectAll()
      .select(({ selectFrom }) =>
        selectFrom("sessions")
          .select("sessions.ended_at")
          .whereRef("sessions.id", "=", "compute_uses.session_id")
          .as("session_ended_at"),
      )
      .where("ended_at", "is", null)
      .where(({ not, exists, selectFrom }) =>
        not(
          exists(
            selectFrom("sessions")
              .select("id")
              .whereRef("sessions.id", "=", "compute_uses.session_id")
              .whereRef("sessions.sandbox_id", "=", "compute_uses.sandbox_id")
              .where("sessions.ended_at", "is", null),
          ),
        ),
      )
      .execute();
    for (const use of uses) {
      await orphans.keep({
        accountId: use.account_id,
        sessionId: use.session_id,
        provider: use.provider,
        computeId: use.compute_id,
        sandboxId: use.sandbox_id ?? orphans.named(use.provider, proposedSandbox(use.id)),
        why: "the gateway was stopped while it was made",
      });
      if (use.session_ended_at !== null) {
        await this.ended(use.session_id, { at: use.session_ended_at });
        continue;
      }
      const cost_usd = use.sandbox_id === null ? 0 : costOf(use.provider, secondsOf(use, now()));
      await db
        .updateTable("compute_uses")
        .set({ ended_at: now(), cost_usd })
        .where("id", "=", use.id)
        .execute();
    }
  }

  /** Fails with `spend_limit` where an account's limits would have to count something that no use is kept of. */
  async refuseUncounted(accountId: string, provider: string): Promise<void> {
    const { max_sessions, spend_per_month_usd } = await this.limits(accountId);
    const isFree = this.priceOf(provider, 3_600) === 0;
    if (max_sessions === null && (spend_per_month_usd === null || isFree)) return;
    throw new CerverError(
      "spend_limit",
      "This account has limits, which a sandbox without a session passes by.",
      {
        hint: "Create a session, which is counted: POST /v2/sessions. Or lift the limits: PUT /v2/account/limits.",
      },
    );
  }

  /** What a provider charges for so many seconds. */
  priceOf(provider: string, seconds: number): number {
    return this.#deps.costOf(provider, seconds);
  }

  /** What a session has cost so far. */
  soFar(session: Pick<Session, "provider" | "cost_usd" | "cost_since">): number {
    const { costOf, now } = this.#deps;
    if (session.cost_since === null) return cents(session.cost_usd);
    return cents(session.cost_usd + costOf(session.provider, (now() - session.cost_since) / 1000));
  }

  async ofSession(session: Session): Promise<SessionCost> {
    const uses = await this.#deps.db
      .selectFrom("compute_uses")
      .selectAll()
      .where("session_id", "=", session.id)
      .where("sandbox_id", "is not", null)
      .orderBy("started_at")
      .execute();
    const now = this.#deps.now();
    return {
      session_id: session.id,
      cost_usd: this.soFar(session),
      max_cost_usd: session.max_cost_usd,
      uses: uses.map((use) => ({
        provider: use.provider,
        compute_id: use.compute_id,
        started_at: new Date(use.started_at).toISOString(),
        ended_at: use.ended_at === null ? null : new Date(use.ended_at).toISOString(),
        seconds: secondsOf(use, now),
        cost_usd: cents(this.#costSoFar(use)),
      })),
    };
  }

  async limits(accountId: string): Promise<AccountSpend> {
    const limits = await this.#deps.db
      .selectFrom("account_limits")
      .selectAll()
      .where("account_id", "=", accountId)
      .executeTakeFirst();
    const { spentUsd, reservedUsd, openSessions } = await this.#spend(this.#deps.db, accountId);
    return {
      spend_per_month_usd: limits?.spend_per_month_usd ?? null,
      max_sessions: limits?.max_sessions ?? null,
      spent_usd: cents(spentUsd),
      reserved_usd: cents(reservedUsd),
      open_sessions: openSessions,
    };
  }

  /** Sets limits; those that are left out stay. */
  async setLimits(
    accountId: string,
    { spend_per_month_usd, max_sessions }: AccountLimits,
  ): Promise<AccountSpend> {
    const values = {
      ...(spend_per_month_usd !== undefined && { spend_per_month_usd }),
      ...(max_sessions !== undefined && { max_sessions }),
      updated_at: this.#deps.now(),
    };
    await this.#deps.db
      .insertInto("account_limits")
      .values({ account_id: accountId, spend_per_month_usd: null, max_sessions: null, ...values })
      .onConflict((conflict) => conflict.column("account_id").doUpdateSet(values))
      .execute();
    return this.limits(accountId);
  }

  async #spend(db: Database, accountId: string): Promise<Spend> {
    const month = startOfMonth(this.#deps.now());
    const uses = await db
      .selectFrom("compute_uses")
      .selectAll()
      .where("account_id", "=", accountId)
      .where(({ eb, or }) =>
        or([eb("started_at", ">=", month), eb("ended_at", "is", null), eb("ended_at", ">=", month)]),
      )
      .execute();
    const open = uses.filter(({ ended_at }) => ended_at === null);
    const spentUsd = uses.reduce((sum, use) => sum + this.#costSoFar(use), 0);
    const reservedUsd = open.reduce(
      (sum, use) => sum + Math.max(0, use.reserved_usd - this.#costSoFar(use)),
      0,
    );
    return { spentUsd, reservedUsd, openSessions: open.length };
  }

  #costSoFar(use: ComputeUseRow): number {
    if (use.cost_usd !== null) return use.cost_usd;
    return use.sandbox_id === null ? 0 : this.#deps.costOf(use.provider, secondsOf(use, this.#deps.now()));
  }
}

interface Spend {
  spentUsd: number;
  reservedUsd: number;
  openSessions: number;
}

function refuseOver(
  limits: { spend_per_month_usd: number | null; max_sessions: number | null },
  { spentUsd, reservedUsd, openSessions }: Spend,
  wantedUsd: number,
): void {
  const { spend_per_month_usd: spend, max_sessions: sessions } = limits;
  if (sessions !== null && openSessions >= sessions) {
    throw new CerverError(
      "spend_limit",
      `This account holds ${openSessions} computes, as many as its limit allows.`,
      {
        hint: "End or pause a session, or raise max_sessions: PUT /v2/account/limits.",
        details: { kind: "max_sessions", open_sessions: openSessions, limit: sessions },
      },
    );
  }
  if (spend === null || wantedUsd === 0 || spentUsd + reservedUsd + wantedUsd <= spend + EPSILON) return;
  throw new CerverError(
    "spend_limit",
    `This session may cost $${cents(wantedUsd)}, and of this month's $${spend} only $${cents(Math.max(0, spend - spentUsd - reservedUsd))} are left.`,
    {
      hint: "Ask for a shorter timeout_minutes, end sessions that nobody needs, or raise the limit: PUT /v2/account/limits.",
      details: {
        kind: "spend_per_month",
        spent_usd: cents(spentUsd),
        reserved_usd: cents(reservedUsd),
        limit_usd: spend,
      },
    },
  );
}

/** Sums of binary fractions miss by a hair. */
const EPSILON = 1e-9;

function secondsOf({ started_at, ended_at }: ComputeUseRow, now: number): number {
  return Math.max(0, (ended_at ?? now) - started_at) / 1000;
}

function startOfMonth(now: number): number {
  const date = new Date(now);
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth());
}

/** Dollars with six digits: less than a millionth is noise. */
function cents(usd: number): number {
  return Math.round(usd * 1e6) / 1e6;
}
