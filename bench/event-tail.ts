/** More than the last event of a stream takes. */
const KEPT_BYTES = 4_096;

export interface LastEvent {
  type: string;
  status?: string;
  exit_code?: number | null;
  stdout_bytes?: number;
}

/** The end of a stream of server-sent events, kept without looking at the rest: reading on has to cost next to nothing. */
export class EventTail {
  #kept = "";
  wireBytes = 0;

  push(slice: Buffer): void {
    this.wireBytes += slice.length;
    this.#kept = (this.#kept + slice.toString("latin1", Math.max(0, slice.length - KEPT_BYTES))).slice(
      -KEPT_BYTES,
    );
  }

  /** The event it ended with. */
  last(): LastEvent {
    const data = /data: ({.*})\s*$/.exec(this.#kept)?.[1];
    if (data === undefined) throw new Error(`a stream ended without an event: ${this.#kept.slice(-200)}`);
    return JSON.parse(data) as LastEvent;
  }
}
