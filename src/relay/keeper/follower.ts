import { setTimeout as sleep } from "node:timers/promises";
import type { FollowOrder, Offsets, RunState, StreamName, Tell } from "./messages.js";
import { STREAMS } from "./messages.js";
import type { OutputJournal, Piece } from "./output-journal.js";

/** A file that cannot be read now is read again after this long. */
const READ_RETRY_MS = 200;

export interface FollowerOptions {
  sub: number;
  order: FollowOrder;
  journals: Record<StreamName, OutputJournal>;
  /** The run as it is now, and whether it is over. */
  state(): { state: RunState; over: boolean };
  tell(message: Tell, payload?: Uint8Array): void;
  onDone(): void;
}

/** One reader of a run's output: gets each byte from its offsets on once, a gap where the journal has no more, then the end. */
export class Follower {
  readonly sub: number;
  readonly offsets: Offsets;
  readonly #options: FollowerOptions;
  readonly #streams: readonly StreamName[];
  #credit: number;
  #pumping = false;
  #done = false;

  constructor(options: FollowerOptions) {
    const { order } = options;
    this.sub = options.sub;
    this.offsets = { ...order.offsets };
    this.#options = options;
    this.#streams = order.only ? [order.only] : STREAMS;
    this.#credit = order.credit;
  }

  get isFollowing(): boolean {
    return this.#options.order.until === undefined;
  }

  grant(bytes: number): void {
    this.#credit += bytes;
    this.pump();
  }

  stop(): void {
    this.#done = true;
  }

  /** Sends what can be sent now. What is in memory goes at once; what is in files when it was read. */
  pump(): void {
    if (this.#done || this.#pumping) return;
    for (const name of this.#streams) {
      for (;;) {
        const limit = this.#limit(name);
        if (this.offsets[name] >= limit) break;
        if (this.#credit <= 0) return;
        const piece = this.#options.journals[name].peek(this.offsets[name]);
        if (!piece) {
          this.#pumping = true;
          void this.#pumpFiles(name).finally(() => {
            this.#pumping = false;
            this.pump();
          });
          return;
        }
        this.#send(name, piece.offset, piece.bytes, limit);
      }
    }
    this.#finish();
  }

  async #pumpFiles(name: StreamName): Promise<void> {
    const journal = this.#options.journals[name];
    let piece: Piece | undefined;
    try {
      piece = await journal.read(this.offsets[name]);
    } catch {
      // Too many open files, say: it is read again, and nothing is called missing that is there.
      await sleep(READ_RETRY_MS);
      return;
    }
    if (this.#done) return;
    const limit = this.#limit(name);
    const start = Math.min(piece?.offset ?? limit, limit);
    const missing = start - this.offsets[name];
    if (missing > 0) {
      const { sub } = this;
      this.#options.tell({ op: "gap", sub, stream: name, offset: this.offsets[name], bytes: missing });
      this.offsets[name] = start;
    }
    if (piece && start === piece.offset) this.#send(name, piece.offset, piece.bytes, limit);
  }

  #send(stream: StreamName, offset: number, bytes: Buffer, limit: number): void {
    const piece = bytes.subarray(0, limit - offset);
    this.offsets[stream] = offset + piece.length;
    this.#credit -= piece.length;
    this.#options.tell({ op: "output", sub: this.sub, stream, offset }, piece);
  }

  #limit(name: StreamName): number {
    const { size } = this.#options.journals[name];
    return Math.min(size, this.#options.order.until ?? size);
  }

  #finish(): void {
    const { state, over } = this.#options.state();
    if (!over && this.isFollowing) return;
    this.#done = true;
    this.#options.tell({ op: "end", sub: this.sub, state });
    this.#options.onDone();
  }
}

/** How far the slowest of these has read a stream. */
export function followedTo(followers: ReadonlySet<Follower>, name: StreamName): number {
  let offset = Number.POSITIVE_INFINITY;
  for (const follower of followers) offset = Math.min(offset, follower.offsets[name]);
  return offset;
}
