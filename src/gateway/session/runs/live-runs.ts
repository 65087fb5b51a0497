import { CallerMayComeBack } from "./run-failures.js";
import type { RecordedRun } from "./run-records.js";

/** One execution that a caller waits for. */
export interface LiveRun extends RecordedRun {
  /** Ends the waiting: the caller has gone, or the session was closed. */
  abort: AbortController;
  /** Its leaving ends nothing at once: another request began the run, or one with the same key may come back for it. */
  mayComeBack: boolean;
}

/** What runs now, and who waits for it. */
export class LiveRuns {
  /** By run: the caller who began it, and whoever joined. */
  readonly #callers = new Map<string, Set<LiveRun>>();
  /** Runs under way, by session: those with a caller and those in the background. */
  readonly #running = new Map<string, Set<string>>();
  readonly #onQuiet: (sessionId: string) => void;

  /** `onQuiet` is told when nothing runs in a session any more. */
  constructor(onQuiet: (sessionId: string) => void = () => {}) {
    this.#onQuiet = onQuiet;
  }

  /** The sessions in which something runs now. */
  get sessions(): ReadonlySet<string> {
    return new Set(this.#running.keys());
  }

  isRunning(sessionId: string): boolean {
    return this.#running.has(sessionId);
  }

  /** Whether somebody waits for a run. */
  isAwaited(runId: string): boolean {
    return this.#callers.has(runId);
  }

  /** Everybody who waits for a run of this session. */
  callersOf(sessionId: string): LiveRun[] {
    return [...this.#callers.values()].flatMap((callers) =>
      [...callers].filter(({ session }) => session.id === sessionId),
    );
  }

  /** Somebody waits for a run; one that `isOver` is only read. */
  enter(run: LiveRun, caller: AbortSignal, isOver = false): LiveRun {
    // One signal ends the waiting, whoever wants it to: the caller, or the end of the session.
    const onAbort = () => run.abort.abort(run.mayComeBack ? new CallerMayComeBack() : caller.reason);
    if (caller.aborted) onAbort();
    else caller.addEventListener("abort", onAbort, { once: true });
    const callers = this.#callers.get(run.id);
    if (callers) callers.add(run);
    else this.#callers.set(run.id, new Set([run]));
    if (!isOver) this.began(run.session.id, run.id);
    return run;
  }

  /** Somebody waits no more. A run of its own goes on, unless it `isOver`. */
  forget(run: LiveRun, isOver = !run.request.background): void {
    const callers = this.#callers.get(run.id);
    if (!callers?.delete(run) || callers.size > 0) return;
    this.#callers.delete(run.id);
    if (isOver) this.ended(run.session.id, run.id);
  }

  /** A run is under way. */
  began(sessionId: string, runId: string): void {
    const runs = this.#running.get(sessionId);
    if (runs) runs.add(runId);
    else this.#running.set(sessionId, new Set([runId]));
  }

  /** A run is under way no more, unless somebody still waits for it. */
  ended(sessionId: string, runId: string): void {
    if (this.#callers.has(runId)) return;
    const runs = this.#running.get(sessionId);
    runs?.delete(runId);
    if (runs?.size !== 0) return;
    this.#running.delete(sessionId);
    this.#onQuiet(sessionId);
  }
}
