/** Tells the gateway which runs have ended without anybody who waited for them here. */
export class RunEnds {
  readonly #listeners = new Set<ReadableStreamDefaultController<Uint8Array>>();

  add(runId: string): void {
    const line = Buffer.from(`${JSON.stringify({ run_id: runId })}\n`);
    for (const controller of this.#listeners) controller.enqueue(line);
  }

  /** A line of JSON for each end from now on, until the signal aborts. */
  stream(signal: AbortSignal): ReadableStream<Uint8Array> {
    let own: ReadableStreamDefaultController<Uint8Array>;
    return new ReadableStream<Uint8Array>({
      start: (controller) => {
        own = controller;
        this.#listeners.add(controller);
        // The first byte says that nothing is missed from here on.
        controller.enqueue(Buffer.from("\n"));
        signal.addEventListener("abort", () => this.#listeners.delete(controller), { once: true });
      },
      cancel: () => void this.#listeners.delete(own),
    });
  }
}
