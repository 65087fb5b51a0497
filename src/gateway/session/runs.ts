import { CerverError } from "../../protocol/errors.js";
import { newId } from "../../protocol/ids.js";
import type { RunAnswer, RunEvent, RunRequest, RunStatus } from "../../protocol/runs.js";
import { SandboxRunAnswer } from "../../protocol/sandbox.js";
import type { CerverInterface, ProviderEnv, SandboxRecord } from "../compute/contract.js";
import type { ProviderRegistry } from "../compute/registry.js";
import { outcomeOf, streamOutcome } from "./run-outcome.js";
import type { RecordedRun, RunRecords } from "./run-records.js";
import { RunStreamTap } from "./run-stream-tap.js";
import type { TranscriptOutput } from "./run-transcript.js";
import type { Session } from "./session-record.js";

export interface RunsDeps {
  providers: ProviderRegistry;
  records: RunRecords;
}

/** A stream of server-sent run events, and how long it took to open. */
export interface OpenedStream {
  runId: string;
  provider: string;
  openMs: number;
  body: ReadableStream<Uint8Array>;
}

/** One execution on its way. */
interface LiveRun extends RecordedRun {
  /** Ends the run when its session is closed. */
  abort: AbortController;
}

/** Runs work in sessions, and sees to it that each run gets on the record. */
export class Runs {
  readonly #providers: ProviderRegistry;
  readonly #records: RunRecords;
  readonly #live = new Map<string, Set<LiveRun>>();

  constructor({ providers, records }: RunsDeps) {
    this.#providers = providers;
    this.#records = records;
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

  /** Runs to the end. A non-zero exit, a timeout and cut output are answers, not failures. */
  async run(session: Session, request: RunRequest, signal: AbortSignal): Promise<RunAnswer> {
    const { provider, record } = this.#target(session);
    const run = this.#begin(session, request, false, signal);
    const env = providerEnv(session, run.abort.signal);
    try {
      // The record is written while the process starts.
      const response = provider.runSandbox(record, { ...request, run_id: run.id }, env);
      response.catch(() => {});
      await this.#records.begin(run);
      const answer = await readAnswer(await response);
      this.#records.endLater(run, { ...outcomeOf(answer), openMs: null });
      return toRunAnswer(session.id, answer);
    } catch (error) {
      run.abort.abort(error);
      await this.#recordFailure(run, error, signal.aborted);
      throw error;
    } finally {
      this.#forget(run);
    }
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
      await this.#records.begin(run);
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
      await this.#records.end(run, { ...outcome, openMs }).finally(() => this.#forget(run));
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

  /** A refusal leaves no trace, because nothing ran; a broken link leaves a run whose outcome is unknown. */
  async #recordFailure(run: LiveRun, error: unknown, cancelled: boolean): Promise<void> {
    const lost = !(error instanceof CerverError) || error.code === "compute_lost";
    if (!lost && !cancelled) {
      await this.#records.discard(run);
      return;
    }
    await this.#records.end(run, {
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
