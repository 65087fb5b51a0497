import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import {
  type ListRunsQuery,
  type RunList,
  RunRequest,
  type RunStatus,
  type SecretUse,
  timeoutOf,
} from "../../../protocol/runs.js";
import type { NewTranscriptEntry } from "../../../protocol/transcript.js";
import type { Logger } from "../../../util/logger.js";
import type { Database } from "../../store/schema.js";
import type { News } from "../news.js";
import type { SecretUses } from "../secret-uses.js";
import { decodeCursor, encodeCursor } from "../session-cursor.js";
import type { Session } from "../session-record.js";
import type { Transcripts } from "../transcripts.js";
import { runNotFound, type StoredRun, toRunRecord, withoutSecrets } from "./run-record.js";
import { type RunOutcome, runCall, runResult } from "./run-transcript.js";

/** An answer takes some turns to leave; a database that is asked in between holds it up. */
const AFTER_ANSWER_MS = 2;

/** A run as the record knows it. */
export interface RecordedRun {
  id: string;
  session: Pick<Session, "id" | "account_id" | "compute_id">;
  request: RunRequest;
  streamed: boolean;
  startedAt: number;
  /** Resolves when the run's row is there. */
  begun?: Promise<void>;
}

/** How a run ended, and for a streamed one how long its stream took to open. */
export type RecordedOutcome = RunOutcome & { openMs: number | null };

export interface RunRecordsDeps {
  db: Database;
  news: News;
  transcripts: Transcripts;
  secretUses: SecretUses;
  logger: Logger;
}

/** Puts runs on the record: their rows, the transcript, the session's metrics. */
export class RunRecords {
  readonly #db: Database;
  readonly #news: News;
  readonly #transcripts: Transcripts;
  readonly #secretUses: SecretUses;
  readonly #logger: Logger;
  /** Sessions with runs whose beginning or end is not on the record yet. */
  readonly #pending = new Map<string, Promise<void>>();

  constructor({ db, news, transcripts, secretUses, logger }: RunRecordsDeps) {
    this.#db = db;
    this.#news = news;
    this.#transcripts = transcripts;
    this.#secretUses = secretUses;
    this.#logger = logger;
  }

  /** Runs that an earlier gateway process left open are out of reach until their machine is. To be called once, at start. */
  async loseAll(): Promise<void> {
    await this.#db
      .updateTable("runs")
      .set({ status: "lost", lost_since: sql<number>`coalesce(lost_since, ${Date.now()})` })
      .where("ended_at", "is", null)
      .execute();
  }

  /** The machine of these runs is out of reach. */
  async lose(computeId: string): Promise<void> {
    await this.#db
      .updateTable("runs")
      .set({ status: "lost", lost_since: Date.now() })
      .where("compute_id", "=", computeId)
      .where("ended_at", "is", null)
      .where("status", "in", ["queued", "running"])
      .execute();
  }

  /** Nobody knows whether the machine has this run. */
  async loseOne(runId: string): Promise<void> {
    await this.#db
      .updateTable("runs")
      .set({ status: "lost", lost_since: Date.now() })
      .where("id", "=", runId)
      .where("ended_at", "is", null)
      .execute();
  }

  /** The machine has this run, and it is under way. */
  async found(runId: string): Promise<void> {
    await this.#db
      .updateTable("runs")
      .set({
        status: "running",
        lost_since: null,
        confirmed_at: sql<number>`coalesce(confirmed_at, ${Date.now()})`,
      })
      .where("id", "=", runId)
      .where("ended_at", "is", null)
      .execute();
  }

  /** The run shall be cancelled once its machine can be asked. Why it was first wanted stays. */
  async wantCancel(runId: string, reason: string): Promise<void> {
    await this.#db
      .updateTable("runs")
      .set({ cancel_wanted: sql<string>`coalesce(cancel_wanted, ${reason})` })
      .where("id", "=", runId)
      .where("ended_at", "is", null)
      .execute();
  }

