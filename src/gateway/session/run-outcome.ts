import type { RunStatus } from "../../protocol/runs.js";
import type { SandboxRunAnswer } from "../../protocol/sandbox.js";
import type { RunStreamTap } from "./run-stream-tap.js";
import type { RunOutcome, TranscriptOutput } from "./run-transcript.js";

/** How a run ended, by the compute's whole answer. */
export function outcomeOf(answer: SandboxRunAnswer): RunOutcome {
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

/** How a streamed run ended: by its exit event, else by what is known of why there is none. */
export function streamOutcome(
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
