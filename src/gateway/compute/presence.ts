/** Measures, since this gateway started, how much of the time each compute was connected. */
export class Presence {
  readonly #seen = new Map<string, { firstAt: number; onlineMs: number; onlineSince: number | null }>();
  readonly #now: () => number;

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  connected(computeId: string): void {
    const now = this.#now();
    const seen = this.#seen.get(computeId);
    if (!seen) this.#seen.set(computeId, { firstAt: now, onlineMs: 0, onlineSince: now });
    else seen.onlineSince ??= now;
  }

  disconnected(computeId: string): void {
    const seen = this.#seen.get(computeId);
    if (seen?.onlineSince == null) return;
    seen.onlineMs += this.#now() - seen.onlineSince;
    seen.onlineSince = null;
  }

  forget(computeId: string): void {
    this.#seen.delete(computeId);
  }

  /** Percent of the time since the first connection; null for a compute that was never connected. */
  uptimePercent(computeId: string): number | null {
    const seen = this.#seen.get(computeId);
    if (!seen) return null;
    const now = this.#now();
    const total = now - seen.firstAt;
    const online = seen.onlineMs + (seen.onlineSince === null ? 0 : now - seen.onlineSince);
    return total === 0 ? 100 : Math.round((online / total) * 1000) / 10;
  }
}
