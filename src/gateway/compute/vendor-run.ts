import { OutputCollector } from "../../output/output-collector.js";
import { RunEventWriter } from "../../output/run-event-writer.js";
import { CerverError } from "../../protocol/errors.js";
import { newId } from "../../protocol/ids.js";
import { TIMEOUT_EXIT_CODE } from "../../protocol/run-limits.js";
import { type RunEvent, type RunStatus, timeoutOf } from "../../protocol/runs.js";
import type { SandboxRunAnswer, SandboxRunRequest } from "../../protocol/sandbox.js";

/** A comment goes out after this long a silence, so that nothing on the way takes the stream for dead. */
const KEEP_ALIVE_MS = 15_000;
/** This much of a stream waits for its reader before the vendor is made to wait. */
const HIGH_WATER_BYTES = 256 * 1024;

/** How a vendor says that a command ended: from its wait status, and from nothing else. */
export interface VendorEnd {
  /** 128 + n after signal n. */
  exitCode: number;
  /** Such as SIGKILL, where the vendor tells it. */
  signal?: string;
}

/** Takes what a command prints. What it returns is to be awaited before more is read: the reader may be slow. */
export type TakeOutput = (stream: "stdout" | "stderr", bytes: Uint8Array) => Promise<void> | void;

/**
 * Runs one command at a vendor to its end.
 *
 * When `signal` aborts, the whole process tree has to be ended there before this settles: with the end that the vendor
 * tells, or by rejecting with the signal's reason. Rejects with `compute_lost` when nobody can say how it ended, and with
 * any other `CerverError` when nothing of it ran.
 *
 * Calls `begun` when the vendor says that the command has begun: a stream of its events is opened then.
 */
export type RunAtVendor = (output: TakeOutput, signal: AbortSignal, begun: () => void) => Promise<VendorEnd>;

/** Runs to the end at a vendor: a `SandboxRunAnswer`, its output kept within bounds. */
export async function vendorAnswer(
  request: SandboxRunRequest,
  caller: AbortSignal,
  run: RunAtVendor,
): Promise<Response> {
  const outputs = { stdout: new OutputCollector(), stderr: new OutputCollector() };
  const take: TakeOutput = (stream, bytes) => outputs[stream].push(Buffer.from(bytes));
  const ended = await limited(request, caller, (signal) => run(take, signal, () => {}));
  const [out, err] = [outputs.stdout.finish(), outputs.stderr.finish()];
  return Response.json({
    run_id: runIdOf(request),
    success: ended.status === "succeeded",
    ...ended,
    stdout: out.text,
    stderr: err.text,
    ...(out.encoding && { stdout_encoding: out.encoding }),
    ...(err.encoding && { stderr_encoding: err.encoding }),
    stdout_bytes: out.bytes,
    stderr_bytes: err.bytes,
    truncated: out.truncated || err.truncated,
  } satisfies SandboxRunAnswer);
}

/**
 * Runs at a vendor, with server-sent `RunEvent`s while it happens. Resolves when the command has begun, so that what never
 * ran is a failure and not a stream. Cancelling the body ends the command: it is done when that has ended, and rejects with
 * what kept it from that.
 */
