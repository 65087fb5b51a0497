import { createHash } from "node:crypto";
import { CerverError } from "../../protocol/errors.js";
import type { Database } from "../store/schema.js";

/** A key is known for this long. */
const KEEP_MS = 24 * 3_600_000;
/** Old keys are removed at most this often. */
const SWEEP_MS = 600_000;

/** Makes a request with an `Idempotency-Key` happen once: the same key and body get the same answer. */
export class IdempotencyKeys {
  readonly #db: Database;
  readonly #now: () => number;
  /** Requests of this process that are being worked on. */
  readonly #working = new Map<string, Promise<unknown>>();
  #sweptAt = Number.NEGATIVE_INFINITY;

  constructor({ db, now = Date.now }: { db: Database; now?: () => number }) {
    this.#db = db;
    this.#now = now;
  }

  /** Keys of requests that made no run and were never answered: the process that worked on them is gone. Called at start. */
  async forgetUnanswered(): Promise<void> {
    await this.#db
      .deleteFrom("idempotency_keys")
      .where("answer_json", "is", null)
      .where(({ eb, or, not, exists, selectFrom }) =>
        or([
          eb("run_id", "is", null),
          not(exists(selectFrom("runs").select("id").whereRef("runs.id", "=", "idempotency_keys.run_id"))),
        ]),
      )
      .execute();
  }

  /**
   * Does the work of a request once.
   *
   * The first request with a key does `work`, whose value is remembered. Later ones get that value again, wait for it, or
   * where only the run is known, get what `again` makes of it. Another request with the same key is a `conflict`.
   */
  async once<T>(
    request: { accountId: string; key: string; parts: readonly unknown[]; runId: string | null },
    { work, again, answered }: OnceHandlers<T>,
  ): Promise<T> {
    const { accountId, key, runId } = request;
    const hash = createHash("sha256").update(JSON.stringify(request.parts)).digest("hex");
    const name = `${accountId} ${key}`;
    await this.#sweep();
    const claimed = await this.#db
      .insertInto("idempotency_keys")
      .values({
        account_id: accountId,
        key,
        request_hash: hash,
        run_id: runId,
        answer_json: null,
        created_at: this.#now(),
      })
      .onConflict((conflict) => conflict.columns(["account_id", "key"]).doNothing())
      .returning("key")
      .executeTakeFirst();
    if (claimed) {
      const working = this.#work(request, work, answered);
      this.#working.set(name, working);
      working.catch(() => {}).finally(() => this.#working.delete(name));
      return working;
    }
    const known = await this.#db
      .selectFrom("idempotency_keys")
      .selectAll()
      .where("account_id", "=", accountId)
      .where("key", "=", key)
      .executeTakeFirst();
    // Released between the two: its work failed without doing anything, so this request may do it.
    if (!known) return this.once(request, { work, again, answered });
    if (known.request_hash !== hash) {
      throw new CerverError("conflict", `The Idempotency-Key "${key}" was used for another request.`, {
        hint: "Send the same request with it, or use a new key.",
      });
    }
    if (known.answer_json !== null) return answered.read(known.answer_json);
    const working = this.#working.get(name);
    if (working && answered.share) return working as Promise<T>;
    if (known.run_id !== null) return again(known.run_id);
    throw new CerverError(
      "conflict",
      `The request with the Idempotency-Key "${key}" is still being worked on.`,
      {
        hint: "Send it again in a moment.",
        details: { retryable: true, retry_after_ms: 1_000 },
      },
    );
  }

  async #work<T>(
    { accountId, key, runId }: { accountId: string; key: string; runId: string | null },
    work: () => Promise<T>,
    answered: OnceHandlers<T>["answered"],
  ): Promise<T> {
    const row = this.#db
      .updateTable("idempotency_keys")
      .where("account_id", "=", accountId)
      .where("key", "=", key);
    try {
      const value = await work();
      const answer = answered.write(value);
      if (answer !== undefined) await row.set({ answer_json: answer }).execute();
      return value;
    } catch (error) {
      // A refusal did nothing, so the key is free again. A run that may have begun keeps it, whatever its caller was told.
      if (!(await this.#isOnRecord(runId))) {
        await this.#db
          .deleteFrom("idempotency_keys")
          .where("account_id", "=", accountId)
          .where("key", "=", key)
          .execute();
      }
      throw error;
    }
  }

  /** A run that was refused is taken off the record. */
  async #isOnRecord(runId: string | null): Promise<boolean> {
    if (runId === null) return false;
    const row = await this.#db.selectFrom("runs").select("id").where("id", "=", runId).executeTakeFirst();
    return row !== undefined;
  }

  async #sweep(): Promise<void> {
    const now = this.#now();
    if (now - this.#sweptAt < SWEEP_MS) return;
    this.#sweptAt = now;
    await this.#db
      .deleteFrom("idempotency_keys")
      .where("created_at", "<", now - KEEP_MS)
      .execute();
  }
}

export interface OnceHandlers<T> {
  work(): Promise<T>;
  again(runId: string): Promise<T>;
  answered: {
    /** Whether two requests at once may have the very same value; a stream they may not. */
    share: boolean;
    /** What is remembered; undefined when it can be had again from the run. */
    write(value: T): string | undefined;
    read(text: string): T;
  };
}
