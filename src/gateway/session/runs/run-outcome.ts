import type { RunStatus } from "../../../protocol/runs.js";
import type { KeptRun, SandboxRunAnswer } from "../../../protocol/sandbox.js";
import type { RunStreamTap } from "./run-stream-tap.js";
import type { RunOutcome, TranscriptOutput } from "./run-transcript.js";

/** How a run ended, by the compute's whole answer. */
export function outcomeOf(answer: SandboxRunAnswer): RunOutcome {
  return {
    status: answer.status,
    exitCode: answer.exit_code,
    signal: answer.signal,
    endReason: answer.end_reason,
    receipt: answer.receipt,
    secretsUsed: answer.secrets_used,
    durationMs: answer.duration_ms,
    stdout: transcriptOutput(answer.stdout, answer.stdout_encoding, answer.stdout_bytes),
    stderr: transcriptOutput(answer.stderr, answer.stderr_encoding, answer.stderr_bytes),
  };
}

/** How a run ended, by what its machine kept of it. */
export function keptOutcome(run: KeptRun): RunOutcome {
  const { output } = run;
  return {
    status: run.status,
    exitCode: run.exit_code,
    signal: run.signal,
    endReason: run.end_reason ?? undefined,
    receipt: run.receipt,
    secretsUsed: run.secrets_used,
    durationMs: run.duration_ms ?? 0,
    stdout: transcriptOutput(output?.stdout ?? "", output?.stdout_encoding, run.stdout_bytes),
    stderr: transcriptOutput(output?.stderr ?? "", output?.stderr_encoding, run.stderr_bytes),
    ...(run.status === "lost" && { error: "what held the run on its machine died" }),
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
    return {
      status: exit.status,
      exitCode: exit.exit_code,
      signal: exit.signal,
      secretsUsed: exit.secrets_used,
      endReason: exit.end_reason ?? (exit.signal ? "signal" : "exit"),
      durationMs: exit.duration_ms,
      ...output,
    };
  }
  return {
    status: lost?.status ?? "lost",
    exitCode: null,
    durationMs: elapsedMs,
    ...output,
    ...(lost && { error: lost.error }),
  };
}

function transcriptOutput(text: string, encoding: "base64" | undefined, bytes: number): TranscriptOutput {
  return { head: encoding === "base64" ? `[${bytes} bytes that are not text]` : text, bytes };
}
