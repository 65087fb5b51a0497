/** Counts attempts by key over a sliding window, in bounded memory. */
export class AttemptLimit {
  readonly #max: number;
  readonly #windowMs: number;
  readonly #now: () => number;
  readonly #attempts = new Map<string, number[]>();

  constructor({ max, windowMs, now = Date.now }: { max: number; windowMs: number; now?: () => number }) {
    this.#max = max;
    this.#windowMs = windowMs;
    this.#now = now;
  }

  isOver(key: string): boolean {
    return this.#recent(key).length >= this.#max;
  }

  count(key: string): void {
    const recent = this.#recent(key);
    recent.push(this.#now());
    // The one that was counted last goes to the end, so the first ones are the oldest.
    this.#attempts.delete(key);
    this.#attempts.set(key, recent.slice(-this.#max));
    if (this.#attempts.size > MAX_KEYS) this.#attempts.delete(this.#attempts.keys().next().value!);
  }

  #recent(key: string): number[] {
    const since = this.#now() - this.#windowMs;
    return (this.#attempts.get(key) ?? []).filter((at) => at > since);
  }
}

const MAX_KEYS = 10_000;