  /** Runs of a machine whose end is not known, oldest first. */
  open(computeId: string): Promise<StoredRun[]> {
    return this.#db
      .selectFrom("runs")
      .selectAll()
      .where("compute_id", "=", computeId)
      .where("ended_at", "is", null)
      .orderBy("started_at")
      .execute();
  }

  /** Runs of a session whose end is not known. */
  openIn(sessionId: string): Promise<StoredRun[]> {
    return this.#db
      .selectFrom("runs")
      .selectAll()
      .where("session_id", "=", sessionId)
      .where("ended_at", "is", null)
      .execute();
  }

  /** A run that never began is about to, there. */
  async reopen(runId: string, computeId: string): Promise<void> {
    await this.#db
      .updateTable("runs")
      .set({
        compute_id: computeId,
        status: "queued",
        ended_at: null,
        end_reason: null,
        lost_since: null,
        cancel_wanted: null,
      })
      .where("id", "=", runId)
      .where("end_reason", "=", "never_started")
      .execute();
  }

  /**
   * Runs that may still settle, by machine: those that are lost, and with `runningSince` those in the background that their
   * machine has had since before then, in milliseconds since 1970.
   */
  async unsettled(runningSince?: number): Promise<Map<string, string[]>> {
    const rows = await this.#db
      .selectFrom("runs")
      .select(["id", "compute_id"])
      .where("ended_at", "is", null)
      .where("compute_id", "is not", null)
      .where(({ eb, and, or }) =>
        or([
          eb("status", "=", "lost"),
          ...(runningSince === undefined
            ? []
            : [
                and([
                  eb("status", "=", "running"),
                  eb("background", "=", 1),
                  eb("confirmed_at", "<=", runningSince),
                ]),
              ]),
        ]),
      )
      .execute();
    const byCompute = new Map<string, string[]>();
    for (const { id, compute_id } of rows)
      byCompute.set(compute_id!, [...(byCompute.get(compute_id!) ?? []), id]);
    return byCompute;
  }

  async byIds(ids: readonly string[]): Promise<StoredRun[]> {
    if (ids.length === 0) return [];
    return this.#db.selectFrom("runs").selectAll().where("id", "in", ids).execute();
  }

  /** A run of this session; anything else is not found. */
  async get(session: Session, runId: string): Promise<StoredRun> {
    await this.recorded(session.id);
    const row = await this.#db
      .selectFrom("runs")
      .selectAll()
      .where("id", "=", runId)
      .where("session_id", "=", session.id)
      .executeTakeFirst();
    if (row) return row;
    throw runNotFound(runId);
  }

  /** The session of one of the account's runs. */
  async sessionOf(accountId: string, runId: string): Promise<string> {
    await this.recorded();
    const row = await this.#db
      .selectFrom("runs")
      .select("session_id")
      .where("id", "=", runId)
      .where("account_id", "=", accountId)
      .executeTakeFirst();
    if (row) return row.session_id;
    throw runNotFound(runId);
  }

  /** A page of runs, newest first, of one session or of the account. */
  async list(of: { sessionId: string } | { accountId: string }, query: ListRunsQuery): Promise<RunList> {
    await this.recorded("sessionId" in of ? of.sessionId : undefined);
    let rows = this.#db
      .selectFrom("runs")
      .selectAll()
      .orderBy("started_at", "desc")
      .orderBy("id", "desc")
      .limit(query.limit + 1);
    rows =
      "sessionId" in of
        ? rows.where("session_id", "=", of.sessionId)
        : rows.where("account_id", "=", of.accountId);
    if (query.status !== undefined) rows = rows.where("status", "=", query.status);
    if (query.cursor !== undefined) {
      const { createdAt, id } = decodeCursor(query.cursor);
      rows = rows.where(({ eb, or, and }) =>
        or([eb("started_at", "<", createdAt), and([eb("started_at", "=", createdAt), eb("id", "<", id)])]),
      );
    }
    const found = await rows.execute();
    const page = found.slice(0, query.limit);
    const last = page.at(-1);
    return {
      runs: page.map(toRunRecord),
      ...(found.length > query.limit &&
        last && { next_cursor: encodeCursor({ created_at: last.started_at, id: last.id }) }),
    };
  }

