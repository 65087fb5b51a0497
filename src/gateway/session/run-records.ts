import { sql } from "kysely";
import type { RunRequest } from "../../protocol/runs.js";
import type { Logger } from "../../util/logger.js";
import type { Database } from "../store/schema.js";
import { type RunOutcome, runCall, runResult } from "./run-transcript.js";
import type { Session } from "./session-record.js";
import type { Transcripts } from "./transcripts.js";

/** A run as the record knows it. */
export interface RecordedRun {
  id: string;
  session: Session;
  request: RunRequest;
  streamed: boolean;
  startedAt: number;
}

/** How a run ended, and for a streamed one how long its stream took to open. */
export type RecordedOutcome = RunOutcome & { openMs: number | null };

export interface RunRecordsDeps {
  db: Database;
  transcripts: Transcripts;
  logger: Logger;
}

/** Puts runs on the record: their rows, the transcript, the session's metrics. */
export class RunRecords {
  readonly #db: Database;
  readonly #transcripts: Transcripts;
  readonly #logger: Logger;
  /** Sessions with ended runs that are not on the record yet. */
  readonly #pending = new Map<string, Promise<void>>();

  constructor({ db, transcripts, logger }: RunRecordsDeps) {
    this.#db = db;
    this.#transcripts = transcripts;
    this.#logger = logger;
  }

  /** Runs that an earlier gateway process left open have an unknown outcome. To be called once, at start. */
  async settleAbandoned(): Promise<void> {
    await this.#db
      .updateTable("runs")
      .set({ status: "lost", ended_at: Date.now() })
      .where("status", "=", "running")
      .execute();
  }

  /** Resolves when the runs that have ended are on the record, of one session or of all. */
  async recorded(sessionId?: string): Promise<void> {
    if (this.#pending.size === 0) return;
    const pending = sessionId === undefined ? [...this.#pending.values()] : [this.#pending.get(sessionId)];
    await Promise.all(pending);
  }

  async begin({ id, session, request, streamed, startedAt }: RecordedRun): Promise<void> {
    await this.#db
      .insertInto("runs")
      .values({
        id,
        session_id: session.id,
        account_id: session.account_id,
        compute_id: session.compute_id,
        runtime: request.runtime,
        status: "running",
        streamed: Number(streamed),
        started_at: startedAt,
      })
      .execute();
  }

  /** Takes a run off the record that never ran. */
  async discard({ id }: RecordedRun): Promise<void> {
    await this.#db
      .deleteFrom("runs")
      .where("id", "=", id)
      .execute()
      .catch((error: unknown) =>
        this.#logger.error({ err: error, run_id: id }, "a run could not be discarded"),
      );
  }

  /** Puts a run on the record after its answer has left: whoever reads the session waits for it, the caller does not. */
  endLater(run: RecordedRun, outcome: RecordedOutcome): void {
    const { id } = run.session;
    const endedAt = Date.now();
    const before = this.#pending.get(id);
    const pending = new Promise<void>((resolve) => setImmediate(resolve))
      .then(() => before)
      .then(() => this.end(run, outcome, endedAt))
      .finally(() => {
        if (this.#pending.get(id) === pending) this.#pending.delete(id);
      });
    this.#pending.set(id, pending);
  }

  /** One transaction: the run's end, the session's counters, the two transcript entries. */
  async end(run: RecordedRun, outcome: RecordedOutcome, endedAt: number = Date.now()): Promise<void> {
    const { session, streamed } = run;
    try {
      await this.#db.transaction().execute(async (tx) => {
        await tx
          .updateTable("runs")
          .set({
            status: outcome.status,
            exit_code: outcome.exitCode,
            stdout_bytes: outcome.stdout.bytes,
            stderr_bytes: outcome.stderr.bytes,
            ended_at: endedAt,
          })
          .where("id", "=", run.id)
          .execute();
        await tx
          .updateTable("sessions")
          .set({
            interaction_count: sql<number>`interaction_count + 1`,
            first_exec_at: sql<number>`coalesce(first_exec_at, ${run.startedAt})`,
            ...(streamed
              ? {
                  stream_count: sql<number>`stream_count + 1`,
                  stream_open_total_ms: sql<number>`stream_open_total_ms + ${outcome.openMs ?? 0}`,
                }
              : {
                  exec_count: sql<number>`exec_count + 1`,
                  exec_latency_total_ms: sql<number>`exec_latency_total_ms + ${endedAt - run.startedAt}`,
                  last_exec_latency_ms: endedAt - run.startedAt,
                }),
          })
          .where("id", "=", session.id)
          .execute();
        await this.#transcripts.appendWithin(tx, session.id, [
          runCall(run.id, run.request, run.startedAt),
          runResult(run.id, outcome),
        ]);
      });
    } catch (error) {
      // The run has happened: its answer is worth more than its record.
      this.#logger.error({ err: error, run_id: run.id }, "the end of a run could not be recorded");
    }
  }
}
