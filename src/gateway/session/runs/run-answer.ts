import type { RunAnswer, RunEvent, RunStatus } from "../../../protocol/runs.js";
import { SandboxRunAnswer } from "../../../protocol/sandbox.js";
import { knownBody } from "../../../util/known-body.js";
import { failureOf } from "./run-failures.js";

const encoder = new TextEncoder();

/** What a compute says of an ended run. Rejects with its failure. */
export async function readAnswer(response: Response): Promise<SandboxRunAnswer> {
  if (!response.ok) throw await failureOf(response);
  const known = knownBody(response);
  return SandboxRunAnswer.parse(
    known ? JSON.parse(Buffer.from(known).toString("utf8")) : await response.json(),
  );
}

/** The answer of `POST /v2/sessions/:id/run`. */
export function toRunAnswer(sessionId: string, answer: SandboxRunAnswer): RunAnswer {
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
    ...(answer.truncated && { output: `/v2/sessions/${sessionId}/runs/${answer.run_id}/output` }),
  };
}

/** The last event of a stream that ends without an `exit`. */
export function errorEvent(runId: string, status: RunStatus, why: string): Uint8Array {
  const event: RunEvent = {
    type: "error",
    run_id: runId,
    status,
    code: status === "lost" ? "compute_lost" : "session_ended",
    error:
      status === "lost"
        ? `The link to the compute broke while the command ran, so its outcome is unknown: ${why}.`
        : "The run was cancelled.",
    ...(status === "lost" && {
      hint: "The outcome shows at GET /v2/sessions/SESSION_ID/runs/RUN_ID when the machine is back.",
    }),
  };
  return encoder.encode(`event: error\ndata: ${JSON.stringify(event)}\n\n`);
}