export async function vendorStream(
  request: SandboxRunRequest,
  caller: AbortSignal,
  run: RunAtVendor,
): Promise<Response> {
  const left = new AbortController();
  const signal = AbortSignal.any([caller, left.signal]);
  let controller!: ReadableStreamDefaultController<Uint8Array>;
  let room: (() => void) | undefined;
  let isOver = false;
  const body = new ReadableStream<Uint8Array>(
    {
      start: (given) => {
        controller = given;
      },
      pull: () => room?.(),
      cancel: async () => {
        isOver = true;
        room?.();
        left.abort(new CerverError("timed_out", "The caller went away, so the run was cancelled."));
        await ended.catch((error: unknown) => {
          if (error !== signal.reason) throw error;
        });
      },
    },
    { highWaterMark: HIGH_WATER_BYTES, size: (chunk) => chunk?.byteLength ?? 0 },
  );
  const timer = setInterval(() => {
    if (!isOver && (controller.desiredSize ?? 0) > 0) controller.enqueue(KEEP_ALIVE);
  }, KEEP_ALIVE_MS);
  const writer = new RunEventWriter({ stdout: 0, stderr: 0 }, (event) => {
    timer.refresh();
    if (!isOver) controller.enqueue(event);
  });
  const bytesOf = { stdout: 0, stderr: 0 };
  const run_id = runIdOf(request);
  let begun!: () => void;
  const hasBegun = new Promise<void>((resolve) => {
    begun = resolve;
  });
  writer.event({ type: "start", run_id, runtime: request.runtime });
  const take: TakeOutput = async (stream, bytes) => {
    bytesOf[stream] += bytes.byteLength;
    writer.output(stream, Buffer.from(bytes));
    if (isOver || (controller.desiredSize ?? 0) > 0) return;
    await new Promise<void>((resolve) => {
      room = resolve;
    });
    room = undefined;
  };
  const ended = limited(request, signal, (either) => run(take, either, begun));
  const finished = ended.then(
    (end): RunEvent => ({
      type: "exit",
      run_id,
      ...end,
      stdout_bytes: bytesOf.stdout,
      stderr_bytes: bytesOf.stderr,
    }),
  );
  const close = () => {
    clearInterval(timer);
    if (!isOver) controller.close();
    isOver = true;
  };
  finished.then(
    (event) => {
      writer.end(event);
      close();
    },
    (error: unknown) => {
      writer.end(errorEvent(run_id, error, error === signal.reason ? "cancelled" : "lost"));
      close();
    },
  );
  await Promise.race([hasBegun, finished]);
  return new Response(body, { headers: { "content-type": "text/event-stream" } });
}

const KEEP_ALIVE = Buffer.from(": keep-alive\n\n");

type Ended = Pick<SandboxRunAnswer, "status" | "exit_code" | "signal" | "duration_ms" | "end_reason">;

/** A run with its time limit. What the caller's leaving ended is `cancelled`, what the limit ended `timed_out`. */
async function limited(
  request: SandboxRunRequest,
  caller: AbortSignal,
  run: (signal: AbortSignal) => Promise<VendorEnd>,
): Promise<Ended & { status: RunStatus; duration_ms: number }> {
  caller.throwIfAborted();
  const limit = new AbortController();
  const seconds = timeoutOf(request);
  const timer = setTimeout(() => {
    limit.abort(new CerverError("timed_out", `The run took longer than its ${seconds} s.`));
  }, seconds * 1000);
  const began = performance.now();
  try {
    const end = await run(AbortSignal.any([caller, limit.signal])).catch((error: unknown): VendorEnd => {
      if (limit.signal.aborted && error === limit.signal.reason) return { exitCode: TIMEOUT_EXIT_CODE };
      throw error;
    });
    const duration_ms = Math.round((performance.now() - began) * 100) / 100;
    if (limit.signal.aborted) {
      const signal = end.signal ?? null;
      return {
        status: "timed_out",
        exit_code: TIMEOUT_EXIT_CODE,
        signal,
        duration_ms,
        end_reason: "timeout",
      };
    }
    caller.throwIfAborted();
    return {
      status: end.exitCode === 0 ? "succeeded" : "failed",
      exit_code: end.exitCode,
      signal: end.signal ?? null,
      duration_ms,
      end_reason: end.signal ? "signal" : "exit",
    };
  } finally {
    clearTimeout(timer);
  }
}

function errorEvent(run_id: string, error: unknown, status: "cancelled" | "lost"): RunEvent {
  const known = error instanceof CerverError ? error : undefined;
  return {
    type: "error",
    run_id,
    status,
    code: known?.code ?? "provider_failed",
    error: known?.message ?? "The provider stopped telling about the run, so its outcome is unknown.",
    ...(known?.hint && { hint: known.hint }),
  };
}

function runIdOf({ run_id }: SandboxRunRequest): string {
  return run_id ?? newId("run");
}
