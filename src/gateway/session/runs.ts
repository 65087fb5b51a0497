import { sql } from "kysely";
import { CerverError } from "../../protocol/errors.js";
import { newId } from "../../protocol/ids.js";
import type { RunAnswer, RunEvent, RunRequest, RunStatus } from "../../protocol/runs.js";
import { SandboxRunAnswer } from "../../protocol/sandbox.js";
import type { Logger } from "../../util/logger.js";
import type { CerverInterface, ProviderEnv, SandboxRecord } from "../compute/contract.js";
import type { ProviderRegistry } from "../compute/registry.js";
import type { Database } from "../store/schema.js";
import { RunStreamTap } from "./run-stream-tap.js";
import { type RunOutcome, runCall, runResult, type TranscriptOutput } from "./run-transcript.js";
import type { Session } from "./session-record.js";
import type { Transcripts } from "./transcripts.js";

export interface RunsDeps {
  db: Database;
  providers: ProviderRegistry;
  transcripts: Transcripts;
  logger: Logger;
}

/** A stream of server-sent run events, and how long it took to open. */
export interface OpenedStream {
  runId: string;
  provider: string;
  openMs: number;
  body: ReadableStream<Uint8Array>;
}

/** One execution on its way. */
interface LiveRun {
  id: string;
  session: Session;
  request: RunRequest;
  streamed: boolean;
  startedAt: number;
  /** Ends the run when its session is closed. */
  abort: AbortController;
}

/** Runs work in sessions, and puts each run on the record: its row, the transcript, the session's metrics. */
export class Runs {
  readonly #db: Database;
  readonly #providers: ProviderRegistry;
  readonly #transcripts: Transcripts;
  readonly #logger: Logger;
  readonly #live = new Map<string, Set<LiveRun>>();
  /** Sessions with ended runs that are not on the record yet. */
  readonly #recording = new Map<string, Promise<void>>();

  constructor({ db, providers, transcripts, logger }: RunsDeps) {
    this.#db = db;
    this.#providers = providers;
    this.#transcripts = transcripts;
    this.#logger = logger;
  }

  /** The sessions in which something runs now. */
  get runningSessions(): ReadonlySet<string> {
    return new Set(this.#live.keys());
  }

  isRunning(sessionId: string): boolean {
    return this.#live.has(sessionId);
  }

  /** Ends what still runs in a session. */
  cancelAll(sessionId: string): void {
    for (const run of this.#live.get(sessionId) ?? []) run.abort.abort(new SessionClosed());
  }

  /** Runs that an earlier gateway process left open have an unknown outcome. To be called once, at start. */
  async settleAbandoned(): Promise<void> {
    await this.#db
      .updateTable("runs")
      .set({ status: "lost", ended_at: Date.now() })
      .where("status", "=", "running")
      .execute();
  }

  /** Runs to the end. A non-zero exit, a timeout and cut output are answers, not failures. */
  async run(session: Session, request: RunRequest, signal: AbortSignal): Promise<RunAnswer> {
    const { provider, record } = this.#target(session);
    const run = this.#begin(session, request, false, signal);
    const env = providerEnv(session, run.abort.signal);
    try {
      // The record is written while the process starts.
      const response = provider.runSandbox(record, { ...request, run_id: run.id }, env);
      response.catch(() => {});
      await this.#recordStart(run);
      const answer = await readAnswer(await response);
      this.#recordLater(run, answer);
      return toRunAnswer(session.id, answer);
    } catch (error) {
      run.abort.abort(error);
      await this.#recordFailure(run, error, signal.aborted);
      throw error;
    } finally {
      this.#forget(run);
    }
  }

  /** Resolves when the runs that have ended are on the record, of one session or of all. */
  async recorded(sessionId?: string): Promise<void> {
    if (this.#recording.size === 0) return;
    const pending =
      sessionId === undefined ? [...this.#recording.values()] : [this.#recording.get(sessionId)];
    await Promise.all(pending);
  }

  /** Starts a run and returns its events while they happen. Cancelling the body ends the process tree. */
  async stream(session: Session, request: RunRequest, signal: AbortSignal): Promise<OpenedStream> {
    const { provider, record } = this.#target(session);
    const run = this.#begin(session, request, true, signal);
    const env = providerEnv(session, run.abort.signal);
    const began = performance.now();
    try {
      const pending = provider.runSandboxStream(record, { ...request, run_id: run.id }, env);
      pending.catch(() => {});
      await this.#recordStart(run);
      const response = await pending;
      if (!response.ok || !response.body) throw await failureOf(response);
      const openMs = performance.now() - began;
      return {
        runId: run.id,
        provider: session.provider,
        openMs,
        body: this.#tapped(run, response.body, openMs, signal),
      };
    } catch (error) {
      run.abort.abort(error);
      await this.#recordFailure(run, error, signal.aborted);
      this.#forget(run);
      throw error;
    }
  }

  /** The same bytes, read along with; a stream that breaks ends with an `error` event, never with an invented exit. */
  #tapped(
    run: LiveRun,
    body: ReadableStream<Uint8Array>,
    openMs: number,
    signal: AbortSignal,
  ): ReadableStream<Uint8Array> {
    const reader = body.getReader();
    const tap = new RunStreamTap();
    let settled = false;
    const settle = async (lost: { status: RunStatus; error: string } | undefined) => {
      if (settled) return;
      settled = true;
      const outcome = streamOutcome(tap, lost, Date.now() - run.startedAt);
      await this.#recordEnd(run, { ...outcome, openMs }).finally(() => this.#forget(run));
    };
    const fail = async (controller: ReadableStreamDefaultController<Uint8Array>, why: string) => {
      const status = signal.aborted || run.abort.signal.aborted ? "cancelled" : "lost";
      await settle({ status, error: why });
      controller.enqueue(errorEvent(run.id, status, why));
      controller.close();
    };
    return new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          try {
            const { done, value } = await reader.read();
            if (value) {
              tap.push(value);
              // The transcript and the session's status are true before the reader sees the end.
              if (tap.exit) await settle(undefined);
              controller.enqueue(value);
              return;
            }
            if (!done) return;
            if (tap.exit || tap.failure) {
              await settle(tap.failure && { status: tap.failure.status ?? "lost", error: tap.failure.error });
              controller.close();
            } else {
              await fail(controller, "the stream ended before the run did");
            }
          } catch (error) {
            await fail(controller, error instanceof Error ? error.message : String(error));
          }
        },
        cancel: async (reason) => {
          await reader.cancel(reason).catch(() => {});
          await settle(tap.exit ? undefined : { status: "cancelled", error: "the caller hung up" });
        },
      },
      { highWaterMark: 0 },
    );
  }

