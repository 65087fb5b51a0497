import { CerverError } from "../../../protocol/errors.js";
import { newId } from "../../../protocol/ids.js";
import {
  type CancelAnswer,
  hasEnded,
  type KillReceipt,
  type ListRunsQuery,
  type RunAnswer,
  type RunList,
  type RunRecord,
  type RunRequest,
  type RunStatus,
  timeoutOf,
} from "../../../protocol/runs.js";
import type { KeptRun } from "../../../protocol/sandbox.js";
import type { Logger } from "../../../util/logger.js";
import { wordsOf } from "../../../util/words-of.js";
import type { Computes } from "../../compute/computes.js";
import {
  type DurableRuns,
  type ProviderAdapter,
  type ProviderEnv,
  type RunRef,
  registeredName,
} from "../../compute/contract.js";
import type { ProviderRegistry } from "../../compute/registry.js";
import { refuseSecretsAt } from "../secret-references.js";
import type { Session } from "../session-record.js";
import { type PlacedSandbox, placed } from "../session-sandbox.js";
import { type LiveRun, LiveRuns } from "./live-runs.js";
import { errorEvent, readAnswer, toRunAnswer } from "./run-answer.js";
import {
  CallerGone,
  CallerMayComeBack,
  FinallyLost,
  failureOf,
  isLost,
  isOffline,
  isUnknown,
  notDurable,
  SessionClosed,
} from "./run-failures.js";
import { keptOutcome, outcomeOf, streamOutcome } from "./run-outcome.js";
import { type StoredRun, toRunRecord } from "./run-record.js";
import { type RecordedRun, type RunRecords, recordedRun, unknownOutcome } from "./run-records.js";
import { CANCEL_TIMEOUT_MS, RunSettlement } from "./run-settlement.js";
import { RunStreamTap } from "./run-stream-tap.js";

/** How often a link may break under one caller before it is told that the outcome is unknown. */
const MAX_REJOINS = 100;
/** How long a machine may take to say what it knows of a run. */
const LOOKUP_TIMEOUT_MS = 10_000;

export interface RunsDeps {
  providers: ProviderRegistry;
  computes: Computes;
  records: RunRecords;
  /** How long a caller is kept waiting for a machine whose link broke. */
  graceMs: number;
  /** Told when nothing runs in a session any more. */
  onQuiet: (sessionId: string) => void;
  logger: Logger;
}

/** A stream of server-sent run events, and how long it took to open. */
export interface OpenedStream {
  runId: string;
  provider: string;
  openMs: number;
  body: ReadableStream<Uint8Array>;
}

/** Which part of an output is wanted: `until` is not included. */
export interface OutputRange {
  stream: "stdout" | "stderr";
  from: number;
  until: number | undefined;
}

/** Runs work in sessions, and sees to it that the end of each run gets on the record, and only its true end. */
export class Runs {
  readonly #deps: RunsDeps;
  readonly #live: LiveRuns;
  readonly #settlement: RunSettlement;
  #stopping = false;

  constructor(deps: RunsDeps) {
    this.#deps = deps;
    this.#live = new LiveRuns(deps.onQuiet);
    this.#settlement = new RunSettlement({ ...deps, live: this.#live });
  }

  /** The sessions in which something runs now. */
  get runningSessions(): ReadonlySet<string> {
    return this.#live.sessions;
  }

  isRunning(sessionId: string): boolean {
    return this.#live.isRunning(sessionId);
  }

  /** This gateway stops: that its callers lose their connections now does not mean that they have gone. */
  stopping(): void {
    this.#stopping = true;
    this.#settlement.stop();
  }

  /** Lets nobody wait any longer for runs of a session that was closed, or that loses its compute. */
  closeAll(sessionId: string, reason?: string): void {
    for (const run of this.#live.callersOf(sessionId)) {
      // Who follows a run hears its true end from the machine, which ends it with its sandbox.
      if (!this.#reachable(run.session)) run.abort.abort(new SessionClosed(reason));
    }
  }

  /** The machine that keeps a run, if it can be asked now. */
  #reachable(of: { compute_id: string | null }): DurableRuns | undefined {
    return of.compute_id !== null && this.#deps.computes.isOnline(of.compute_id)
      ? this.#settlement.durable(of)
      : undefined;
  }

