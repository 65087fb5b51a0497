import { isProviderHandle } from "../../../protocol/providers.js";
import type { RunRequest } from "../../../protocol/runs.js";
import type { KeptRun } from "../../../protocol/sandbox.js";
import type { Logger } from "../../../util/logger.js";
import type { Computes } from "../../compute/computes.js";
import type { DurableRuns, MachineEnv, ProviderAdapter, RunRef } from "../../compute/contract.js";
import type { ProviderRegistry } from "../../compute/registry.js";
import type { PlacedSandbox } from "../session-sandbox.js";
import type { LiveRun, LiveRuns } from "./live-runs.js";
import { isLost, isOffline } from "./run-failures.js";
import { keptOutcome } from "./run-outcome.js";
import type { StoredRun } from "./run-record.js";
import { type RunRecords, recordedRun, unknownOutcome } from "./run-records.js";

/** How often machines are asked for runs that are still lost. */
const SETTLE_MS = 3_000;
/** How often background runs are asked for whose end is not heard of: the machine tells of it, unless something went wrong. */
const ASK_RUNNING_MS = 60_000;
/** How long a machine may take to say what it knows of a run, and of many at once. */
const LOOKUP_TIMEOUT_MS = 10_000;
const LOOKUPS_TIMEOUT_MS = 60_000;
/** How many runs a machine is asked for at once. */
const LOOKUPS = 500;
/** A request that was sent so long ago has arrived, or its sender has given it up. */
const ARRIVAL_MS = 60_000;
/** How long ending a run's processes may take: its grace, KILL, and the way there and back. */
export const CANCEL_TIMEOUT_MS = 90_000;

export interface RunSettlementDeps {
  providers: ProviderRegistry;
  computes: Computes;
  records: RunRecords;
  live: LiveRuns;
  logger: Logger;
}

/** A background run that was accepted when its link broke. */
export interface Undelivered extends PlacedSandbox {
  request: RunRequest & { run_id: string };
  /** Until when it is sent again, by the steady clock. */
  until: number;
}

/** Brings runs whose machine was out of reach to their true end. */
export class RunSettlement {
  readonly #deps: RunSettlementDeps;
  readonly #live: LiveRuns;
  /** How often each machine has come back. */
  readonly #links = new Map<string, number>();
  /** The runs whose requests may be on their way: on which link of their machine, and since when. */
  readonly #onTheWay = new Map<string, { link: number; since: number }>();
  readonly #undelivered = new Map<string, Undelivered>();
  /** The machines that are being asked: one that takes its time is not asked again meanwhile. */
  readonly #asking = new Set<string>();
  #askedRunningAt = performance.now();
  readonly #sweep: NodeJS.Timeout;
  #stopping = false;

