import type { RunEvent, Runtime } from "../protocol/runs.js";
import { OutputEvents, type OutputPiece } from "./host/output-events.js";
import { type Offsets, type RunState, STREAMS, type StreamName } from "./keeper/messages.js";
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

/** Events of one run, and what to do when whoever reads them leaves. */
export interface EventStream {
  body: ReadableStream<Uint8Array>;
  /** The reader is gone: for good, or because a link broke. */
  leave(why: "lost" | "gone"): void;
}

/**
 * A run's events as server-sent events (WHATWG HTML, section 9.2): `start`, output while it happens, `exit` from the wait
 * status. The id of each says where both streams stand after it. A reader that stops stops the process.
 */
export async function runEventStream(options: EventStreamOptions): Promise<EventStream> {
  const at = { ...options.offsets };
  const outputs: Record<StreamName, OutputEvents> = {
    stdout: new OutputEvents(at.stdout),
    stderr: new OutputEvents(at.stderr),
  };
  let controller!: ReadableStreamDefaultController<Uint8Array>;
  let over = false;
  /** Read from the keeper and not yet by the reader. */
  let unread = 0;
  let follow: Follow | undefined;
  const timer = setInterval(() => {
    if (!over && (controller.desiredSize ?? 0) > 0) controller.enqueue(KEEP_ALIVE);
  }, KEEP_ALIVE_MS);

  const leave = (why: "lost" | "gone") => {
    if (over) return;
    over = true;
    clearInterval(timer);
    follow?.stop(why);
  };
  const body = new ReadableStream<Uint8Array>(
    {
      start: (given) => {
        controller = given;
      },
      pull: () => {
        const bytes = unread;
        unread = 0;
        if (bytes > 0) follow?.read(bytes);
      },
      cancel: () => leave("gone"),
    },
    { highWaterMark: HIGH_WATER_BYTES, size: (chunk) => chunk?.byteLength ?? 0 },
  );

  const send = (event: RunEvent) => {
    timer.refresh();
    const id = `${at.stdout}:${at.stderr}`;
    controller.enqueue(Buffer.from(`id: ${id}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`));
  };
  const piece = (stream: StreamName, found: OutputPiece | undefined) => {
    if (!found) return;
    at[stream] = found.offset + found.bytes;
    const { bytes: _, ...event } = found;
    send({ type: stream, ...event });
  };
  const close = () => {
    over = true;
    clearInterval(timer);
    controller.close();
  };

  const handlers: FollowHandlers = {
    output(stream, _offset, bytes) {
      if (over) return;
      piece(stream, outputs[stream].push(bytes));
      unread += bytes.length;
      if ((controller.desiredSize ?? 0) <= 0) return;
      follow?.read(unread);
      unread = 0;
    },
    gap(stream, offset, bytes) {
      if (over) return;
      piece(stream, outputs[stream].end());
      at[stream] = offset + bytes;
      outputs[stream] = new OutputEvents(at[stream]);
      send({ type: "gap", stream, offset, bytes });
    },
    end(state) {
      if (over) return;
      for (const name of STREAMS) piece(name, outputs[name].end());
      send(endEvent(state));
      close();
    },
    broken(error) {
      if (over) return;
      over = true;
      clearInterval(timer);
      // No end is made up: the body breaks, and whoever reads it asks again.
      controller.error(error);
    },
  };

  // What is told before the stream's own first event waits for it.
  const early: (() => void)[] = [];
  let begun = false;
  const later = <A extends unknown[]>(handle: (...args: A) => void) => {
    return (...args: A) => (begun ? handle(...args) : void early.push(() => handle(...args)));
  };
  try {
    const opened = await options.open({
      output: later(handlers.output),
      gap: later(handlers.gap),
      end: later(handlers.end),
      broken: later(handlers.broken),
    });
    follow = opened.follow;
    const { state } = opened;
    if (over) follow.stop("gone");
    else if (options.start) {
      send({
        type: "start",
        run_id: state.run_id,
        ...options.start(),
        ...(state.pid !== null && { pid: state.pid }),
      });
    }
    begun = true;
    for (const tell of early) tell();
    return { body, leave };
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
      error: "The keeper of this run died with it, so its outcome is unknown.",
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
  };
}
