import type { Logger } from "../../util/logger.js";
import type { Database } from "../store/schema.js";
import type { Activity } from "./activity.js";
import type { Costs } from "./costs.js";
import type { Lifecycle } from "./lifecycle.js";
import type { Orphans } from "./orphans.js";
import type { Runs } from "./runs/runs.js";
import type { Session } from "./session-record.js";
import type { SessionSandboxes } from "./session-sandbox.js";

/** How often deadlines, idle clocks and caps are looked at. */
const LOOK_MS = 5_000;
/** What could not be ended is tried again after so many looks: a minute. */
const ORPHAN_LOOKS = 12;
/** How many sessions are read, and judged, at once. */
const PAGE = 50;

export interface HousekeepingDeps {
  db: Database;
  runs: Runs;
  activity: Activity;
  costs: Costs;
  orphans: Orphans;
  sandboxes: SessionSandboxes;
  life: Lifecycle;
  close: (session: Session, reason: string) => Promise<void>;
  logger: Logger;
  now: () => number;
  lookMs?: number | undefined;
}

/** Ends what is over by itself: sessions at their deadline or their cap; lets those rest that nobody uses. */
export class Housekeeping {
  readonly #deps: HousekeepingDeps;
  readonly #timers: NodeJS.Timeout[];
  #looking: Promise<void> = Promise.resolve();

  constructor(deps: HousekeepingDeps) {
    this.#deps = deps;
    const lookMs = deps.lookMs ?? LOOK_MS;
    this.#timers = [
      setInterval(() => void this.look(), lookMs).unref(),
      setInterval(() => void this.#sweep(), ORPHAN_LOOKS * lookMs).unref(),
    ];
  }

  async stop(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    await this.#looking;
  }

  /** Looks once. Looks never overlap. */
  look(): Promise<void> {
    this.#looking = this.#looking.then(() =>
      this.#look().catch((error: unknown) =>
        this.#deps.logger.error({ err: error }, "sessions could not be looked at"),
      ),
    );
    return this.#looking;
  }

  async #look(): Promise<void> {
    // Each page is read when the one before has been judged: what changed meanwhile is seen.
    for (let after = "", more = true; more; ) {
      const page = await this.#candidates(after);
      await Promise.all(page.map((session) => this.#judgeSafely(session)));
      after = page.at(-1)?.id ?? "";
      more = page.length === PAGE;
    }
  }

  /** Sessions that may be over or at rest by now, as far as their rows can tell. */
  #candidates(after: string): Promise<Session[]> {
    const now = this.#deps.now();
    return this.#deps.db
      .selectFrom("sessions")
      .selectAll()
      .where("id", ">", after)
      .where("ended_at", "is", null)
      .where("compute_id", "is not", null)
      .where(({ eb, fn, ref, or, and }) =>
        or([
          eb("deadline_at", "<=", now),
          and([
            eb("paused_at", "is", null),
            // Activity that is not in the row yet only makes it later.
            eb(eb(fn.coalesce("last_active_at", "created_at"), "+", ref("idle_timeout_ms")), "<=", now),
          ]),
          and([eb("paused_at", "is", null), eb("max_cost_usd", ">", 0), eb("cost_since", "is not", null)]),
        ]),
      )
      .orderBy("id")
      .limit(PAGE)
      .execute();
  }

  async #judgeSafely(session: Session): Promise<void> {
    try {
      await this.#judge(session);
    } catch (error) {
      this.#deps.logger.warn(
        { err: error, session_id: session.id },
        "a session could not be ended or paused",
      );
    }
  }

  async #judge(session: Session): Promise<void> {
    const { close, life, sandboxes } = this.#deps;
    const due = this.#due(session);
    if (due === undefined) return;
    // A vendor that cannot keep the files has no rest to offer.
    if (due !== "idle" || !sandboxes.canRest(session)) return close(session, due);
    await life.pause(session, { discard_files: false }, "idle", (now) => this.#due(now) === "idle");
  }

  /** Why a session is to end or to rest now, if it is. */
  #due(session: Session): "deadline" | "cost_cap" | "idle" | undefined {
    const now = this.#deps.now();
    if (session.ended_at !== null || session.compute_id === null) return undefined;
    if (session.deadline_at !== null && session.deadline_at <= now) return "deadline";
    if (session.paused_at !== null) return undefined;
    const { max_cost_usd: cap } = session;
    if (cap !== null && cap > 0 && this.#deps.costs.soFar(session) >= cap) return "cost_cap";
    const sleepsAt = this.sleepsAt(session);
    return sleepsAt !== null && sleepsAt <= now ? "idle" : undefined;
  }

  /** When a session is paused if nothing happens until then; null when it is not, for now. */
  sleepsAt(session: Session): number | null {
    if (session.idle_timeout_ms === null || session.paused_at !== null || session.compute_id === null)
      return null;
    const { runs, activity } = this.#deps;
    if (runs.isRunning(session.id) || activity.isHeld(session.id)) return null;
    const lastAt = Math.max(
      session.last_active_at ?? session.created_at,
      activity.lastNoted(session.id) ?? 0,
    );
    return lastAt + session.idle_timeout_ms;
  }

  async #sweep(): Promise<void> {
    await this.#deps.orphans
      .sweep()
      .catch((error: unknown) => this.#deps.logger.warn({ err: error }, "orphans could not be looked at"));
  }
}
