import { RunEvent } from "../../../protocol/runs.js";
import { MAX_TRANSCRIPT_OUTPUT, type TranscriptOutput } from "./run-transcript.js";

const END_OF_EVENT = Buffer.from("\n\n");
const EVENT_FIELD = "event: ";
const DATA_FIELD = "\ndata: ";
const ID_FIELD = /^id: (\d{1,15}):(\d{1,15})$/m;

/** More than any event of ours: a stream that never ends one is not held in memory. */
const MAX_EVENT_BYTES = 4 * 1024 * 1024;

type Exit = Extract<RunEvent, { type: "exit" }>;
type Failure = Extract<RunEvent, { type: "error" }>;

/**
 * Reads along with a stream of server-sent run events, without holding it up.
 *
 * Only what the transcript keeps is parsed: the first output, the last output, and how the run ended. A gigabyte in
 * between costs a search for line ends.
 */
export class RunStreamTap {
  /** The run's own last word, from its wait status. */
  exit: Exit | undefined;
  /** How far both streams have come, by the id of the last whole event. */
  readonly offsets = { stdout: 0, stderr: 0 };
  /** The compute's word that it does not know how the run ended. */
  failure: Failure | undefined;
  readonly #streams = { stdout: new OutputTap(), stderr: new OutputTap() };
  #partial: Uint8Array[] = [];

  /** Takes a chunk; returns the events that are whole now. What follows them waits for its other half. */
  push(chunk: Uint8Array): Uint8Array[] {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    const whole: Uint8Array[] = [];
    let from = 0;
    // An end of event can be split between two chunks: with a partial one before, look again over the seam.
    if (this.#partial.length > 0) {
      const seam = Buffer.concat([...this.#partial, bytes]);
      const before = seam.length - bytes.length;
      const end = seam.indexOf(END_OF_EVENT, Math.max(0, before - 1));
      if (end < 0) {
        if (seam.length > MAX_EVENT_BYTES) throw new RangeError("an event of the run is too long");
        this.#partial = [seam];
        return whole;
      }
      this.#event(seam.subarray(0, end));
      this.#partial = [];
      from = end + END_OF_EVENT.length - before;
      whole.push(seam.subarray(0, end + END_OF_EVENT.length));
    }
    const start = from;
    for (let end = bytes.indexOf(END_OF_EVENT, from); end >= 0; end = bytes.indexOf(END_OF_EVENT, from)) {
      this.#event(bytes.subarray(from, end));
      from = end + END_OF_EVENT.length;
    }
    if (from > start) whole.push(bytes.subarray(start, from));
    if (from < bytes.length) this.#partial = [bytes.subarray(from)];
    return whole;
  }

  /** The stream broke and goes on from {@link offsets} in another: half an event is no event. */
  rejoin(): void {
    this.#partial = [];
  }

  /** What was printed, as far as the transcript keeps it. */
  get output(): { stdout: TranscriptOutput; stderr: TranscriptOutput } {
    return {
      stdout: this.#streams.stdout.output(this.exit?.stdout_bytes),
      stderr: this.#streams.stderr.output(this.exit?.stderr_bytes),
    };
  }

  #event(block: Buffer): void {
    const head = block.toString("latin1", 0, 64);
    const name = eventName(head);
    const id = ID_FIELD.exec(head);
    if (id) {
      this.offsets.stdout = Number(id[1]);
      this.offsets.stderr = Number(id[2]);
    }
    if (name === "stdout" || name === "stderr") this.#streams[name].push(block);
    if (name !== "exit" && name !== "error") return;
    const event = parseEvent(block);
    if (event?.type === "exit") this.exit = event;
    if (event?.type === "error") this.failure = event;
  }
}

/** The first and the last output of one stream. */
class OutputTap {
  #head = "";
  #bytes = 0;
  #last: Buffer[] = [];
  #lastLength = 0;

  push(block: Buffer): void {
    if (this.#last.length === 0 && this.#head.length < MAX_TRANSCRIPT_OUTPUT) {
      const { text, endsAt } = outputText(block, this.#bytes);
      this.#head += text;
      this.#bytes = endsAt;
      return;
    }
    // The block is a view of a frame: copied, it does not keep the whole frame alive.
    this.#last.push(Buffer.from(block));
    this.#lastLength += block.length;
    while (this.#last.length > 1 && this.#lastLength - this.#last[0]!.length > 2 * MAX_TRANSCRIPT_OUTPUT) {
      this.#lastLength -= this.#last.shift()!.length;
    }
  }

  output(total: number | undefined): TranscriptOutput {
    if (this.#last.length === 0) return { head: this.#head, bytes: total ?? this.#bytes };
    let bytes = this.#bytes;
    let tail = "";
    for (const block of this.#last) {
      const { text, endsAt } = outputText(block, bytes);
      tail += text;
      bytes = endsAt;
    }
    return { head: this.#head, tail, bytes: total ?? bytes };
  }
}

function outputText(block: Buffer, offset: number): { text: string; endsAt: number } {
  const event = parseEvent(block);
  if (event?.type !== "stdout" && event?.type !== "stderr") return { text: "", endsAt: offset };
  if (event.encoding === "base64") {
    const bytes = Buffer.from(event.data, "base64");
    return { text: `[${bytes.length} bytes that are not text]`, endsAt: event.offset + bytes.length };
  }
  return { text: event.data, endsAt: event.offset + Buffer.byteLength(event.data) };
}

/** The name of an event block: the value of its first `event:` field, which stands in the first 64 bytes. */
function eventName(head: string): string | undefined {
  const at = head.indexOf(EVENT_FIELD);
  if (at < 0) return undefined;
  const end = head.indexOf("\n", at);
  return end < 0 ? undefined : head.slice(at + EVENT_FIELD.length, end);
}

function parseEvent(block: Buffer): RunEvent | undefined {
  const at = block.indexOf(DATA_FIELD);
  if (at < 0) return undefined;
  try {
    return RunEvent.parse(JSON.parse(block.toString("utf8", at + DATA_FIELD.length)));
  } catch {
    return undefined;
  }
}