  /** Puts a run on the record after its answer has left: whoever reads the session waits for it, the caller does not. */
  #recordLater(run: LiveRun, answer: SandboxRunAnswer): void {
    const { id } = run.session;
    const endedAt = Date.now();
    const before = this.#recording.get(id);
    const recording = new Promise<void>((resolve) => setImmediate(resolve))
      .then(() => before)
      .then(() => this.#recordEnd(run, { ...outcomeOf(answer), openMs: null }, endedAt))
      .finally(() => {
        if (this.#recording.get(id) === recording) this.#recording.delete(id);
      });
    this.#recording.set(id, recording);
  }

  #target(session: Session): { provider: CerverInterface; record: SandboxRecord } {
    if (session.ended_at !== null) {
      throw new CerverError("session_ended", `Session ${session.id} has ended, so nothing can run in it.`, {
        hint: "Create a new one with POST /v2/sessions. Its transcript can still be read.",
      });
    }
    const provider = this.#providers.get(session.provider as SandboxRecord["provider"]);
    if (!provider || session.compute_id === null || session.sandbox_id === null) {
      throw new CerverError(
        "no_compute",
        `Session ${session.id} has no compute: it keeps a transcript only.`,
        {
          hint: 'Create a session without "compute": null to run code.',
        },
      );
    }
    return {
      provider,
      record: {
        sandboxId: session.sandbox_id,
        computeId: session.compute_id,
        provider: provider.providerName,
      },
    };
  }

