import { CerverError } from "../protocol/errors.js";
import type { RunEvent } from "../protocol/runs.js";
import { Backoff } from "../util/backoff.js";
import { sleep } from "../util/sleep.js";
import { StreamBroke } from "./failures.js";

const FIRST_WAIT_MS = 200;
const MAX_WAIT_MS = 2_000;
/** A connection that was open for this long has held, whether something was said on it or not. */
const HELD_MS = 5_000;

/** How far a stream of a run's events has come. */
export interface RunPosition {
  /** Known from the `start` event on. */
  runId: string | undefined;
  stdout: number;
  stderr: number;
}

export interface UnbrokenOptions {
  /** Opens the stream: at first from its beginning, after a break from where it broke. */
  open(at: Readonly<RunPosition>): AsyncIterable<RunEvent>;
  /** The run that is followed; of one that is only about to begin, the `start` event tells. */
  runId?: string | undefined;
  /** How long a connection may be away, in milliseconds. */
  patienceMs: number;
  signal?: AbortSignal | undefined;
  /** Told at each break, once. */
  onBreak?: ((error: CerverError) => void) | undefined;
}

/**
 * The events of a run over as many connections as it takes: each byte once, whatever breaks in between.
 *
 * Throws what broke when no connection held for `patienceMs`. An end comes from the gateway only.
 */
export async function* unbroken(options: UnbrokenOptions): AsyncGenerator<RunEvent> {
  const { open, patienceMs, signal, onBreak } = options;
  const at: RunPosition = { runId: options.runId, stdout: 0, stderr: 0 };
  const backoff = new Backoff(FIRST_WAIT_MS, MAX_WAIT_MS);
  let held = false;
  let brokeAt: number | undefined;
  for (;;) {
    const openedAt = performance.now();
    try {
      for await (const event of open(at)) {
        held = true;
        brokeAt = undefined;
        backoff.reset();
        advance(at, event);
        yield event;
        if (event.type === "exit" || event.type === "error") return;
      }
      return;
    } catch (error) {
      if (error instanceof StreamBroke) {
        held = true;
        if (performance.now() - openedAt > HELD_MS) brokeAt = undefined;
        if (brokeAt === undefined) backoff.reset();
      }
      // Whoever was never connected is told at once, and so is who asks for what is not there.
      if (signal?.aborted || !held || at.runId === undefined || !isBreak(error)) throw error;
      if (brokeAt === undefined) onBreak?.(error);
      brokeAt ??= performance.now();
      const wait = backoff.next();
      if (performance.now() + wait - brokeAt > patienceMs) throw error;
      await sleep(wait, signal);
    }
  }
}

function advance(at: RunPosition, event: RunEvent): void {
  if (event.type === "start") at.runId = event.run_id;
  else if (event.type === "gap") at[event.stream] = event.offset + event.bytes;
  else if (event.type === "stdout" || event.type === "stderr")
    at[event.type] = event.offset + byteLength(event.data, event.encoding);
}

/** How many bytes a piece of output is. */
function byteLength(data: string, encoding: "base64" | undefined): number {
  if (encoding === undefined) return new TextEncoder().encode(data).byteLength;
  return (data.length / 4) * 3 - (data.endsWith("==") ? 2 : data.endsWith("=") ? 1 : 0);
}

/** What a gateway that is away, or that has just come back without its machine, looks like from here. */
function isBreak(error: unknown): error is CerverError {
  return (
    error instanceof StreamBroke ||
    (error instanceof CerverError && ["gateway_unreachable", "compute_offline"].includes(error.code))
  );
}
