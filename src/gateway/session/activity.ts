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
    this.#timer ??= setTimeout(() => void this.flush(), FLUSH_MS).unref();
  }

  /** When something last happened in a session, as far as it is not in the database yet. */
  lastNoted(sessionId: string): number | undefined {
    let last: number | undefined;
    for (const noted of this.#noted.values())
      if (noted.sessionId === sessionId) last = Math.max(last ?? 0, noted.lastAt);
    return last;
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
    const noted = [...this.#noted.values()];
    this.#noted.clear();
    if (noted.length > 0) this.#writing = this.#writing.then(() => this.#write(noted));
    return this.#writing;
  }

  async #write(noted: readonly Noted[]): Promise<void> {
    for (const { sessionId, kind, caller, firstAt, lastAt, count } of noted) {
      try {
        const updated = await this.#db
          .updateTable("sessions")
          .set({
            last_active_at: sql<number>`case when coalesce(last_active_at, 0) < ${lastAt} then ${lastAt} else last_active_at end`,
          })
          .where("id", "=", sessionId)
          .returning("id")
          .executeTakeFirst();
        // A session that was purged meanwhile has no record to write to.
        if (!updated) continue;
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
      } catch (error) {
        this.#logger.warn({ err: error, session_id: sessionId }, "activity could not be written");
      }
    }
  }
}
