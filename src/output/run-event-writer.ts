import type { RunEvent } from "../protocol/runs.js";
import { OutputEvents, type OutputPiece } from "./output-events.js";

type StreamName = "stdout" | "stderr";

/** Takes one server-sent event, and how many bytes of the run's output are in it. */
export type GiveEvent = (event: Buffer, outputBytes: number) => void;

/**
 * Writes a run's events as server-sent events (WHATWG HTML, section 9.2). The id of each says where both streams stand
 * after it, so that a reader may go on from there.
 */
export class RunEventWriter {
  readonly #at: Record<StreamName, number>;
  readonly #outputs: Record<StreamName, OutputEvents>;
  readonly #give: GiveEvent;

  constructor(offsets: Readonly<Record<StreamName, number>>, give: GiveEvent) {
    this.#at = { ...offsets };
    this.#outputs = { stdout: new OutputEvents(offsets.stdout), stderr: new OutputEvents(offsets.stderr) };
    this.#give = give;
  }

  event(event: RunEvent, outputBytes = 0): void {
    const id = `${this.#at.stdout}:${this.#at.stderr}`;
    const text = `id: ${id}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
    this.#give(Buffer.from(text), outputBytes);
  }

  output(stream: StreamName, bytes: Buffer): void {
    this.#piece(stream, this.#outputs[stream].push(bytes));
  }

  /** Says that bytes of a stream are not there any more. */
  gap(stream: StreamName, offset: number, bytes: number): void {
    this.#piece(stream, this.#outputs[stream].end());
    this.#at[stream] = offset + bytes;
    this.#outputs[stream] = new OutputEvents(offset + bytes);
    this.event({ type: "gap", stream, offset, bytes });
  }

  /** The last event, after what still waits of the output. */
  end(event: RunEvent): void {
    for (const stream of ["stdout", "stderr"] as const) this.#piece(stream, this.#outputs[stream].end());
    this.event(event);
  }

  #piece(stream: StreamName, found: OutputPiece | undefined): void {
    if (!found) return;
    this.#at[stream] = found.offset + found.bytes;
    const { bytes, ...event } = found;
    this.event({ type: stream, ...event }, bytes);
  }
}
