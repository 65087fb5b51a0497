import { sql } from "kysely";
import type { ActivityKind } from "../../protocol/awake.js";
import type { Logger } from "../../util/logger.js";
import type { Database, SessionActivityRow } from "../store/schema.js";

/** Activity goes to the database this often. */
const FLUSH_MS = 2_000;

interface Noted {
  sessionId: string;
  kind: ActivityKind;
  caller: string;
  firstAt: number;
  lastAt: number;
  count: number;
}

/** What moved the idle clock of each session, and who moved it. Noting is free of I/O: it is written a moment later. */
export class Activity {
  readonly #db: Database;
  readonly #now: () => number;
  readonly #logger: Logger;
  readonly #noted = new Map<string, Noted>();
  readonly #lastAt = new Map<string, number>();
  readonly #held = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor({ db, now, logger }: { db: Database; now: () => number; logger: Logger }) {
    this.#db = db;
    this.#now = now;
    this.#logger = logger;
  }

  /** Something happened in a session. `caller` is a token's id, `page` or `local`. */
  note(sessionId: string, kind: ActivityKind, caller: string): void {
    const at = this.#now();
    const key = `${sessionId} ${kind} ${caller}`;
    const noted = this.#noted.get(key);
    if (noted) {
      noted.lastAt = at;
      noted.count++;
    } else this.#noted.set(key, { sessionId, kind, caller, firstAt: at, lastAt: at, count: 1 });
    this.touch(sessionId);
  }

  /** A session was in use until now: what had begun in it before is over. */
  touch(sessionId: string): void {
    this.#lastAt.set(sessionId, this.#now());
    this.#timer ??= setTimeout(() => void this.flush(), FLUSH_MS).unref();
  }

  /** Something goes on in a session until the returned function is called. */
  hold(sessionId: string, kind: ActivityKind, caller: string): () => void {
    this.note(sessionId, kind, caller);
    this.#held.set(sessionId, (this.#held.get(sessionId) ?? 0) + 1);
    return () => {
      const left = this.#held.get(sessionId)! - 1;
      if (left > 0) this.#held.set(sessionId, left);
      else this.#held.delete(sessionId);
      this.touch(sessionId);
    };
  }

  isHeld(sessionId: string): boolean {
    return this.#held.has(sessionId);
  }

  /** When something last happened in a session, as far as it is not in the database yet. */
  lastNoted(sessionId: string): number | undefined {
    return this.#lastAt.get(sessionId);
  }

  /** All that has moved a session's clock, latest first. */
  async of(sessionId: string): Promise<SessionActivityRow[]> {
    await this.flush();
    return this.#db
      .selectFrom("session_activity")
      .selectAll()
      .where("session_id", "=", sessionId)
      .orderBy("last_at", "desc")
      .limit(100)
      .execute();
  }

  /** Writes what was noted. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const [noted, lastAt] = [[...this.#noted.values()], [...this.#lastAt]];
    this.#noted.clear();
    if (lastAt.length > 0) this.#writing = this.#writing.then(() => this.#write(noted, lastAt));
    return this.#writing;
  }

  async #write(noted: readonly Noted[], lastAt: readonly [sessionId: string, at: number][]): Promise<void> {
    try {
      for (const [sessionId, at] of lastAt) {
        await this.#db
          .updateTable("sessions")
          .set({ last_active_at: at })
          .where("id", "=", sessionId)
          .where(({ eb, or }) => or([eb("last_active_at", "is", null), eb("last_active_at", "<", at)]))
          .execute();
        // Written: from now on the row says it.
        if (this.#lastAt.get(sessionId) === at) this.#lastAt.delete(sessionId);
      }
      for (const one of noted) await this.#add(one);
    } catch (error) {
      this.#logger.warn({ err: error }, "activity could not be written");
    }
  }

  async #add({ sessionId, kind, caller, firstAt, lastAt, count }: Noted): Promise<void> {
    // A session that was purged meanwhile has no ledger.
    const there = await this.#db
      .selectFrom("sessions")
      .select("id")
      .where("id", "=", sessionId)
      .executeTakeFirst();
    if (!there) return;
    await this.#db
      .insertInto("session_activity")
      .values({ session_id: sessionId, kind, caller, first_at: firstAt, last_at: lastAt, count })
      .onConflict((conflict) =>
        conflict.columns(["session_id", "kind", "caller"]).doUpdateSet({
          last_at: lastAt,
          count: sql<number>`session_activity.count + ${count}`,
        }),
      )
      .execute();
  }
}
