import type { CallToolResult, ServerContext } from "@modelcontextprotocol/server";
import { z } from "zod";
import type { GatewayClient } from "../client/gateway-client.js";
import { CerverError } from "../protocol/errors.js";
import type { RunEvent } from "../protocol/runs.js";
import { RunOutput } from "./run-output.js";

/** Clients give a tool 60 seconds and some of them less: an answer is on its way before that. */
export const MAX_WAIT_S = 40;
const PROGRESS_MS = 5_000;
const STDOUT_ROOM = 22_000;
const STDERR_ROOM = 10_000;

export const waitField = z
  .number()
  .min(0)
  .max(MAX_WAIT_S)
  .default(30)
  .describe(`Seconds to wait for its end, ${MAX_WAIT_S} at most. A run that takes longer goes on by itself.`);

/** What every tool about one run answers with. */
export const RunResult = z.object({
  run_id: z.string(),
  session_id: z.string(),
  status: z.string().describe("running, succeeded, failed, cancelled, timed_out or lost."),
  exit_code: z.number().int().nullable(),
  signal: z.string().optional(),
  end_reason: z.string().optional(),
  duration_ms: z.number().optional(),
  stdout: z.string(),
  stderr: z.string(),
  stdout_bytes: z.number().int().optional().describe("All bytes printed, shown here or not."),
  stderr_bytes: z.number().int().optional(),
  truncated: z.boolean().describe("Some of the output is not here; the resource has all of it."),
});
export type RunResult = z.infer<typeof RunResult>;

/**
 * Follows a run until it ends or `waitS` are over, and tells what it printed so far. Tells the client how it goes, about every
 * five seconds, when it asked for that.
 */
export async function waitForRun(
  gateway: GatewayClient,
  { sessionId, runId, waitS }: { sessionId: string; runId: string; waitS: number },
  ctx: ServerContext,
): Promise<RunResult> {
  const enough = new AbortController();
  const timer = setTimeout(() => enough.abort(), waitS * 1000);
  const signal = AbortSignal.any([enough.signal, ctx.mcpReq.signal]);
  try {
    return await collect(
      gateway.followRun(sessionId, runId, { signal }),
      { sessionId, runId },
      ctx,
      enough.signal,
    );
  } finally {
    clearTimeout(timer);
  }
}

/** Reads events into a result. `enough` ends the reading without a failure: the run goes on. */
export async function collect(
  events: AsyncIterable<RunEvent>,
  { sessionId, runId }: { sessionId: string; runId: string | undefined },
  ctx: ServerContext,
  enough?: AbortSignal,
): Promise<RunResult> {
  const output = { stdout: new RunOutput(STDOUT_ROOM), stderr: new RunOutput(STDERR_ROOM) };
  const progress = new Progress(ctx);
  let id = runId ?? "";
  let end: Extract<RunEvent, { type: "exit" }> | undefined;
  try {
    for await (const event of events) {
      if (event.type === "start") id = event.run_id;
      if (event.type === "stdout" || event.type === "stderr") {
        const text =
          event.encoding === "base64" ? Buffer.from(event.data, "base64").toString("utf8") : event.data;
        output[event.type].add(text);
        progress.printed(text);
      }
      if (event.type === "gap") output[event.stream].gap(event.bytes);
      if (event.type === "error") throw errorOf(event, sessionId);
      if (event.type === "exit") end = event;
    }
  } catch (error) {
    if (!enough?.aborted) throw error;
  } finally {
    progress.end();
  }
  const { stdout, stderr } = output;
  return {
    run_id: id,
    session_id: sessionId,
    status: end?.status ?? "running",
    exit_code: end?.exit_code ?? null,
    ...(end?.signal && { signal: end.signal }),
    ...(end?.end_reason && { end_reason: end.end_reason }),
    ...(end && {
      duration_ms: end.duration_ms,
      stdout_bytes: end.stdout_bytes,
      stderr_bytes: end.stderr_bytes,
    }),
    truncated: stdout.truncated || stderr.truncated,
    stdout: String(stdout),
    stderr: String(stderr),
  };
}

/** A run in both forms that clients read, with a link to all of its output when some is left out. */
export function runResult(run: RunResult): CallToolResult {
  const output = [
    run.stdout && `--- stdout\n${run.stdout}`,
    run.stderr && `--- stderr\n${run.stderr}`,
    !run.stdout && !run.stderr && "(no output)",
  ];
  const text = [headline(run), ...output.filter(Boolean), ...nextStep(run)].join("\n");
  return {
    content: [
      { type: "text", text },
      ...(run.truncated
        ? [
            {
              type: "resource_link" as const,
              uri: `cerver://run/${run.run_id}/output`,
              name: `Output of ${run.run_id}`,
              mimeType: "text/plain",
            },
          ]
        : []),
    ],
    structuredContent: { ...run },
  };
}

function headline({ run_id, status, exit_code, signal, duration_ms }: RunResult): string {
  const how = [
    status,
    exit_code !== null && `exit code ${exit_code}`,
    signal,
    duration_ms !== undefined && `${Math.round(duration_ms)} ms`,
  ];
  return `${run_id}: ${how.filter(Boolean).join(", ")}`;
}

function nextStep({ run_id, status }: RunResult): string[] {
  if (status === "running")
    return [
      `It goes on. Wait for it with cerver_run_wait, or end it with cerver_run_cancel: run_id "${run_id}".`,
    ];
  if (status === "lost")
    return [
      "Its machine is out of reach, so nobody knows how it ended. Ask again later; do not take it for done.",
    ];
  return [];
}

function errorOf(event: Extract<RunEvent, { type: "error" }>, sessionId: string): CerverError {
  return new CerverError("compute_lost", event.error, {
    hint: `${event.hint ?? "Its outcome is not known yet."} Ask later with cerver_run_wait: run_id "${event.run_id}", session ${sessionId}.`,
  });
}

/** Tells the client that it goes on, and what was printed last. */
class Progress {
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #beganAt = performance.now();
  #last = "";

  constructor(ctx: ServerContext) {
    const progressToken = ctx.mcpReq._meta?.progressToken;
    if (progressToken === undefined) return;
    this.#timer = setInterval(() => {
      const progress = Math.round((performance.now() - this.#beganAt) / 1000);
      const line = this.#last.trimEnd().split("\n").at(-1)?.slice(-200);
      ctx.mcpReq
        .notify({
          method: "notifications/progress",
          params: { progressToken, progress, message: line ? `${progress} s: ${line}` : `${progress} s` },
        })
        .catch(() => {});
    }, PROGRESS_MS);
  }

  printed(text: string): void {
    this.#last = (this.#last + text).slice(-400);
  }

  end(): void {
    clearInterval(this.#timer);
  }
}
