import { RunEventWriter } from "../output/run-event-writer.js";
import type { RunEvent, Runtime } from "../protocol/runs.js";
import { FollowedBody } from "./followed-body.js";
import type { Offsets, RunState } from "./keeper/messages.js";
import type { Follow, FollowHandlers } from "./keeper-client.js";

/** A comment goes out after this long a silence, so that nothing on the way takes the stream for dead. */
const KEEP_ALIVE_MS = 15_000;
/** This much encoded output waits for the reader before the process is held up. */
const HIGH_WATER_BYTES = 256 * 1024;

const KEEP_ALIVE = Buffer.from(": keep-alive\n\n");

export interface EventStreamOptions {
  offsets: Offsets;
  /** Said first, in a stream from the beginning. */
  start: (() => { runtime: Runtime; cwd: string }) | undefined;
  /** Opens the follower that feeds this stream, once. */
  open(handlers: FollowHandlers): Promise<{ state: RunState; follow: Follow }>;
}

/**
 * A run's events as server-sent events: `start`, output while it happens, `exit` from the wait status. A reader that
 * stops stops the process.
 */
export async function runEventStream(options: EventStreamOptions): Promise<FollowedBody> {
  const body = new FollowedBody(HIGH_WATER_BYTES);
  const timer = setInterval(() => {
    if (body.isOver) clearInterval(timer);
    else if (body.hasRoom) body.give(KEEP_ALIVE);
  }, KEEP_ALIVE_MS);
  const writer = new RunEventWriter(options.offsets, (event, outputBytes) => {
    timer.refresh();
    body.give(event, outputBytes);
  });
  const handlers: FollowHandlers = {
    output: (stream, _offset, bytes) => writer.output(stream, bytes),
    gap: (stream, offset, bytes) => writer.gap(stream, offset, bytes),
    end(state) {
      writer.end(endEvent(state));
      clearInterval(timer);
      body.end();
    },
    broken(error) {
      clearInterval(timer);
      body.fail(error);
    },
  };

  // What is told before the stream's own first event waits for it.
  const early: (() => void)[] = [];
  let begun = false;
  const later = <A extends unknown[]>(handle: (...args: A) => void) => {
    return (...args: A) => (begun ? handle(...args) : void early.push(() => handle(...args)));
  };
  try {
    const { follow, state } = await options.open({
      output: later(handlers.output),
      gap: later(handlers.gap),
      end: later(handlers.end),
      broken: later(handlers.broken),
    });
    body.fedBy(follow);
    if (options.start) {
      const pid = state.pid === null ? {} : { pid: state.pid };
      writer.event({ type: "start", run_id: state.run_id, ...options.start(), ...pid });
    }
    begun = true;
    for (const tell of early) tell();
    return body;
  } catch (error) {
    clearInterval(timer);
    throw error;
  }
}

function endEvent(state: RunState): RunEvent {
  if (state.status === "lost") {
    return {
      type: "error",
      run_id: state.run_id,
      status: "lost",
      code: "compute_lost",
      error: "What held this run on its machine died, so its outcome is unknown.",
      hint: "Look on that machine before you run it again.",
    };
  }
  return {
    type: "exit",
    run_id: state.run_id,
    status: state.status,
    exit_code: state.exit_code,
    signal: state.signal,
    ...(state.end_reason !== null && { end_reason: state.end_reason }),
    duration_ms: state.duration_ms ?? 0,
    stdout_bytes: state.stdout_bytes,
    stderr_bytes: state.stderr_bytes,
    ...(state.secrets_used && { secrets_used: state.secrets_used }),
  };
}