  /** Resolves when what has begun and ended is on the record, in one session or in all. */
  async recorded(sessionId?: string): Promise<void> {
    if (this.#pending.size === 0) return;
    const pending = sessionId === undefined ? [...this.#pending.values()] : [this.#pending.get(sessionId)];
    await Promise.all(pending);
  }

  /** Puts a run on the record that is about to begin: `queued` until its machine has said that it has it. */
  async begin({ id, session, request, streamed, startedAt }: RecordedRun, queued = false): Promise<void> {
    await this.#db
      .insertInto("runs")
      .values({
        id,
        session_id: session.id,
        account_id: session.account_id,
        compute_id: session.compute_id,
        runtime: request.runtime,
        status: queued ? "queued" : "running",
        streamed: Number(streamed),
        background: Number(request.background ?? false),
        request_json: JSON.stringify(withoutSecrets(request)),
        timeout_ms: timeoutOf(request) * 1000,
        started_at: startedAt,
        on_transcript: 0,
      })
      .execute();
    this.#tell(session, id, queued ? "queued" : "running");
  }

  #tell(session: RecordedRun["session"], run_id: string, status: RunStatus): void {
    this.#news.tell(session, { type: "run", session_id: session.id, run_id, status });
  }

  /** Puts the call of a run on the transcript that goes on by itself. Of one that has ended already, its end did that. */
  async noteCall({ id, session, request, startedAt }: RecordedRun): Promise<void> {
    const appended = await this.#db.transaction().execute(async (tx) => {
      const open = await tx
        .updateTable("runs")
        .set({ on_transcript: 1 })
        .where("id", "=", id)
        .where("on_transcript", "=", 0)
        .where("ended_at", "is", null)
        .returning("id")
        .executeTakeFirst();
      return open && this.#transcripts.appendWithin(tx, session.id, [runCall(id, request, startedAt)]);
    });
    if (appended) this.#transcripts.tell(session, appended);
  }

  /** {@link begin}, which whoever reads the session waits for, and the run does not. */
  beginLater(run: RecordedRun): void {
    // The run goes on its way first: to a relay of this process, that takes a turn.
    const later = new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve)));
    run.begun = later.then(() => this.begin(run));
    this.#later(run.session.id, run.begun);
  }

  /** Takes a run off the record that never ran. */
  async discard(run: RecordedRun): Promise<void> {
    try {
      await run.begun;
      await this.#db.deleteFrom("runs").where("id", "=", run.id).execute();
    } catch (error) {
      this.#logger.error({ err: error, run_id: run.id }, "a run could not be discarded");
    }
  }

  /** Puts an end on the record after its answer has left: whoever reads the session waits for it, the caller does not. */
  endLater(run: RecordedRun, outcome: RecordedOutcome): void {
    const endedAt = Date.now();
    this.#later(
      run.session.id,
      sleep(AFTER_ANSWER_MS).then(() => this.end(run, outcome, endedAt)),
    );
  }

  #later(sessionId: string, work: Promise<void>): void {
    const before = this.#pending.get(sessionId);
    const pending: Promise<void> = Promise.all([before, work])
      .then(
        () => {},
        (error: unknown) =>
          this.#logger.error({ err: error, session_id: sessionId }, "a run could not be recorded"),
      )
      .finally(() => {
        if (this.#pending.get(sessionId) === pending) this.#pending.delete(sessionId);
      });
    this.#pending.set(sessionId, pending);
  }

  /**
   * One transaction: the run's end, the session's counters, the transcript. A run that has ended stays as it is, so that
   * whoever tells of an end first is the only one.
   */
  async end(run: RecordedRun, outcome: RecordedOutcome, endedAt: number = Date.now()): Promise<void> {
    const { session, streamed } = run;
    try {
      await run.begun;
      const appended = await this.#db.transaction().execute(async (tx) => {
        const ended = await tx
          .updateTable("runs")
          .set({
            status: outcome.status,
            exit_code: outcome.exitCode,
            signal: outcome.signal ?? null,
            stdout_bytes: outcome.stdout.bytes,
            stderr_bytes: outcome.stderr.bytes,
            duration_ms: outcome.durationMs,
            end_reason: outcome.endReason ?? null,
            receipt_json: outcome.receipt ? JSON.stringify(outcome.receipt) : null,
            ended_at: endedAt,
          })
          .where("id", "=", run.id)
          .where("ended_at", "is", null)
          .returning("on_transcript")
          .executeTakeFirst();
        if (!ended) return undefined;
        await this.#secretUses.ofRun(usedIn(run), outcome.secretsUsed, tx);
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
        const entries: NewTranscriptEntry[] = [runResult(run.id, outcome)];
        if (ended.on_transcript === 0) entries.unshift(runCall(run.id, run.request, run.startedAt));
        return this.#transcripts.appendWithin(tx, session.id, entries);
      });
      if (!appended) return;
      this.#transcripts.tell(session, appended);
      this.#tell(session, run.id, outcome.status);
    } catch (error) {
      // The run has happened: its answer is worth more than its record.
      this.#logger.error({ err: error, run_id: run.id }, "the end of a run could not be recorded");
    }
  }

  /** Puts on the record what a run was given that goes on by itself. */
  async noteSecrets(run: RecordedRun, used: readonly SecretUse[] | undefined): Promise<void> {
    await this.#secretUses.ofRun(usedIn(run), used);
  }

  /** Says on the transcript that nobody knows for now how a run ended: its caller has been told so. */
  async noteLost(run: RecordedRun, why: string): Promise<void> {
    const { session, id } = run;
    try {
      await run.begun;
      const appended = await this.#db.transaction().execute(async (tx) => {
        const open = await tx
          .updateTable("runs")
          .set({
            status: "lost",
            lost_since: sql<number>`coalesce(lost_since, ${Date.now()})`,
            on_transcript: 1,
          })
          .where("id", "=", id)
          .where("ended_at", "is", null)
          .returning("on_transcript")
          .executeTakeFirst();
        if (!open) return undefined;
        return this.#transcripts.appendWithin(tx, session.id, [
          runCall(id, run.request, run.startedAt),
          runResult(id, unknownOutcome(why, Date.now() - run.startedAt)),
        ]);
      });
      if (!appended) return;
      this.#transcripts.tell(session, appended);
      this.#tell(session, id, "lost");
    } catch (error) {
      this.#logger.error({ err: error, run_id: id }, "a lost run could not be recorded");
    }
  }
}

function usedIn({ id, session, startedAt }: RecordedRun) {
  return { runId: id, sessionId: session.id, accountId: session.account_id, at: startedAt };
}

/** A row as the run it is of. */
export function recordedRun(row: StoredRun): RecordedRun {
  const request = RunRequest.safeParse(JSON.parse(row.request_json ?? "{}"));
  return {
    id: row.id,
    session: { id: row.session_id, account_id: row.account_id, compute_id: row.compute_id },
    request: request.success ? request.data : RunRequest.parse({ code: "(not recorded)" }),
    streamed: row.streamed === 1,
    startedAt: row.started_at,
  };
}

export function unknownOutcome(error: string, durationMs: number): RunOutcome {
  const nothing = { head: "", bytes: 0 };
  return { status: "lost", exitCode: null, durationMs, stdout: nothing, stderr: nothing, error };
}
