import type { Logger } from "../../../util/logger.js";
import type { Database } from "../../store/schema.js";
import {
  admission,
  admitted,
  type Breaker,
  breakerFromJson,
  newBreaker,
  type Outcome,
  withOutcome,
} from "./breaker.js";
import { type CanaryLedger, counted } from "./canary.js";
import {
  type Cell,
  cellFromJson,
  cellToJson,
  keysOf,
  MAX_CELLS,
  type Observation,
  observe,
} from "./measurements.js";

/** What was learnt goes to the database this often. */
const FLUSH_MS = 2_000;
/** Accounts whose memory is held at once; the one longest unused goes first. */
const MAX_ACCOUNTS = 1_000;

/** What routing remembers of one account. */
export interface AccountMemory {
  readonly measurements: ReadonlyMap<string, Cell>;
  readonly breakers: ReadonlyMap<string, Breaker>;
  readonly canaries: CanaryLedger;
}

interface Memory {
  measurements: Map<string, Cell>;
  breakers: Map<string, Breaker>;
  canaries: CanaryLedger;
  /** What is not in the database yet. */
  changed: Map<string, { kind: Kind; key: string; value: string }>;
}
type Kind = "cell" | "breaker" | "canaries";

/** What routing has learnt: measurements, circuit breakers, and how many canaries there were. Kept across restarts. */
export class RoutingMemory {
  readonly #db: Database;
  readonly #now: () => number;
  readonly #logger: Logger;
  readonly #accounts = new Map<string, Promise<Memory>>();
  #timer: NodeJS.Timeout | undefined;

  constructor({ db, now, logger }: { db: Database; now: () => number; logger: Logger }) {
    this.#db = db;
    this.#now = now;
    this.#logger = logger;
  }

  of(accountId: string): Promise<AccountMemory> {
    return this.#memory(accountId);
  }

  /** Something was measured. */
  async observed(accountId: string, seen: Observation): Promise<void> {
    const memory = await this.#memory(accountId);
    for (const [key, cell] of observe(memory.measurements, seen)) {
      memory.measurements.delete(key);
      memory.measurements.set(key, cell);
      this.#changed(memory, "cell", key, cellToJson(cell));
    }
    // In a map the keys that were changed last are last.
    for (const key of memory.measurements.keys()) {
      if (memory.measurements.size <= MAX_CELLS) break;
      if (!keysOf(seen).includes(key)) memory.measurements.delete(key);
    }
  }

  /** Whether a create may be sent to a candidate now. Of those that come at once after it was left out, one is the probe. */
  async admit(accountId: string, candidate: string): Promise<boolean> {
    const memory = await this.#memory(accountId);
    const breaker = memory.breakers.get(candidate);
    if (breaker && admission(breaker, this.#now()) === "no") return false;
    this.#setBreaker(memory, candidate, (before) => admitted(before, this.#now()));
    return true;
  }

  /** What became of it. */
  async outcome(accountId: string, candidate: string, outcome: Outcome): Promise<void> {
    this.#setBreaker(await this.#memory(accountId), candidate, (breaker) =>
      withOutcome(breaker, outcome, this.#now()),
    );
  }

  /** A create whose policy has a canary share was routed by this memory. Counted at once: others may be routed meanwhile. */
  async countedCanary(accountId: string, { canaries }: AccountMemory, taken: boolean): Promise<void> {
    Object.assign(canaries, counted(canaries, taken));
    this.#changed(await this.#memory(accountId), "canaries", "all", JSON.stringify(canaries));
  }

  /** Writes what was learnt. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const [accountId, pending] of this.#accounts) {
      const { changed } = await pending;
      const rows = [...changed.values()];
      changed.clear();
      try {
        for (const { kind, key, value } of rows) await this.#write(accountId, kind, key, value);
      } catch (error) {
        this.#logger.warn({ err: error, account_id: accountId }, "what routing learnt could not be written");
      }
    }
  }

  #setBreaker(memory: Memory, candidate: string, change: (breaker: Breaker) => Breaker): void {
    const before = memory.breakers.get(candidate) ?? newBreaker(this.#now());
    const after = change(before);
    if (after === before) return;
    memory.breakers.set(candidate, after);
    this.#changed(memory, "breaker", candidate, JSON.stringify(after));
  }

  #changed(memory: Memory, kind: Kind, key: string, value: string): void {
    memory.changed.set(`${kind} ${key}`, { kind, key, value });
    this.#timer ??= setTimeout(() => void this.flush(), FLUSH_MS).unref();
  }

  #write(accountId: string, kind: Kind, key: string, value: string): Promise<unknown> {
    const values = { value_json: value, updated_at: this.#now() };
    return this.#db
      .insertInto("routing_memory")
      .values({ account_id: accountId, kind, key, ...values })
      .onConflict((conflict) => conflict.columns(["account_id", "kind", "key"]).doUpdateSet(values))
      .execute();
  }

  #memory(accountId: string): Promise<Memory> {
    let memory = this.#accounts.get(accountId);
    if (!memory) {
      memory = this.#load(accountId);
      memory.catch(() => this.#accounts.delete(accountId));
      if (this.#accounts.size >= MAX_ACCOUNTS) void this.flush();
    }
    // In a map the account that was asked for last is last.
    this.#accounts.delete(accountId);
    this.#accounts.set(accountId, memory);
    if (this.#accounts.size > MAX_ACCOUNTS && this.#timer === undefined)
      this.#accounts.delete(this.#accounts.keys().next().value!);
    return memory;
  }

  async #load(accountId: string): Promise<Memory> {
    const rows = await this.#db
      .selectFrom("routing_memory")
      .select(["kind", "key", "value_json"])
      .where("account_id", "=", accountId)
      .orderBy("updated_at", "desc")
      .limit(2 * MAX_CELLS)
      .execute();
    const memory: Memory = {
      measurements: new Map(),
      breakers: new Map(),
      canaries: { creates: 0, canaries: 0 },
      changed: new Map(),
    };
    for (const { kind, key, value_json } of rows.reverse()) {
      if (kind === "breaker") memory.breakers.set(key, breakerFromJson(value_json, this.#now()));
      if (kind === "canaries") memory.canaries = JSON.parse(value_json) as CanaryLedger;
      const cell = kind === "cell" ? cellFromJson(value_json) : undefined;
      if (cell) memory.measurements.set(key, cell);
    }
    return memory;
  }
}