  /** Ends every run of a session whose compute is about to be taken away, and waits until they have ended. */
  async endAll(session: Session, reason: string): Promise<void> {
    const { records } = this.#deps;
    this.closeAll(session.id, reason);
    await records.recorded(session.id);
    await Promise.all(
      (await records.openIn(session.id)).map(async (row) => {
        await records.wantCancel(row.id, reason);
        // A run may still be on a machine that the session had before: it is cancelled when that is back.
        const durable = this.#reachable(row);
        await (durable && this.#settlement.cancelWanted(refOf(row), durable))?.catch((error: unknown) => {
          if (!isLost(error) && this.#reachable(row)) throw error;
        });
      }),
    );
  }

  /** Puts a run on the record before anything of it is sent. What could never run is refused, and leaves nothing there. */
  async announce(session: Session, request: RunRequest, streamed: boolean, id: string): Promise<void> {
    refuseSecretsAt(this.#target(session).record.provider, request);
    if (request.background && !this.#settlement.durable(session)) throw notDurable();
    const run = { id, session, request, streamed, startedAt: Date.now() };
    this.#settlement.announced(id);
    await this.#deps.records.begin(run, request.background);
  }

  /** A run that never began is about to, on the compute that the session has now. */
  async reopen(session: Session, runId: string): Promise<StoredRun> {
    const { record } = this.#target(session);
    if (!this.#settlement.durable(session)) throw notDurable();
    this.#settlement.announced(runId);
    await this.#deps.records.reopen(runId, record.computeId);
    return this.#deps.records.get(session, runId);
  }

  /** Runs to the end. A non-zero exit, a timeout and cut output are answers, not failures. */
  async run(session: Session, request: RunRequest, signal: AbortSignal, runId?: string): Promise<RunAnswer> {
    const target = this.#target(session);
    refuseSecretsAt(target.record.provider, request);
    const run = this.#begin(session, request, false, signal, runId);
    if (runId === undefined) this.#deps.records.beginLater(run);
    try {
      const first = () => target.adapter.runSandbox(target.record, this.#sent(request, run), this.#env(run));
      return await this.#answered(run, first, first, true);
    } finally {
      this.#live.forget(run);
    }
  }

  /** Waits for the end of a run that another request has begun. */
  async await(
    session: Session,
    known: StoredRun,
    request: RunRequest,
    signal: AbortSignal,
  ): Promise<RunAnswer> {
    // Nothing of it ever ran: this request may begin it.
    const row = known.end_reason === "never_started" ? await this.reopen(session, known.id) : known;
    const { durable } = this.#keeper(row);
    const run = this.#watch(row, signal);
    try {
      const anew = this.#anew(session, row, ({ adapter, record }) =>
        adapter.runSandbox(record, this.#sent(request, run), this.#env(run)),
      );
      return await this.#answered(run, () => durable.answer(refOf(row), this.#env(run)), anew, false);
    } finally {
      this.#live.forget(run);
    }
  }

  /** Asks until there is an answer: a link that broke is waited for, and the run found again behind it. */
  async #answered(
    run: LiveRun,
    first: () => Promise<Response>,
    anew: () => Promise<Response>,
    begins: boolean,
  ): Promise<RunAnswer> {
    let ask = first;
    for (let attempt = 0; ; attempt++) {
      try {
        const response = ask();
        response.catch(() => {});
        const answer = await readAnswer(await response);
        this.#deps.records.endLater(run, { ...outcomeOf(answer), openMs: null });
        return toRunAnswer(run.session.id, answer);
      } catch (error) {
        const durable = this.#settlement.durable(run.session);
        const lost = isLost(error);
        if (run.abort.signal.aborted) throw await this.#left(run, error);
        if (begins && !lost && attempt === 0) {
          // Refused: nothing ran.
          await this.#deps.records.discard(run);
          throw error;
        }
        // The first request never arrived, and never will: an id starts one run, so this one may begin it.
        if (!begins && ask === first && isUnknown(error)) {
          ask = anew;
          continue;
        }
        if (!lost && !isOffline(error)) throw error;
        if (!durable || attempt >= MAX_REJOINS) throw await this.#gaveUp(run, error);
        const found = await this.#findAgain(run, durable, error);
        if (found === "never_began") ask = anew;
        else if (hasEnded(found.status) || found.status === "running") {
          ask = () => durable.answer(refOf(run), this.#env(run));
        } else throw await this.#unknowable(run, found);
      }
    }
  }

  /** Starts a run and returns its events while they happen. Cancelling the body ends the run, unless it is its own. */
  async stream(
    session: Session,
    request: RunRequest,
    signal: AbortSignal,
    runId?: string,
  ): Promise<OpenedStream> {
    const target = this.#target(session);
    refuseSecretsAt(target.record.provider, request);
    const run = this.#begin(session, request, true, signal, runId);
    if (runId === undefined) this.#deps.records.beginLater(run);
    const first = () =>
      target.adapter.runSandboxStream(target.record, this.#sent(request, run), this.#env(run));
    return this.#opened(run, target.adapter, first, first, { stdout: 0, stderr: 0 }, true);
  }

  /** The events of a run that was begun before, from these offsets on. */
  async follow(
    session: Session,
    known: StoredRun,
    offsets: { stdout: number; stderr: number },
    signal: AbortSignal,
    request?: RunRequest,
  ): Promise<OpenedStream> {
    const isAgain = request !== undefined && known.end_reason === "never_started";
    const row = isAgain ? await this.reopen(session, known.id) : known;
    const { provider, durable } = this.#keeper(row);
    const run = this.#watch(row, signal);
    const first = () => durable.stream(refOf(row), offsets, this.#env(run));
    const anew =
      request &&
      this.#anew(session, row, (target) =>
        target.adapter.runSandboxStream(target.record, this.#sent(request, run), this.#env(run)),
      );
    return this.#opened(run, provider, first, anew, offsets, false);
  }

  async #opened(
    run: LiveRun,
    provider: ProviderAdapter,
    first: () => Promise<Response>,
    anew: (() => Promise<Response>) | undefined,
    offsets: { stdout: number; stderr: number },
    begins: boolean,
  ): Promise<OpenedStream> {
    const began = performance.now();
    const durable = this.#settlement.durable(run.session);
    let ask = first;
    for (let attempt = 0; ; attempt++) {
      try {
        const response = await ask();
        if (!response.ok || !response.body) throw await failureOf(response);
        const openMs = performance.now() - began;
        const body = this.#tapped(run, response.body, openMs, offsets);
        return { runId: run.id, provider: registeredName(provider), openMs, body };
      } catch (error) {
        try {
          if (run.abort.signal.aborted) throw await this.#left(run, error);
          if (begins && attempt === 0 && !isLost(error)) {
            await this.#deps.records.discard(run);
            throw error;
          }
          if (!begins && anew && ask === first && isUnknown(error)) {
            ask = anew;
            continue;
          }
          if (!durable || !(isLost(error) || isOffline(error)) || attempt >= MAX_REJOINS)
            throw begins ? await this.#gaveUp(run, error) : error;
          const found = await this.#findAgain(run, durable, error);
          if (found === "never_began") ask = anew ?? first;
          else if (hasEnded(found.status) || found.status === "running")
            ask = () => durable.stream(refOf(run), offsets, this.#env(run));
          else throw await this.#unknowable(run, found);
        } catch (final) {
          this.#live.forget(run);
          throw final;
        }
      }
    }
  }

  /**
   * The same events, read along with. A stream that breaks is joined again where it broke; when that cannot be, it ends
   * with an `error` event, never with an invented exit.
   */
  #tapped(
    run: LiveRun,
    body: ReadableStream<Uint8Array>,
    openMs: number,
    offsets: { stdout: number; stderr: number },
  ): ReadableStream<Uint8Array> {
    const { records } = this.#deps;
    const durable = this.#settlement.durable(run.session);
    const tap = new RunStreamTap();
    Object.assign(tap.offsets, offsets);
    let reader = body.getReader();
    let rejoins = 0;
    let settled = false;
    const complete = offsets.stdout === 0 && offsets.stderr === 0;
    const settle = async () => {
      if (settled) return;
      settled = true;
      const elapsed = Date.now() - run.startedAt;
      const failure = tap.failure && { status: tap.failure.status ?? "lost", error: tap.failure.error };
      const reason = failure?.status === "cancelled" && { endReason: leftBecause(run) };
      // Who joined late has not seen all of it: the record gets what the machine kept.
      if (complete && tap.exit?.status !== "cancelled" && tap.exit?.status !== "timed_out")
        await records.end(run, { ...streamOutcome(tap, failure, elapsed), ...reason, openMs });
      else if (durable) await this.#settlement.recordKept(run, durable).catch(() => {});
      else await records.end(run, { ...streamOutcome(tap, failure, elapsed), ...reason, openMs });
      this.#live.forget(run, true);
    };
    const fail = (
      controller: ReadableStreamDefaultController<Uint8Array>,
      status: RunStatus,
      why: string,
    ) => {
      settled = true;
      this.#live.forget(run);
      controller.enqueue(errorEvent(run.id, status, why));
      controller.close();
    };
    /** The stream broke: returns whether it goes on. */
    const rejoin = async (controller: ReadableStreamDefaultController<Uint8Array>, error: unknown) => {
      if (run.abort.signal.aborted) {
        await this.#left(run, error);
        fail(controller, "cancelled", "the run was cancelled");
        return false;
      }
      if (!durable || ++rejoins > MAX_REJOINS) {
        await this.#gaveUp(run, error);
        fail(controller, "lost", wordsOf(error));
        return false;
      }
      try {
        const found = await this.#findAgain(run, durable, error);
        if (found === "never_began")
          throw new CerverError("compute_lost", "the machine has no record of it any more");
        if (found.status === "lost") throw await this.#unknowable(run, found);
        const response = await durable.stream(refOf(run), tap.offsets, this.#env(run));
        if (!response.ok || !response.body) throw await failureOf(response);
        tap.rejoin();
        reader = response.body.getReader();
        return true;
      } catch (next) {
        if (
          isLost(next) &&
          !(next instanceof FinallyLost) &&
          this.#deps.computes.isOnline(run.session.compute_id!)
        )
          return true;
        if (!(next instanceof FinallyLost)) await this.#gaveUp(run, next);
        fail(controller, "lost", wordsOf(next));
        return false;
      }
    };
    return new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          for (;;) {
            let broke: unknown;
            try {
              const { done, value } = await reader.read();
              if (value) {
                const whole = tap.push(value);
                // The transcript and the session's status are true before the reader sees the end.
                if (tap.exit || tap.failure) await settle();
                for (const bytes of whole) controller.enqueue(bytes);
                if (whole.length > 0) return;
                continue;
              }
              if (done && (tap.exit || tap.failure)) return controller.close();
              broke = new CerverError("compute_lost", "the stream ended before the run did");
            } catch (error) {
              if (tap.exit || tap.failure) return controller.close();
              broke = error;
            }
            // What its reader cancelled is not joined again.
            if (settled || !(await rejoin(controller, broke))) return;
          }
        },
        cancel: async (reason) => {
          if (settled) return;
          settled = true;
          run.abort.abort(run.mayComeBack ? new CallerMayComeBack() : new CallerGone());
          // An adapter whose runs end with their request tells here that it could not end this one.
          const error = await reader.cancel(reason).catch((failure: unknown) => failure);
          await this.#left(run, error ?? run.abort.signal.reason);
          this.#live.forget(run);
        },
      },
      { highWaterMark: 0 },
    );
  }

  /** Starts a run of its own, and answers when it has begun. */
  async start(session: Session, given: RunRequest, signal: AbortSignal, runId?: string): Promise<RunRecord> {
    const request = { ...given, background: true };
    const target = this.#target(session);
    refuseSecretsAt(target.record.provider, request);
    const durable = this.#settlement.durable(session);
    if (!durable) throw notDurable();
    const { records } = this.#deps;
    const run: RecordedRun = {
      id: runId ?? newId("run"),
      session,
      request,
      streamed: false,
      startedAt: Date.now(),
    };
    this.#settlement.announced(run.id);
    if (runId === undefined) await records.begin(run, true);
    try {
      const kept = await durable.start(target.record, this.#sent(request, run), {
        computeId: target.record.computeId,
        signal: AbortSignal.any([signal, AbortSignal.timeout(LOOKUP_TIMEOUT_MS)]),
      });
      await records.found(run.id);
      await records.noteSecrets(run, kept.secrets_used);
      await records.noteCall(run);
      this.#live.began(session.id, run.id);
      if (kept.ended_at !== null) await this.#settlement.settle([run.id], target.record.computeId, durable);
    } catch (error) {
      // Refused: nothing ran. Otherwise the request may have reached the machine, which tells when it is back.
      if (error instanceof CerverError && !isLost(error)) {
        await records.discard(run);
        throw error;
      }
      this.#settlement.sendAgain({
        ...target,
        request: wire(request, run.id),
        until: performance.now() + this.#deps.graceMs,
      });
      await records.loseOne(run.id);
      await records.noteCall(run);
    }
    return toRunRecord(await records.get(session, run.id));
  }

