/**
 * Waiting times between attempts: doubling from `firstMs` to `maxMs`, each drawn evenly from the upper half, so that
 * many clients that were cut off together do not come back together.
 */
export class Backoff {
  #attempt = 0;

  constructor(
    readonly firstMs: number,
    readonly maxMs: number,
    readonly random: () => number = Math.random,
  ) {}

  /** The next waiting time in milliseconds. */
  next(): number {
    const ceiling = Math.min(this.maxMs, this.firstMs * 2 ** this.#attempt++);
    return Math.round(ceiling / 2 + (ceiling / 2) * this.random());
  }

  /** Call when an attempt has held for a while. */
  reset(): void {
    this.#attempt = 0;
  }
}
