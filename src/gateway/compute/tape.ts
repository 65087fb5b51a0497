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
  /** What is drawn from, as it was asked for. */
  readonly #whole = new Map<string, readonly CassetteCall[]>();
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

  /** One of the calls of this key that were recorded about that time. */
  draw(
    operation: CassetteOperation,
    key: string,
    at: number,
    random: () => number,
  ): CassetteCall | undefined {
    const which = `${operation} ${key}`;
    return this.#pick(this.#drawn(which, this.#byKey.get(which)), at, random);
  }

  /** One of any key, whose time or failure another question would have met as well. */
  drawAny(operation: CassetteOperation, at: number, random: () => number): CassetteCall | undefined {
    const known = this.#whole.get(operation);
    const all = this.#byOperation.get(operation) ?? [];
    const of =
      known ??
      this.#drawn(
        operation,
        all.filter((call) => call.outcome.kind !== "error" || isFault(call)),
      );
    return this.#pick(of, at, random);
  }

  /** A call that its caller left early says less than one that came to its end: it counts where there is no other. */
  #drawn(which: string, all: readonly CassetteCall[] = []): readonly CassetteCall[] {
    const known = this.#whole.get(which);
    if (known) return known;
    const whole = all.filter(isWhole);
    const drawn = whole.length > 0 ? whole : all;
    this.#whole.set(which, drawn);
    return drawn;
  }

  /** Within the window, or within a wider one when nothing was recorded then. */
  #pick(all: readonly CassetteCall[], at: number, random: () => number): CassetteCall | undefined {
    const then = at % this.durationMs;
    let [from, until] = [0, all.length];
    for (let half = this.#windowMs / 2; half < this.durationMs; half *= 2) {
      from = firstFrom(all, then - half);
      until = firstFrom(all, then + half);
      if (until > from) break;
      [from, until] = [0, all.length];
    }
    return all[from + Math.floor(random() * (until - from))];
  }
}

/** A failure of the provider, and not of the question: it may meet any other question as well. */
export function isFault({ outcome }: CassetteCall): boolean {
  return outcome.kind === "unanswered" || (outcome.kind === "error" && PROVIDER_FAULTS.has(outcome.code));
}

const PROVIDER_FAULTS: ReadonlySet<string> = new Set([
  "provider_failed",
  "compute_lost",
  "compute_offline",
  "timed_out",
  "internal",
  "too_many_requests",
  "relay_full",
  "credentials_refused",
]);

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
