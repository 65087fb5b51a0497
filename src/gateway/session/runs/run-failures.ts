import { CerverError } from "../../../protocol/errors.js";

/** Why nobody waits any longer for runs of a session that is closed while its machine is away, or that has lost its compute. */
export class SessionClosed extends CerverError {
  constructor(readonly reason = "session_closed") {
    super(
      "session_ended",
      reason === "session_closed"
        ? "The session was closed while this ran, so the run was cancelled."
        : `The session's compute was taken away while this ran (${reason.replaceAll("_", " ")}), so the run was cancelled.`,
    );
  }
}

/** Told to the machine as a link that broke: it gives the run its grace time. */
export class CallerMayComeBack extends CerverError {
  constructor() {
    super("compute_lost", "The caller went away, and may come back for the run.");
  }
}

export class CallerGone extends CerverError {
  constructor() {
    super("timed_out", "The caller went away, so the run was cancelled.");
  }
}

/** Not even the machine knows how the run ended. */
export class FinallyLost extends CerverError {
  constructor(runId: string) {
    super("compute_lost", "What held this run on its machine died, so its outcome is unknown.", {
      hint: "Look on that machine before you run it again.",
      details: { run_id: runId, end_reason: "keeper_lost" },
    });
  }
}

export function isLost(error: unknown): boolean {
  return error instanceof CerverError && error.code === "compute_lost";
}

export function isUnknown(error: unknown): boolean {
  return error instanceof CerverError && error.code === "run_not_found";
}

export function isOffline(error: unknown): boolean {
  return (
    (error instanceof CerverError && error.code === "compute_offline") ||
    (error as Error)?.name === "TimeoutError"
  );
}

export function notDurable(): CerverError {
  return new CerverError("unsupported", "The provider of this session keeps no runs beyond their request.", {
    hint: "Use /run or /run/stream there, or a session on a machine of your own.",
  });
}

export async function failureOf(response: Response): Promise<CerverError> {
  return CerverError.fromBody(response.status, await response.json().catch(() => undefined));
}
