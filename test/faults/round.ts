import { setMaxListeners } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { Broken, Refused, type RunRecord, type Status } from "./api.js";
import { Caller, type Heard } from "./caller.js";
import { isRunning, isSettled, type Oracle } from "./oracle.js";
import type { Plan } from "./plan.js";
import type { Random } from "./random.js";
import type { Tally } from "./tally.js";
import { verify } from "./verify.js";
import type { World } from "./world.js";

export interface Round {
  /** For what is said of its runs. */
  name: string;
  world: World;
  oracle: Oracle;
  plans: readonly Plan[];
  /** Milliseconds over which the callers begin. */
  spreadMs: number;
  /** Does the damage, while the callers call. */
  strike(signal: AbortSignal): Promise<void>;
  tally: Tally;
  random: Random;
  signal: AbortSignal;
}

/** A run whose process is gone has this long to get a settled record, counted from the link's return. */
const SETTLE_LIMIT_MS = 20_000;
/** A caller that has heard nothing by then leaves. */
const CALLERS_LIMIT_MS = 15_000;
const LOOK_EVERY_MS = 150;

/**
 * Runs, faults among them, then none: everything up again, every run settled, and everything that was told held against
 * what happened. A session of its own keeps the round's runs together.
 */
export async function playRound(round: Round): Promise<void> {
  const { world, oracle, plans, tally, random, signal } = round;
  const session = await createSession(round);
  const over = new AbortController();
  const enough = new AbortController();
  const whole = AbortSignal.any([signal, over.signal]);
  const calling = AbortSignal.any([whole, enough.signal]);
  // Every caller waits with it.
  setMaxListeners(0, calling);
  try {
    const calls = Promise.all(plans.map((plan) => callLater(plan, { round, session, signal: calling })));
    calls.catch(() => {});
    await round.strike(whole);
    const settling = new Settling(round, session, whole);
    await world.heal(whole, () => settling.lookBefore());
    const timer = setTimeout(() => enough.abort(), CALLERS_LIMIT_MS);
    const [heard, records] = await Promise.all([
      calls.finally(() => clearTimeout(timer)),
      settling.untilSettled(calls),
    ]);
    await verify({ name: round.name, world, oracle, session, heard, records, tally, random, signal });
  } finally {
    over.abort();
  }
  // Ends what may still run, such as the script of a run that was not cancelled in time.
  await world.api.closeSession(session, signal).catch(() => tally.note("a session could not be closed"));
}

/** In quiet times this works at once; a gateway that was just killed may need a second asking. */
async function createSession({ world, signal }: Round): Promise<string> {
  for (let tries = 1; ; tries++) {
    try {
      return await world.api.createSession(signal);
    } catch (error) {
      if (tries === 5) throw error;
      await sleep(500, undefined, { signal });
    }
  }
}

async function callLater(
  plan: Plan,
  { round, session, signal }: { round: Round; session: string; signal: AbortSignal },
): Promise<Heard> {
  const random = round.random.fork(`caller/${plan.number}`);
  await sleep(random.int(0, round.spreadMs), undefined, { signal }).catch(() => {});
  return new Caller(plan, { api: round.world.api, session, random, signal }).call();
}

/** Watches the records of a session come to rest, and takes the time. */
class Settling {
  readonly #round: Round;
  readonly #session: string;
  readonly #signal: AbortSignal;
  /** How the runs were recorded at the last look before the link was back. */
  #before = new Map<string, Status>();
  #reconnectedAt = 0;
  readonly #goneAt = new Map<string, number>();
  /** Runs whose truth is still to come; their time is taken. */
  readonly #waited = new Set<string>();

  constructor(round: Round, session: string, signal: AbortSignal) {
    this.#round = round;
    this.#session = session;
    this.#signal = signal;
  }

  async lookBefore(): Promise<void> {
    const records = await this.#look();
    if (records) this.#before = new Map(open(records).map(({ run_id, status }) => [run_id, status]));
  }

  /** The last records once the calls are over, settled or not: what is not by then never is. */
  async untilSettled(calls: Promise<unknown>): Promise<RunRecord[]> {
    this.#reconnectedAt = performance.now();
    let callsAreOver = false;
    const over = () => {
      callsAreOver = true;
    };
    calls.then(over, over);
    let records: RunRecord[] = [];
    for (let first = true; ; ) {
      this.#signal.throwIfAborted();
      const last = callsAreOver;
      const found = await this.#look();
      if (found) {
        records = found;
        await this.#measure(records, first);
        first = false;
        if (last && open(records).length === 0) return records;
      }
      if (performance.now() - this.#reconnectedAt > CALLERS_LIMIT_MS + SETTLE_LIMIT_MS) return records;
      await sleep(LOOK_EVERY_MS, undefined, { signal: this.#signal });
    }
  }

  /**
   * Takes the time of the runs that were lost, or over and not settled, when the link came back. Those that simply go on
   * are not waiting for anything.
   */
  async #measure(records: readonly RunRecord[], first: boolean): Promise<void> {
    const truth = await this.#round.oracle.truth();
    const now = performance.now();
    for (const { run_id, status } of records) {
      const began = truth.byRunId.get(run_id);
      const goesOn = began !== undefined && (await isRunning(began));
      const knows = isSettled(status) || (goesOn && status !== "lost");
      if (first && (!knows || this.#wasWaiting(run_id, goesOn))) this.#waited.add(run_id);
      if (!goesOn && !isSettled(status) && !this.#goneAt.has(run_id)) this.#goneAt.set(run_id, now);
      if (!knows || !this.#waited.delete(run_id)) continue;
      const from = Math.max(this.#reconnectedAt, this.#goneAt.get(run_id) ?? 0);
      this.#round.tally.settleSeconds.push((now - from) / 1000);
    }
  }

  #wasWaiting(runId: string, goesOn: boolean): boolean {
    const before = this.#before.get(runId);
    return before === "lost" || (before !== undefined && !goesOn);
  }

  async #look(): Promise<RunRecord[] | undefined> {
    return this.#round.world.api.runs(this.#session, this.#signal).catch((error: unknown) => {
      if (error instanceof Broken || error instanceof Refused) return undefined;
      throw error;
    });
  }
}

function open(records: readonly RunRecord[]): RunRecord[] {
  return records.filter(({ status }) => !isSettled(status));
}
