import type { FrameSocket } from "./frame-socket.js";

/**
 * The sending half of a body: no more goes out than the receiver has granted, so that a reader who stops also stops
 * the one who writes, and nothing piles up in between.
 */
export class BodySender {
  readonly #maxChunkBytes: number;
  readonly #socket: FrameSocket;
  #credit: number;
  #stopped = false;
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  #wake: (() => void) | undefined;

  constructor(windowBytes: number, maxChunkBytes: number, socket: FrameSocket) {
    this.#credit = windowBytes;
    this.#maxChunkBytes = maxChunkBytes;
    this.#socket = socket;
  }

  /** The receiver has made room. */
  grant(bytes: number): void {
    this.#credit += bytes;
    this.#wake?.();
  }

  /** Nobody wants the rest: what produces the body is told so. */
  cancel(reason?: unknown): void {
    this.#stopped = true;
    this.#wake?.();
    this.#reader?.cancel(reason).catch(() => {});
  }

  /**
   * Sends what the body holds, in pieces that fit credit and frames, with `write`; the last one has `end` set.
   * Resolves when all is sent or the sender was cancelled. Rejects when the body fails.
   */
  async send(
    body: ReadableStream<Uint8Array>,
    write: (bytes: Uint8Array, end: boolean) => void,
  ): Promise<void> {
    if (this.#stopped) return body.cancel();
    const reader = body.getReader();
    this.#reader = reader;
    for (;;) {
      const { done, value } = await reader.read();
      if (this.#stopped) return;
      if (done) return write(EMPTY, true);
      for (let from = 0; from < value.length; ) {
        if (this.#credit <= 0 || this.#socket.congested) await this.#room();
        if (this.#stopped) return;
        const length = Math.min(value.length - from, this.#credit, this.#maxChunkBytes);
        this.#credit -= length;
        write(value.subarray(from, from + length), false);
        from += length;
      }
    }
  }

  async #room(): Promise<void> {
    while (this.#credit <= 0 && !this.#stopped) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (!this.#stopped) await this.#socket.drained();
  }
}

const EMPTY = new Uint8Array(0);

export interface BodyReceiverOptions {
  windowBytes: number;
  /** Tells the sender that so many bytes were read. */
  grant(bytes: number): void;
  /** The reader wants no more. */
  cancelled(reason: unknown): void;
}

/** The receiving half of a body: a stream that holds at most one window of unread bytes. */
export class BodyReceiver {
  readonly stream: ReadableStream<Uint8Array>;
  readonly #options: BodyReceiverOptions;
  readonly #chunks: Uint8Array[] = [];
  #unread = 0;
  #ungranted = 0;
  #ended = false;
  #closed = false;
  #failure: { error: unknown } | undefined;
  #controller!: ReadableStreamDefaultController<Uint8Array>;
  #pulled: (() => void) | undefined;

  constructor(options: BodyReceiverOptions) {
    this.#options = options;
    this.stream = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        pull: () => this.#pull(),
        cancel: (reason) => {
          this.#closed = true;
          this.#chunks.length = 0;
          options.cancelled(reason);
        },
      },
      { highWaterMark: 0 },
    );
  }

  /** Takes a chunk; false when it is more than was granted. */
  push(chunk: Uint8Array): boolean {
    if (this.#closed) return true;
    this.#unread += chunk.length;
    if (this.#unread + this.#ungranted > this.#options.windowBytes) return false;
    if (chunk.length > 0) this.#chunks.push(chunk);
    this.#pulled?.();
    return true;
  }

  /** The body is complete. */
  end(): void {
    this.#ended = true;
    this.#pulled?.();
  }

  /** The body will never be complete: the reader gets the error, after what came before it. */
  fail(error: unknown): void {
    if (this.#closed || this.#ended) return;
    this.#failure = { error };
    this.#pulled?.();
  }

  async #pull(): Promise<void> {
    while (this.#chunks.length === 0 && !this.#ended && !this.#closed && !this.#failure) {
      await new Promise<void>((resolve) => {
        this.#pulled = resolve;
      });
      this.#pulled = undefined;
    }
    if (this.#closed) return;
    const chunk = this.#chunks.shift();
    if (!chunk) {
      this.#closed = true;
      if (this.#failure) this.#controller.error(this.#failure.error);
      else this.#controller.close();
      return;
    }
    this.#controller.enqueue(chunk);
    this.#read(chunk.length);
  }

  #read(bytes: number): void {
    this.#unread -= bytes;
    this.#ungranted += bytes;
    if (this.#ended || this.#ungranted < this.#options.windowBytes / 4) return;
    this.#options.grant(this.#ungranted);
    this.#ungranted = 0;
  }
}
