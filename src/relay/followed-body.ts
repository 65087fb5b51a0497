import type { Follow } from "./keeper-client.js";

/**
 * The body of a response that is fed by a follower of a run: what its reader has not taken yet holds the keeper up, and
 * through it the process.
 */
export class FollowedBody {
  readonly stream: ReadableStream<Uint8Array>;
  #controller!: ReadableStreamDefaultController<Uint8Array>;
  #follow: Follow | undefined;
  /** Told by the keeper and not yet taken by the reader, in bytes of the run's output. */
  #untaken = 0;
  #left: "lost" | "gone" | undefined;
  #isOver = false;

  constructor(highWaterBytes: number) {
    this.stream = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        pull: () => this.#taken(),
        cancel: () => this.leave("gone"),
      },
      { highWaterMark: highWaterBytes, size: (chunk) => chunk?.byteLength ?? 0 },
    );
  }

  /** Whether nothing more goes into it: it has ended, or its reader has left. */
  get isOver(): boolean {
    return this.#isOver;
  }

  get hasRoom(): boolean {
    return (this.#controller.desiredSize ?? 0) > 0;
  }

  /** Who feeds it. What was taken before, and a reader that left before, is told to it at once. */
  fedBy(follow: Follow): void {
    this.#follow = follow;
    if (this.#left) follow.stop(this.#left);
    else if (this.hasRoom) this.#taken();
  }

  /** Gives bytes to the reader, which `outputBytes` of the run's output became. */
  give(bytes: Uint8Array, outputBytes = 0): void {
    if (this.#isOver) return;
    this.#controller.enqueue(bytes);
    this.#untaken += outputBytes;
    if (this.hasRoom) this.#taken();
  }

  #taken(): void {
    const bytes = this.#untaken;
    if (bytes === 0 || !this.#follow) return;
    this.#untaken = 0;
    this.#follow.read(bytes);
  }

  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#controller.close();
  }

  /** The body breaks: no end is made up, and whoever reads it asks again. */
  fail(error: Error): void {
    if (this.#isOver) return;
    this.#controller.error(error);
    this.leave("gone");
  }

  /** The reader is not there any more: for good, or because a link broke. */
  leave(why: "lost" | "gone"): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#left = why;
    this.#follow?.stop(why);
  }
}
