import type { CassetteCall, CassetteOperation } from "../../protocol/cassette.js";
import type { Cassette } from "./cassette.js";

/** What of a day counts as "at this time", unless said: long enough for some calls, short enough for an outage's edges. */
export const DEFAULT_WINDOW_MS = 10 * 60_000;

/** What was recorded, as playback asks for it. */
export class Tape {
  readonly durationMs: number;
  readonly #windowMs: number;
  readonly #byOperation = new Map<CassetteOperation, CassetteCall[]>();
  readonly #byKey = new Map<string, CassetteCall[]>();
  readonly #played = new Map<string, number>();
  readonly #asked = new Map<CassetteOperation, Set<string>>();

  constructor({ calls, durationMs }: Cassette, windowMs: number = DEFAULT_WINDOW_MS) {
    this.durationMs = durationMs;
    this.#windowMs = windowMs;
    for (const call of calls) {
      push(this.#byOperation, call.operation, call);
      push(this.#byKey, `${call.operation} ${call.key}`, call);
      if (call.asked === undefined) continue;
      const known = this.#asked.get(call.operation) ?? new Set();
      this.#asked.set(call.operation, known.add(call.asked));
    }
  }

  has(operation: CassetteOperation): boolean {
    return this.#byOperation.has(operation);
  }

  knows(operation: CassetteOperation, key: string): boolean {
    return this.#byKey.has(`${operation} ${key}`);
  }

  /** What the cassette knows of an operation, for people. */
  asked(operation: CassetteOperation): string[] {
    return [...(this.#asked.get(operation) ?? [])];
  }

  /** The next call of this key, in the order of the recording; undefined when all of them were played. */
  next(operation: CassetteOperation, key: string): CassetteCall | undefined {
    const which = `${operation} ${key}`;
    const at = this.#played.get(which) ?? 0;
    this.#played.set(which, at + 1);
    return this.#byKey.get(which)?.[at];
  }

  /** One of the calls that were recorded about that time: of this key, or of any. */
  draw(
    operation: CassetteOperation,
    key: string | undefined,
    at: number,
    random: () => number,
  ): CassetteCall | undefined {
    const all = key === undefined ? this.#byOperation.get(operation) : this.#byKey.get(`${operation} ${key}`);
    if (!all) return undefined;
    const about = this.#about(all, at % this.durationMs);
    return about[Math.floor(random() * about.length)];
  }

  /** Those within the window, or within a wider one when nothing was recorded then. Never empty. */
  #about(all: readonly CassetteCall[], at: number): readonly CassetteCall[] {
    for (let half = this.#windowMs / 2; half < this.durationMs; half *= 2) {
      const from = firstFrom(all, at - half);
      const until = firstFrom(all, at + half);
      // A call that its caller left early says less than one that came to its end.
      const found = all.slice(from, until);
      const whole = found.filter(isWhole);
      if (whole.length > 0) return whole;
    }
    const whole = all.filter(isWhole);
    return whole.length > 0 ? whole : all;
  }
}

function isWhole({ outcome }: CassetteCall): boolean {
  if (outcome.kind === "stream") return outcome.end !== "left";
  return outcome.kind !== "unanswered" || outcome.why !== "left";
}

/** The first call that began at that time or later. */
function firstFrom(calls: readonly CassetteCall[], at: number): number {
  let [low, high] = [0, calls.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (calls[middle]!.at_ms < at) low = middle + 1;
    else high = middle;
  }
  return low;
}

function push<K>(lists: Map<K, CassetteCall[]>, key: K, call: CassetteCall): void {
  const list = lists.get(key);
  if (list) list.push(call);
  else lists.set(key, [call]);
}
