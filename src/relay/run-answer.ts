import { OutputCollector } from "../output/output-collector.js";
import { CerverError } from "../protocol/errors.js";
import type { KeptRun, SandboxRunAnswer } from "../protocol/sandbox.js";
import type { RunState } from "./keeper/messages.js";
import type { Follow, FollowHandlers } from "./keeper-client.js";

/** Of a run that is only looked up, this much of each output stream comes along, in bytes. */
const LOOKUP_OUTPUT_BYTES = 64 * 1024;

/**
 * Follows a run to its end and answers with what it printed, within bounds.
 *
 * Rejects with `compute_lost` when the keeper goes first, and with the signal's reason when the asker does.
 */
export async function collectAnswer(
  open: (handlers: FollowHandlers) => Promise<Follow>,
  signal: AbortSignal,
): Promise<SandboxRunAnswer> {
  const { state, stdout, stderr } = await collect(open, signal, undefined);
  if (state.status === "lost") throw keeperLost(state);
  const [out, err] = [stdout.finish(), stderr.finish()];
  return {
    run_id: state.run_id,
    success: state.status === "succeeded",
    status: state.status,
    exit_code: state.exit_code,
    signal: state.signal,
    stdout: out.text,
    stderr: err.text,
    ...(out.encoding && { stdout_encoding: out.encoding }),
    ...(err.encoding && { stderr_encoding: err.encoding }),
    duration_ms: state.duration_ms ?? 0,
    stdout_bytes: state.stdout_bytes,
    stderr_bytes: state.stderr_bytes,
    truncated: out.truncated || err.truncated,
    ...(state.end_reason && { end_reason: state.end_reason }),
    ...(state.receipt && { receipt: state.receipt }),
    ...(state.secrets_used && { secrets_used: state.secrets_used }),
  };
}

/** A run as it is; of one that has ended, with the ends of its output. */
export async function keptRun(
  state: RunState,
  open: (handlers: FollowHandlers) => Promise<Follow>,
  signal: AbortSignal,
): Promise<KeptRun> {
  const { background: _, ...known } = state;
  if (state.ended_at === null) return known;
  const { stdout, stderr } = await collect(open, signal, LOOKUP_OUTPUT_BYTES);
  const [out, err] = [stdout.finish(), stderr.finish()];
  return {
    ...known,
    output: {
      stdout: out.text,
      stderr: err.text,
      ...(out.encoding && { stdout_encoding: out.encoding }),
      ...(err.encoding && { stderr_encoding: err.encoding }),
    },
  };
}

function collect(
  open: (handlers: FollowHandlers) => Promise<Follow>,
  signal: AbortSignal,
  limit: number | undefined,
): Promise<{ state: RunState; stdout: OutputCollector; stderr: OutputCollector }> {
  const outputs = { stdout: new OutputCollector(limit), stderr: new OutputCollector(limit) };
  return new Promise((resolve, reject) => {
    let follow: Follow | undefined;
    let ended = false;
    // A keeper that has the output in memory tells of it before it says that it is followed: that is read as well.
    let unread = 0;
    const read = (bytes: number) => {
      unread += bytes;
      if (!follow) return;
      follow.read(unread);
      unread = 0;
    };
    const onAbort = () => {
      ended = true;
      follow?.stop(isLinkLost(signal) ? "lost" : "gone");
      reject(signal.reason);
    };
    const finish = (done: () => void) => {
      ended = true;
      signal.removeEventListener("abort", onAbort);
      done();
    };
    signal.addEventListener("abort", onAbort, { once: true });
    open({
      output(stream, _offset, bytes) {
        // The bytes are a view of what the socket read: kept, they are copied.
        outputs[stream].push(bytes);
        read(bytes.length);
      },
      gap: (stream, _offset, bytes) => outputs[stream].skip(bytes),
      end: (state) => finish(() => resolve({ state, ...outputs })),
      broken: (error) => finish(() => reject(error)),
    }).then(
      (opened) => {
        follow = opened;
        read(0);
        if (ended && signal.aborted) follow.stop(isLinkLost(signal) ? "lost" : "gone");
      },
      (error: unknown) => finish(() => reject(error)),
    );
    if (signal.aborted) onAbort();
  });
}

/** Whether a request ended because its link broke: then its asker may come back. */
export function isLinkLost({ reason }: AbortSignal): boolean {
  return reason instanceof CerverError && reason.code === "compute_lost";
}

function keeperLost({ run_id }: RunState): CerverError {
  return new CerverError(
    "compute_lost",
    `What held run ${run_id} on its machine died, so its outcome is unknown.`,
    {
      hint: "Look on that machine before you run it again.",
      details: { run_id, end_reason: "keeper_lost" },
    },
  );
}
