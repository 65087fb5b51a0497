import {
  type KillReceipt,
  type RunRequest,
  type RunStatus,
  type SecretUse,
  timeoutOf,
} from "../../../protocol/runs.js";
import type { NewTranscriptEntry } from "../../../protocol/transcript.js";

/** How much of a run's code, and of each of its output streams, goes on the transcript, in characters. */
export const MAX_TRANSCRIPT_OUTPUT = 32_768;

/** What the transcript says of an ended run. */
export interface RunOutcome {
  status: RunStatus;
  exitCode: number | null;
  signal?: string | null | undefined;
  endReason?: string | undefined;
  receipt?: KillReceipt | undefined;
  /** What the machine gave to it, by name. */
  secretsUsed?: readonly SecretUse[] | undefined;
  durationMs: number;
  stdout: TranscriptOutput;
  stderr: TranscriptOutput;
  /** Why there is no exit code. */
  error?: string;
}

/** One output stream: its text as far as it is kept, and how much there was. */
export interface TranscriptOutput {
  head: string;
  /** The end of the text, when not all of it is in `head`. */
  tail?: string;
  bytes: number;
}

/** The tool call that a run begins with. Values of environment variables stay out of it. */
export function runCall(runId: string, request: RunRequest, at: number): NewTranscriptEntry {
  const { code, runtime, cwd, envs, secrets, stdin, background } = request;
  return {
    role: "assistant",
    kind: "tool_use",
    content: "",
    at: new Date(at).toISOString(),
    tool_id: runId,
    tool_name: runtime,
    tool_input: {
      code: cutMiddle(code, MAX_TRANSCRIPT_OUTPUT),
      timeout: timeoutOf(request),
      ...(background && { background }),
      ...(cwd !== undefined && { cwd }),
      ...(envs !== undefined && { env_names: Object.keys(envs) }),
      ...(secrets !== undefined && { secrets }),
      ...(stdin !== undefined && { stdin_length: stdin.length }),
    },
    run_id: runId,
  };
}

/** The tool result that a run ends with: what it printed, capped, and how it ended. */
export function runResult(runId: string, outcome: RunOutcome): NewTranscriptEntry {
  const { status, stdout, stderr } = outcome;
  const parts = [
    render(stdout),
    ...(stderr.bytes > 0 ? [`[stderr]\n${render(stderr)}`] : []),
    `[${outcomeWords(outcome)}]`,
  ];
  return {
    role: "tool",
    kind: "tool_result",
    content: parts.filter((part) => part !== "").join("\n"),
    tool_id: runId,
    is_error: status !== "succeeded",
    run_id: runId,
  };
}

/** Keeps the ends of a text that is longer than `max` characters, and says between them how much is missing. */
function cutMiddle(text: string, max: number): string {
  if (text.length <= max) return text;
  const half = Math.floor(max / 2);
  return `${text.slice(0, half)}\n[cerver: ${text.length - 2 * half} characters left out here]\n${text.slice(-half)}`;
}

function render({ head, tail, bytes }: TranscriptOutput): string {
  if (tail === undefined) return cutMiddle(head, MAX_TRANSCRIPT_OUTPUT).replace(/\n$/, "");
  const half = MAX_TRANSCRIPT_OUTPUT / 2;
  return `${head.slice(0, half)}\n[cerver: the middle of ${bytes} bytes left out here]\n${tail.slice(-half)}`;
}

function outcomeWords({ status, exitCode, durationMs, error }: RunOutcome): string {
  const took = durationMs < 10_000 ? `${Math.round(durationMs)} ms` : `${Math.round(durationMs / 1000)} s`;
  if (status === "lost") return `outcome unknown: ${error ?? "the machine is out of reach"}`;
  if (status === "cancelled") return `cancelled after ${took}`;
  if (status === "timed_out") return `timed out after ${took}, exit ${exitCode}`;
  return `exit ${exitCode}, ${took}`;
}