  constructor(deps: RunSettlementDeps) {
    this.#deps = deps;
    this.#live = deps.live;
    // A link can break while runs are being settled, and a caller can leave in between: nothing stays open for that.
    this.#sweep = setInterval(() => void this.#settleOpen(), SETTLE_MS).unref();
    deps.computes.onPresence((computeId, online) => {
      void (online ? this.#cameBack(computeId) : this.#wentAway(computeId)).catch((error: unknown) => {
        if (isLost(error) || isOffline(error)) return;
        deps.logger.error({ err: error, compute_id: computeId }, "runs could not be settled");
      });
    });
  }

  stop(): void {
    this.#stopping = true;
    clearInterval(this.#sweep);
  }

  /** A run is about to get on the record: its request follows. */
  announced(runId: string): void {
    this.#onTheWay.set(runId, { link: Number.POSITIVE_INFINITY, since: performance.now() });
  }

  /** The request of a run is about to be sent, for the first time or again. */
  sending(runId: string, computeId: string): void {
    this.#onTheWay.set(runId, { link: this.#links.get(computeId) ?? 0, since: performance.now() });
  }

  /** Whether a request that has not arrived by now may arrive yet: a link that is gone brings nothing more. */
  #mayArrive(row: StoredRun): boolean {
    const sent = this.#onTheWay.get(row.id);
    return sent !== undefined && sent.link >= (this.#links.get(row.compute_id!) ?? 0) && !isPast(sent);
  }

  /** What never arrived is sent again, for a while. */
  sendAgain(undelivered: Undelivered): void {
    this.#undelivered.set(undelivered.request.run_id, undelivered);
  }

  /** Every compute that is attached is of the one provider whose machines dial in. A vendor keeps no runs for us. */
  keeperOf(computeId: string): ProviderAdapter | undefined {
    if (isProviderHandle(computeId) || this.#deps.computes.isPublic(computeId)) return undefined;
    for (const provider of this.#deps.providers.values()) if (provider.durable) return provider;
    return undefined;
  }

  durableOf(computeId: string): DurableRuns | undefined {
    return this.keeperOf(computeId)?.durable;
  }

  durable({ compute_id }: { compute_id: string | null }): DurableRuns | undefined {
    return compute_id === null ? undefined : this.durableOf(compute_id);
  }

  shortEnv(computeId: string, timeoutMs = LOOKUP_TIMEOUT_MS): MachineEnv {
    return { computeId, signal: AbortSignal.timeout(timeoutMs) };
  }

  async #wentAway(computeId: string): Promise<void> {
    await this.#deps.records.recorded();
    // Back already: what it came back with is settled by then.
    if (this.#deps.computes.isOnline(computeId)) return;
    await this.#deps.records.lose(computeId);
    for (const row of await this.#deps.records.open(computeId)) {
      this.#live.ended(row.session_id, row.id);
    }
  }

  /** A machine is there: what it knows of its open runs is the truth, and it tells of their ends from now on. */
  async #cameBack(computeId: string): Promise<void> {
    this.#links.set(computeId, (this.#links.get(computeId) ?? 0) + 1);
    const durable = this.durableOf(computeId);
    if (!durable) return;
    const link = new AbortController();
    this.#deps.computes.onceGone(computeId, () => link.abort());
    const env = { computeId, signal: link.signal };
    const ends = await durable.ends(env).catch(() => undefined);
    // A public relay keeps no runs: those that were lost there stay so.
    if (!ends?.ok || !ends.body) {
      await ends?.body?.cancel().catch(() => {});
      return;
    }
    void this.#listen(ends.body, computeId);
    const open = await this.#deps.records.open(computeId);
    await this.settle(
      open.map(({ id }) => id),
      computeId,
      durable,
    );
  }

  /** Asks the machines that are there for runs that are still lost, and now and then for all that they run. */
  async #settleOpen(): Promise<void> {
    const now = performance.now();
    for (const [id, { until }] of this.#undelivered) if (now > until) this.#undelivered.delete(id);
    for (const [id, sent] of this.#onTheWay) if (isPast(sent)) this.#onTheWay.delete(id);
    const askRunning = now - this.#askedRunningAt > ASK_RUNNING_MS;
    if (askRunning) this.#askedRunningAt = now;
    try {
      const open = await this.#deps.records.unsettled(askRunning ? Date.now() - ASK_RUNNING_MS : undefined);
      for (const [computeId, ids] of open) {
        if (this.#asking.has(computeId)) continue;
        this.#asking.add(computeId);
        void this.#settleOn(computeId, ids).finally(() => this.#asking.delete(computeId));
      }
    } catch (error) {
      if (!this.#stopping) this.#deps.logger.warn({ err: error }, "open runs could not be read");
    }
  }

  /** Asks one machine. What cannot be settled now is asked for again. */
  async #settleOn(computeId: string, ids: readonly string[]): Promise<void> {
    const durable = this.durableOf(computeId);
    if (!durable || !this.#deps.computes.isOnline(computeId)) return;
    try {
      await this.settle(ids, computeId, durable);
    } catch (error) {
      if (this.#stopping || isLost(error) || isOffline(error)) return;
      this.#deps.logger.warn({ err: error, compute_id: computeId }, "open runs could not be settled");
    }
  }

  async #listen(body: ReadableStream<Uint8Array>, computeId: string): Promise<void> {
    let text = "";
    try {
      for await (const chunk of body as unknown as AsyncIterable<Uint8Array>) {
        text += Buffer.from(chunk).toString("utf8");
        const lines = text.split("\n");
        text = lines.pop()!;
        const ids = lines.filter(Boolean).map((line) => (JSON.parse(line) as { run_id: string }).run_id);
        // What this one fails for is asked for again by the sweep; the next end is heard all the same.
        await this.#settleOn(computeId, ids);
      }
    } catch (error) {
      if (!isLost(error) && !isOffline(error) && (error as Error).name !== "AbortError")
        this.#deps.logger.warn(
          { err: error, compute_id: computeId },
          "the ends of runs are not heard any more",
        );
    }
  }

  /** Asks the machine for these runs, and puts on the record what is known now. */
  async settle(runIds: readonly string[], computeId: string, durable: DurableRuns): Promise<void> {
    for (let at = 0; at < runIds.length; at += LOOKUPS) {
      await this.#settleSome(runIds.slice(at, at + LOOKUPS), computeId, durable);
    }
  }

  async #settleSome(runIds: readonly string[], computeId: string, durable: DurableRuns): Promise<void> {
    const { records } = this.#deps;
    await records.recorded();
    const rows = (await records.byIds(runIds)).filter(({ ended_at }) => ended_at === null);
    if (rows.length === 0) return;
    const kept = await durable.lookup(
      rows.map(({ id }) => id),
      this.shortEnv(computeId, LOOKUPS_TIMEOUT_MS),
    );
    const byId = new Map(kept.map((run) => [run.run_id, run]));
    for (const row of rows) {
      const run = byId.get(row.id);
      // Whoever waits for it here finds it again, and tells its end.
      const waited = this.#live.isAwaited(row.id);
      if (run && run.ended_at === null) {
        await records.found(row.id);
        this.#live.began(row.session_id, row.id);
        if (row.cancel_wanted !== null) {
          void durable
            .cancel({ computeId, runId: row.id }, this.shortEnv(computeId, CANCEL_TIMEOUT_MS))
            .then((ended) => this.record(ended, row))
            .catch(() => {});
        }
      } else if (run) {
        await this.record(run, row);
      } else if (!waited) await this.#missing(row);
    }
  }

  /** Puts the end of a run on the record as its machine kept it. */
  async recordKept(run: LiveRun, durable: DurableRuns): Promise<void> {
    await run.begun;
    const [kept] = await durable.lookup([run.id], this.shortEnv(run.session.compute_id!));
    if (kept) await this.record(kept);
  }

  /** Puts an end that a machine told of on the record. */
  async record(kept: KeptRun, known?: StoredRun): Promise<void> {
    const row = known ?? (await this.#deps.records.byIds([kept.run_id]))[0];
    if (!row || kept.ended_at === null) return;
    const outcome = keptOutcome(kept);
    // The machine knows that it was cancelled, or that its sandbox was deleted first; why is known here.
    if (row.cancel_wanted && ["cancelled", "session_closed"].includes(outcome.endReason ?? ""))
      outcome.endReason = row.cancel_wanted;
    await this.#deps.records.end(recordedRun(row), { ...outcome, openMs: null });
    this.#live.ended(row.session_id, row.id);
  }

  /** The machine has no record of it. If it ever had, its record is gone, and the outcome with it. */
  async #missing(row: StoredRun): Promise<void> {
    if (await this.#deliver(row)) return;
    // It is asked for again until it has arrived, or cannot any more.
    if (this.#mayArrive(row)) return this.#deps.records.loseOne(row.id);
    const outcome = unknownOutcome(
      row.confirmed_at === null
        ? "the request never reached the machine"
        : "the machine has no record of it any more",
      0,
    );
    const end =
      row.confirmed_at === null
        ? { ...outcome, status: "cancelled" as const, endReason: "never_started" }
        : { ...outcome, endReason: "keeper_lost" };
    await this.#deps.records.end(recordedRun(row), { ...end, openMs: null });
    this.#live.ended(row.session_id, row.id);
  }

  /** Sends an accepted run again that never arrived. Its id starts one run, so it cannot begin twice. */
  async #deliver(row: StoredRun): Promise<boolean> {
    const pending = this.#undelivered.get(row.id);
    this.#undelivered.delete(row.id);
    if (!pending || performance.now() > pending.until || row.cancel_wanted !== null) return false;
    const { adapter, record, request } = pending;
    this.sending(row.id, record.computeId);
    try {
      await adapter.durable?.start(record, request, this.shortEnv(record.computeId));
    } catch (error) {
      if (!isLost(error) && !isOffline(error)) return false;
      // Broken again: whether it arrived shows the next time.
      this.#undelivered.set(row.id, pending);
      return true;
    }
    await this.#deps.records.found(row.id);
    this.#live.began(row.session_id, row.id);
    return true;
  }

  /** Ends a run that is no longer wanted, and puts its true end on the record. */
  async cancelWanted(ref: RunRef, durable: DurableRuns): Promise<void> {
    const env = this.shortEnv(ref.computeId, CANCEL_TIMEOUT_MS);
    // Its request may never have arrived: then there is nothing to cancel, and lookup says so.
    const [found] = await durable.lookup([ref.runId], env);
    if (found && found.ended_at === null) await this.record(await durable.cancel(ref, env));
    else await this.settle([ref.runId], ref.computeId, durable);
  }
}

function isPast({ since }: { since: number }): boolean {
  return performance.now() - since > ARRIVAL_MS;
}