  #begin(session: Session, request: RunRequest, streamed: boolean, caller: AbortSignal): LiveRun {
    const startedAt = Date.now();
    const run: LiveRun = {
      id: newId("run", startedAt),
      session,
      request,
      streamed,
      startedAt,
      abort: new AbortController(),
    };
    // One signal ends a run, whoever wants it to: the caller, or the end of the session.
    if (caller.aborted) run.abort.abort(caller.reason);
    else caller.addEventListener("abort", () => run.abort.abort(caller.reason), { once: true });
    const live = this.#live.get(session.id);
    if (live) live.add(run);
    else this.#live.set(session.id, new Set([run]));
    return run;
  }

  #forget(run: LiveRun): void {
    const live = this.#live.get(run.session.id);
    live?.delete(run);
    if (live?.size === 0) this.#live.delete(run.session.id);
  }

  async #recordStart({ id, session, request, streamed, startedAt }: LiveRun): Promise<void> {
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

  /** One transaction: the run's end, the session's counters, the two transcript entries. */
  async #recordEnd(
    run: LiveRun,
    outcome: RunOutcome & { openMs: number | null },
    endedAt: number = Date.now(),
  ): Promise<void> {
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

  /** A refusal leaves no trace, because nothing ran; a broken link leaves a run whose outcome is unknown. */
  async #recordFailure(run: LiveRun, error: unknown, cancelled: boolean): Promise<void> {
    const lost = !(error instanceof CerverError) || error.code === "compute_lost";
    if (!lost && !cancelled) {
      await this.#db
        .deleteFrom("runs")
        .where("id", "=", run.id)
        .execute()
        .catch(() => {});
      return;
    }
    await this.#recordEnd(run, {
      status: cancelled || run.abort.signal.reason instanceof SessionClosed ? "cancelled" : "lost",
      exitCode: null,
      durationMs: Date.now() - run.startedAt,
      stdout: NOTHING,
      stderr: NOTHING,
      error: error instanceof Error ? error.message : String(error),
      openMs: null,
    });
  }
}

/** Why a session's runs are cancelled when it is closed. */
class SessionClosed extends CerverError {
  constructor() {
    super("session_ended", "The session was closed while this ran, so the run was cancelled.");
  }
}

const NOTHING: TranscriptOutput = { head: "", bytes: 0 };
const encoder = new TextEncoder();

function providerEnv(session: Session, signal: AbortSignal): ProviderEnv {
  return { computeId: session.compute_id!, signal, credentials: {} };
}

async function readAnswer(response: Response): Promise<SandboxRunAnswer> {
  if (!response.ok) throw await failureOf(response);
  return SandboxRunAnswer.parse(await response.json());
}

async function failureOf(response: Response): Promise<CerverError> {
  return CerverError.fromBody(response.status, await response.json().catch(() => undefined));
}

function outcomeOf(answer: SandboxRunAnswer): RunOutcome {
  const text = (stream: "stdout" | "stderr"): TranscriptOutput => ({
    head:
      answer[`${stream}_encoding`] === "base64"
        ? `[${answer[`${stream}_bytes`]} bytes that are not text]`
        : answer[stream],
    bytes: answer[`${stream}_bytes`],
  });
  return {
    status: answer.status,
    exitCode: answer.exit_code,
    durationMs: answer.duration_ms,
    stdout: text("stdout"),
    stderr: text("stderr"),
  };
}

function streamOutcome(
  tap: RunStreamTap,
  lost: { status: RunStatus; error: string } | undefined,
  elapsedMs: number,
): RunOutcome {
  const { exit, output } = tap;
  if (exit && !lost) {
    return { status: exit.status, exitCode: exit.exit_code, durationMs: exit.duration_ms, ...output };
  }
  return {
    status: lost?.status ?? "lost",
    exitCode: null,
    durationMs: elapsedMs,
    ...output,
    ...(lost && { error: lost.error }),
  };
}

function toRunAnswer(sessionId: string, answer: SandboxRunAnswer): RunAnswer {
  return {
    session_id: sessionId,
    run_id: answer.run_id,
    status: answer.status,
    duration_ms: answer.duration_ms,
    result: {
      stdout: answer.stdout,
      stderr: answer.stderr,
      ...(answer.stdout_encoding && { stdout_encoding: answer.stdout_encoding }),
      ...(answer.stderr_encoding && { stderr_encoding: answer.stderr_encoding }),
      exit_code: answer.exit_code,
      ...(answer.signal && { signal: answer.signal }),
    },
    stdout_bytes: answer.stdout_bytes,
    stderr_bytes: answer.stderr_bytes,
    truncated: answer.truncated,
  };
}

function errorEvent(runId: string, status: RunStatus, why: string): Uint8Array {
  const event: RunEvent = {
    type: "error",
    run_id: runId,
    status,
    code: status === "lost" ? "compute_lost" : "session_ended",
    error:
      status === "lost"
        ? `The link to the compute broke while the command ran, so its outcome is unknown: ${why}.`
        : "The run was cancelled.",
    ...(status === "lost" && { hint: "Look on that machine before you run it again." }),
  };
  return encoder.encode(`event: error\ndata: ${JSON.stringify(event)}\n\n`);
}
