/** How often a peer is asked, and after how long a silence it counts as gone. Milliseconds. */
export interface HeartbeatTimes {
  intervalMs?: number;
  timeoutMs?: number;
}

export interface HeartbeatOptions extends HeartbeatTimes {
  ping(): void;
  /** Nothing was heard for `timeoutMs`. Called at most once. */
  onSilence(): void;
}

/** Ten seconds keep a link open through the proxies there are, and cost a few bytes. */
const INTERVAL_MS = 10_000;
/** Two answers may go missing. */
const TIMEOUT_MS = 25_000;

/** Asks the peer for signs of life, and declares it gone when there are none. */
export class Heartbeat {
  lastHeardAt = Date.now();
  readonly #timeoutMs: number;
  readonly #timer: NodeJS.Timeout;
  // A clock that is set forward must not make a peer look silent: silence is measured on the steady one.
  #heard = performance.now();

  constructor({ intervalMs = INTERVAL_MS, timeoutMs = TIMEOUT_MS, ping, onSilence }: HeartbeatOptions) {
    this.#timeoutMs = timeoutMs;
    let lastTick = performance.now();
    this.#timer = setInterval(() => {
      const now = performance.now();
      // A machine that slept did not listen: the peer gets a full turn to answer first.
      if (now - lastTick > intervalMs * 2) this.#heard = now;
      lastTick = now;
      if (!this.isOverdue) return ping();
      this.stop();
      onSilence();
    }, intervalMs);
  }

  get isOverdue(): boolean {
    return performance.now() - this.#heard > this.#timeoutMs;
  }

  /** Something came from the peer. */
  heard(): void {
    this.#heard = performance.now();
    this.lastHeardAt = Date.now();
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