  /** A run as it is now: of one that is under way, the machine is asked. */
  async get(session: Session, runId: string): Promise<RunRecord> {
    const row = await this.#deps.records.get(session, runId);
    if (row.ended_at !== null || row.compute_id === null) return toRunRecord(row);
    const durable = this.#settlement.durable(row);
    if (!durable || !this.#deps.computes.isOnline(row.compute_id)) return toRunRecord(row);
    const [kept] = await durable
      .lookup([runId], this.#settlement.shortEnv(row.compute_id))
      .catch((): KeptRun[] => []);
    if (!kept) return toRunRecord(row);
    if (kept.ended_at !== null && !this.#live.isAwaited(runId)) {
      await this.#settlement.record(kept, row);
      return toRunRecord(await this.#deps.records.get(session, runId));
    }
    return { ...toRunRecord(row), stdout_bytes: kept.stdout_bytes, stderr_bytes: kept.stderr_bytes };
  }

  list(session: Session, query: ListRunsQuery): Promise<RunList> {
    return this.#deps.records.list({ sessionId: session.id }, query);
  }

  /** Ends a run's processes. The answer has the receipt: what was alive, what was done, what is alive now. */
  async cancel(session: Session, runId: string): Promise<CancelAnswer> {
    const { records } = this.#deps;
    const row = await records.get(session, runId);
    if (row.ended_at === null) {
      const durable = this.#settlement.durable(row);
      if (!durable || row.compute_id === null) throw notDurable();
      await records.wantCancel(runId, "cancelled");
      try {
        const kept = await durable.cancel(
          refOf(row),
          this.#settlement.shortEnv(row.compute_id, CANCEL_TIMEOUT_MS),
        );
        await this.#settlement.record(kept, row);
      } catch (error) {
        if (!isOffline(error) && !isLost(error)) throw error;
        throw new CerverError(
          "compute_offline",
          "The machine of this run is out of reach, so it could not be cancelled now.",
          {
            hint: "It is cancelled as soon as the machine is back. Look at it with GET /v2/sessions/SESSION_ID/runs/RUN_ID.",
            cause: error,
          },
        );
      }
    }
    const record = toRunRecord(await records.get(session, runId));
    return { ...record, receipt: record.receipt ?? NOTHING_FOUND };
  }

  /** Raw bytes of an output stream, as the machine kept them. */
  async output(row: StoredRun, range: OutputRange, signal: AbortSignal): Promise<Response> {
    const durable = this.#settlement.durable(row);
    if (!durable || row.compute_id === null) throw notDurable();
    const response = await durable.output(refOf(row), range, {
      computeId: row.compute_id,
      signal,
    });
    if (!response.ok) throw await failureOf(response);
    return response;
  }

  /** Gives a run input. Returns how many bytes it was given in all. */
  async stdin(
    row: StoredRun,
    input: { bytes: Uint8Array; offset: number | undefined; close: boolean },
  ): Promise<unknown> {
    const durable = this.#settlement.durable(row);
    if (!durable || row.compute_id === null) throw notDurable();
    const response = await durable.stdin(refOf(row), input, this.#settlement.shortEnv(row.compute_id));
    if (!response.ok) throw await failureOf(response);
    return response.json();
  }

  // What becomes of runs whose link broke.

  /** Waits for the machine and asks it for a run. Throws when nobody waits any longer, or it did not come back in time. */
  async #findAgain(run: LiveRun, durable: DurableRuns, error: unknown): Promise<KeptRun | "never_began"> {
    const { computes, graceMs, records } = this.#deps;
    const computeId = run.session.compute_id!;
    const until = performance.now() + graceMs;
    for (;;) {
      const online = await computes.whenOnline(computeId, until - performance.now(), run.abort.signal);
      if (!online) throw await this.#gaveUp(run, error);
      try {
        const [kept] = await durable.lookup([run.id], this.#settlement.shortEnv(computeId));
        if (kept && kept.status === "running") await records.found(run.id);
        return kept ?? "never_began";
      } catch (next) {
        if (!isLost(next) && !isOffline(next)) throw await this.#gaveUp(run, error);
      }
    }
  }

  /** The caller is told that the outcome is unknown; it settles when the machine is back. Returns what to throw. */
  async #gaveUp(run: LiveRun, error: unknown): Promise<unknown> {
    const left = run.abort.signal.aborted && !run.mayComeBack && !this.#stopping;
    if (left) await this.#deps.records.wantCancel(run.id, "cancelled");
    const durable = this.#settlement.durable(run.session);
    if (durable && (await this.#isKept(run))) await this.#deps.records.noteLost(run, wordsOf(error));
    else
      await this.#deps.records.end(run, {
        ...unknownOutcome(wordsOf(error), Date.now() - run.startedAt),
        openMs: null,
      });
    if (!(error instanceof CerverError)) return error;
    const { code, message, hint, details } = error;
    return new CerverError(code === "compute_offline" ? "compute_lost" : code, message, {
      ...(hint && { hint }),
      details: { ...details, run_id: run.id, session_id: run.session.id },
      cause: error,
    });
  }

  /** Whether the machine of a run keeps its runs: one that does not has no more to tell. */
  async #isKept(run: LiveRun): Promise<boolean> {
    const computeId = run.session.compute_id!;
    if (!this.#deps.computes.isOnline(computeId)) return true;
    const durable = this.#settlement.durable(run.session);
    return durable!.lookup([run.id], this.#settlement.shortEnv(computeId)).then(
      (found) => found.length > 0,
      (error: unknown) => isLost(error) || isOffline(error),
    );
  }

  /** The machine itself does not know how the run ended. Returns what to throw. */
  async #unknowable(run: LiveRun, kept: KeptRun): Promise<CerverError> {
    await this.#deps.records.end(run, { ...keptOutcome(kept), openMs: null });
    return new FinallyLost(run.id);
  }

  /**
   * Begins a run whose machine does not know it: only on that machine, which takes an id once, and only if nothing shows
   * that it ever began.
   */
  #anew(
    session: Session,
    row: StoredRun,
    begin: (target: PlacedSandbox) => Promise<Response>,
  ): () => Promise<Response> {
    const mayBegin =
      row.compute_id === session.compute_id && row.ended_at === null && row.confirmed_at === null;
    return async () => (mayBegin ? begin(this.#target(session)) : this.#refusedAnew(row));
  }

  async #refusedAnew(row: StoredRun): Promise<never> {
    // It settles as soon as its request cannot arrive there any more.
    await this.#deps.records.loseOne(row.id);
    const isOpen = row.ended_at === null;
    throw new CerverError(
      "conflict",
      isOpen
        ? "Whether this run ever began is not known yet, so it is not begun again elsewhere: its machine has to say so first."
        : "This run has ended, and its machine does not keep its output any more.",
      {
        hint: isOpen
          ? "Send the same request again in a moment, or look at GET /v2/sessions/SESSION_ID/runs/RUN_ID."
          : "Look at its record: GET /v2/sessions/SESSION_ID/runs/RUN_ID.",
        details: {
          run_id: row.id,
          session_id: row.session_id,
          ...(isOpen && { retryable: true, retry_after_ms: 3_000 }),
        },
      },
    );
  }

  /** The caller has gone, or the session was closed: the run ends, and its true end goes on the record. */
  async #left(run: LiveRun, error: unknown): Promise<unknown> {
    const { records } = this.#deps;
    const durable = this.#settlement.durable(run.session);
    const closed = run.abort.signal.reason instanceof SessionClosed;
    if (this.#stopping) return error;
    if (!durable) {
      // Nobody can come back for it there. It ended with its request, unless the vendor did not confirm that.
      const isEnded = error === run.abort.signal.reason || !isLost(error);
      const outcome = unknownOutcome(isEnded ? "cancelled" : wordsOf(error), Date.now() - run.startedAt);
      const end = isEnded && { status: "cancelled" as const, endReason: leftBecause(run) };
      await records.end(run, { ...outcome, ...end, openMs: null });
      return error;
    }
    // The machine ends a foreground run that nobody follows any more; others may follow this one still.
    if (run.request.background || (run.mayComeBack && !closed)) return error;
    await run.begun;
    await records.wantCancel(run.id, leftBecause(run));
    void this.#settlement.cancelWanted(refOf(run), durable).catch((next: unknown) => {
      if (!isLost(next) && !isOffline(next))
        this.#deps.logger.warn(
          { err: next, run_id: run.id },
          "a run that nobody waits for could not be cancelled",
        );
    });
    return error;
  }

  // Who is there.

  /** The machine that keeps a run: its own, wherever its session is now. */
  #keeper({ compute_id }: StoredRun): { provider: ProviderAdapter; durable: DurableRuns } {
    const provider = compute_id === null ? undefined : this.#settlement.keeperOf(compute_id);
    if (!provider?.durable) throw notDurable();
    return { provider, durable: provider.durable };
  }

  #target(session: Session): PlacedSandbox {
    if (session.ended_at !== null) {
      throw new CerverError("session_ended", `Session ${session.id} has ended, so nothing can run in it.`, {
        hint: "Create a new one with POST /v2/sessions. Its transcript can still be read.",
      });
    }
    if (session.paused_at !== null) {
      throw new CerverError("conflict", `Session ${session.id} rests, so nothing can run in it.`, {
        hint: `Wake it first: POST /v2/sessions/${session.id}/resume, or \`cerver resume ${session.id}\`.`,
      });
    }
    const target = placed(this.#deps.providers, session);
    if (!target) {
      throw new CerverError(
        "no_compute",
        `Session ${session.id} has no compute: it keeps a transcript only.`,
        {
          hint: 'Create a session without "compute": null to run code.',
        },
      );
    }
    return target;
  }

  /** A request as it is sent now. */
  #sent(request: RunRequest, run: RecordedRun): RunRequest & { run_id: string } {
    this.#settlement.sending(run.id, run.session.compute_id!);
    return wire(request, run.id);
  }

  #env(run: LiveRun): ProviderEnv {
    const { account_id: accountId, compute_id: computeId } = run.session;
    return { accountId, computeId: computeId!, signal: run.abort.signal, credentials: {} };
  }

  #begin(
    session: Session,
    request: RunRequest,
    streamed: boolean,
    caller: AbortSignal,
    runId: string | undefined,
  ): LiveRun {
    const startedAt = Date.now();
    return this.#live.enter(
      {
        id: runId ?? newId("run", startedAt),
        session,
        request,
        streamed,
        startedAt,
        abort: new AbortController(),
        mayComeBack: runId !== undefined,
      },
      caller,
    );
  }

  /** A run of before, as one that somebody waits for. */
  #watch(row: StoredRun, caller: AbortSignal): LiveRun {
    return this.#live.enter(
      { ...recordedRun(row), abort: new AbortController(), mayComeBack: true },
      caller,
      row.ended_at !== null,
    );
  }
}

const NOTHING_FOUND: KillReceipt = {
  method: "group",
  found: [],
  found_total: 0,
  signals: [],
  alive: [],
  ports_freed: [],
  duration_ms: 0,
};

function wire(request: RunRequest, runId: string) {
  return { ...request, timeout: timeoutOf(request), run_id: runId };
}

/** Why nobody waits for a run any longer, as its record says it. */
function leftBecause({ abort }: LiveRun): string {
  const { reason } = abort.signal;
  return reason instanceof SessionClosed ? reason.reason : "cancelled";
}

function refOf(run: StoredRun | RecordedRun): RunRef {
  const computeId = "session" in run ? run.session.compute_id : run.compute_id;
  return { computeId: computeId!, runId: run.id };
}
