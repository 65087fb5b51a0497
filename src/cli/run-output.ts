import { once } from "node:events";
import type { Writable } from "node:stream";
import { CerverError } from "../protocol/errors.js";
import type { RunEvent } from "../protocol/runs.js";
import { EXIT } from "./exit-codes.js";
import type { Output } from "./output.js";

/** Writes no faster than the reader reads. */
export async function write(stream: Writable, bytes: Uint8Array): Promise<void> {
  if (!stream.write(bytes)) await once(stream, "drain");
}

/**
 * Prints a run's events while they happen, each stream to its own descriptor, and returns the exit code that stands for
 * its end.
 */
export async function printEvents(
  out: Output,
  events: AsyncIterable<RunEvent>,
  only?: "stdout" | "stderr",
): Promise<number> {
  for await (const event of events) {
    if (event.type === "error") throw CerverError.fromBody(502, event);
    if (event.type === "exit") return exitCode(event.status, event.exit_code);
    if (event.type === "start") continue;
    const stream = event.type === "gap" ? event.stream : event.type;
    if (only !== undefined && stream !== only) continue;
    if (event.type === "gap") out.say(missing(stream, event.offset, event.bytes));
    else await write(out[event.type], Buffer.from(event.data, event.encoding ?? "utf8"));
  }
  return EXIT.cerverFailed;
}

/** What is said of output that was printed and is not kept any more. */
export function missing(stream: string, offset: number, bytes: number): string {
  return `cerver: ${bytes} bytes of ${stream} are not kept any more (from byte ${offset} on).`;
}

export function exitCode(status: string, code: number | null): number {
  if (status === "timed_out") return EXIT.timedOut;
  return code ?? EXIT.cerverFailed;
}
