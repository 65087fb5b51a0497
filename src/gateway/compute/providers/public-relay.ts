import { z } from "zod";
import { CerverError } from "../../../protocol/errors.js";
import { newId } from "../../../protocol/ids.js";
import { TIMEOUT_EXIT_CODE } from "../../../protocol/run-limits.js";
import type { RunEvent, RunStatus } from "../../../protocol/runs.js";
import {
  RUN_EVENTS_HEADER,
  type SandboxRunAnswer,
  type SandboxRunRequest,
} from "../../../protocol/sandbox.js";

/** A public relay keeps this many characters of stdout (contract section 4.5); at that length output was cut. */
const PUBLIC_STDOUT_LIMIT = 200_000;
const PUBLIC_STDERR_LIMIT = 50_000;

/** Whether a successful answer to a run came from a relay that speaks the public system's words instead of ours. */
export function isPublicRelay(response: Response): boolean {
  return response.ok && !response.headers.has(RUN_EVENTS_HEADER);
}

/** What a public relay says of an ended run (contract section 4.4), in an answer or in its last stream event. */
const PublicRun = z.looseObject({
  exit_code: z.number().int().nullable().optional(),
  stdout: z.string().default(""),
  stderr: z.string().default(""),
  duration_ms: z.number().optional(),
  cwd: z.string().nullable().optional(),
});
type PublicRun = z.infer<typeof PublicRun>;

/** Turns a public relay's answer to `run` into a {@link SandboxRunAnswer}. */
export async function fromPublicRun(response: Response, request: SandboxRunRequest): Promise<Response> {
  const startedAt = Date.now();
  const body: unknown = await response.json().catch(() => undefined);
  const run = PublicRun.safeParse(body);
  if (!run.success || run.data.exit_code == null) throw noOutcome();
  return Response.json(toAnswer(run.data, run.data.exit_code, request, Date.now() - startedAt));
}

/** Turns a public relay's events, which arrive all at once, into our {@link RunEvent}s. */
export async function fromPublicRunStream(response: Response, request: SandboxRunRequest): Promise<Response> {
  const startedAt = Date.now();
  const run: PublicRun = { stdout: "", stderr: "" };
  for (const event of publicEvents(await response.text())) {
    if (event.type === "output" && typeof event.data === "string") run.stdout += event.data;
    if (event.type === "error" && typeof event.error === "string") run.stderr += event.error;
    if (event.type !== "exit" && event.type !== "paused") continue;
    const ended = PublicRun.safeParse(event);
    if (!ended.success) continue;
    run.exit_code = ended.data.exit_code ?? run.exit_code ?? null;
    run.stdout += ended.data.stdout;
    run.stderr += ended.data.stderr;
    run.duration_ms = ended.data.duration_ms ?? run.duration_ms;
  }
  if (run.exit_code == null) throw noOutcome();
  const answer = toAnswer(run, run.exit_code, request, Date.now() - startedAt);
  const events: RunEvent[] = [
    { type: "start", run_id: answer.run_id, runtime: request.runtime },
    { type: "stdout", offset: 0, data: answer.stdout },
    { type: "stderr", offset: 0, data: answer.stderr },
    { ...answer, type: "exit" },
  ];
  const text = events
    .filter((event) => !("data" in event) || event.data !== "")
    .map((event, index) => `id: ${index + 1}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
  return new Response(text.join(""), { headers: { "content-type": "text/event-stream" } });
}

function* publicEvents(text: string): Generator<Record<string, unknown>> {
  for (const line of text.split(/\r\n|\r|\n/)) {
    if (!line.startsWith("data:")) continue;
    try {
      const event: unknown = JSON.parse(line.slice(5));
      if (typeof event === "object" && event !== null) yield event as Record<string, unknown>;
    } catch {
      // Not an event of ours to read: a public relay also sends progress that is not JSON.
    }
  }
}

function toAnswer(
  run: PublicRun,
  exitCode: number,
  request: SandboxRunRequest,
  waitedMs: number,
): SandboxRunAnswer {
  return {
    run_id: request.run_id ?? newId("run"),
    success: exitCode === 0,
    status: statusOf(exitCode),
    stdout: run.stdout,
    stderr: run.stderr,
    exit_code: exitCode,
    signal: null,
    duration_ms: run.duration_ms ?? waitedMs,
    stdout_bytes: Buffer.byteLength(run.stdout),
    stderr_bytes: Buffer.byteLength(run.stderr),
    truncated: run.stdout.length >= PUBLIC_STDOUT_LIMIT || run.stderr.length >= PUBLIC_STDERR_LIMIT,
    ...(run.cwd && { cwd: run.cwd }),
  };
}

function statusOf(exitCode: number): RunStatus {
  if (exitCode === 0) return "succeeded";
  return exitCode === TIMEOUT_EXIT_CODE ? "timed_out" : "failed";
}

function noOutcome(): CerverError {
  return new CerverError(
    "compute_lost",
    "The relay answered without an exit code, so the outcome is unknown.",
    {
      hint: "Look on that machine before you run it again; a current `cerver relay` reports outcomes.",
    },
  );
}
