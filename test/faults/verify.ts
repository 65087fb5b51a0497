import { setTimeout as sleep } from "node:timers/promises";
import { Broken, Refused, type RunRecord, runEvents } from "./api.js";
import type { Heard } from "./caller.js";
import { HeardOutput, type StreamName } from "./heard-output.js";
import {
  isRight,
  isRunning,
  isSettled,
  missingBytes,
  type Oracle,
  type Truth,
  untrueEnd,
  wrongAnswer,
  wrongEvents,
} from "./oracle.js";
import type { Plan } from "./plan.js";
import type { Random } from "./random.js";
import type { Tally, Wrong } from "./tally.js";
import type { World } from "./world.js";

export interface Verification {
  name: string;
  world: World;
  oracle: Oracle;
  session: string;
  heard: readonly Heard[];
  records: readonly RunRecord[];
  tally: Tally;
  random: Random;
  signal: AbortSignal;
}

/** Holds everything that was told about a round's runs against what happened. */
export async function verify(round: Verification): Promise<void> {
  const truth = await round.oracle.truth();
  const unclaimed = new Map(round.records.map((record) => [record.run_id, record]));
  for (const heard of round.heard) {
    const began = truth.begun.get(heard.plan.number) ?? [];
    const ids = new Set([...heard.runIds, ...began.map(({ runId }) => runId)]);
    const records = [...ids].flatMap((id) => unclaimed.get(id) ?? []);
    for (const id of ids) unclaimed.delete(id);
    const run = new RunVerification(round, truth, heard);
    run.counts();
    run.wasExecutedOnce();
    run.wasToldTheTruth();
    run.hasRecordOf(ids, records);
    for (const record of records) await run.recordIsTrue(record);
  }
  for (const record of unclaimed.values()) neverBegan(round, record);
}

/** A record that no caller heard of and no script wrote down: nothing of it ran. */
function neverBegan({ name, tally }: Verification, { run_id, status, end_reason }: RunRecord): void {
  const said = `${name}: ${run_id}, of which no script began, is ${status} (${end_reason})`;
  if (!isSettled(status)) tally.wrong("lost runs never settled", said);
  else if (status !== "cancelled") tally.wrong("fake successes", said);
}

class RunVerification {
  readonly #round: Verification;
  readonly #truth: Truth;
  readonly #heard: Heard;
  readonly #plan: Plan;

  constructor(round: Verification, truth: Truth, heard: Heard) {
    this.#round = round;
    this.#truth = truth;
    this.#heard = heard;
    this.#plan = heard.plan;
  }

  counts(): void {
    const { figures } = this.#round.tally;
    figures.runs++;
    if (this.#truth.begun.has(this.#plan.number)) figures.began++;
    if (this.#truth.reachedEnd.has(this.#plan.number)) figures.ended++;
  }

  wasExecutedOnce(): void {
    const { runIds, nothingDone, accepted, failure } = this.#heard;
    const began = this.#truth.begun.get(this.#plan.number) ?? [];
    if (began.length > 1)
      this.#wrong("double executions", `began ${began.length} times: ${began.map(({ runId }) => runId)}`);
    if (runIds.size > 1) this.#wrong("other failures", `was told of more than one run: ${[...runIds]}`);
    if (nothingDone && !accepted && began.length > 0)
      this.#wrong("false words that nothing was done", `began, but was refused as retryable: ${failure}`);
    if (failure instanceof Refused && !failure.retryable && failure.status < 500 && !accepted)
      this.#wrong("other failures", `was refused: ${failure.message}`);
  }

  wasToldTheTruth(): void {
    const { answer, exit, output, acts } = this.#heard;
    const plan = this.#plan;
    const truth = this.#truth;
    if (answer) {
      const end = { ...answer.result, status: answer.status };
      this.#wrongIf("fake successes", "its answer says", untrueEnd(plan, truth, end, acts));
      this.#wrongIf("output hash mismatches", "its answer:", wrongAnswer(plan, truth, answer));
    }
    if (exit) this.#wrongIf("fake successes", "its exit event says", untrueEnd(plan, truth, exit, acts));
    if (output) {
      const wrong = wrongEvents(plan, truth, output, exit !== undefined);
      this.#wrongIf("output hash mismatches", "its events:", wrong);
      this.#round.tally.figures.gaps += output.gaps.stdout + output.gaps.stderr;
    }
  }

  hasRecordOf(ids: ReadonlySet<string>, records: readonly RunRecord[]): void {
    const known = new Set(records.map(({ run_id }) => run_id));
    for (const id of ids) if (!known.has(id)) this.#wrong("runs without a record", `${id} is in no list`);
    const { accepted } = this.#heard;
    if (!accepted || this.#plan.how !== "background" || this.#plan.ending.by === "cancel") return;
    const ended = records.some(({ status }) => /^(?:succeeded|failed|timed_out)$/.test(status));
    if (ended) return;
    this.#round.tally.figures.lostRuns++;
    const said = records.map(({ run_id, status, end_reason }) => `${run_id} ${status} (${end_reason})`);
    this.#round.tally.note(`${this.#name}: accepted, but no end of its own: ${said}`);
  }

  async recordIsTrue(record: RunRecord): Promise<void> {
    if (!isSettled(record.status)) return this.#unsettled(record);
    const untrue = untrueEnd(this.#plan, this.#truth, record, this.#heard.acts);
    this.#wrongIf("fake successes", `${record.run_id} says`, untrue);
    if (!this.#truth.byRunId.has(record.run_id)) return;
    await this.#outputIsRight(record);
  }

  async #unsettled({ run_id, status }: RunRecord): Promise<void> {
    const began = this.#truth.byRunId.get(run_id);
    const goesOn = began !== undefined && (await isRunning(began));
    if (!goesOn || status === "lost")
      this.#wrong(
        "lost runs never settled",
        `${run_id} is ${status}, its process ${goesOn ? "runs" : "is gone"}`,
      );
    else if (this.#plan.ending.by === "cancel")
      this.#round.tally.note(`${this.#name}: goes on because its cancel got no answer`);
    else this.#wrong("other failures", `${run_id} is ${status} and its process still runs`);
  }

  /** Reads the kept output of both streams. What is not right has to be what a gap speaks of. */
  async #outputIsRight(record: RunRecord): Promise<void> {
    const { tally } = this.#round;
    const plan = this.#plan;
    const read: Partial<Record<StreamName, Buffer>> = {};
    const doubtful: StreamName[] = [];
    for (const name of ["stdout", "stderr"] as const) {
      const bytes = await this.#read(record.run_id, name);
      if (bytes) read[name] = bytes;
      if (!bytes || !isRight(plan, this.#truth, bytes, plan[name])) doubtful.push(name);
      const counted = record[`${name}_bytes`];
      if (
        this.#truth.reachedEnd.has(plan.number) &&
        typeof counted === "number" &&
        counted !== plan[name].length
      )
        this.#wrong(
          "output hash mismatches",
          `${record.run_id} counts ${counted} of ${plan[name].length} bytes`,
        );
    }
    tally.figures.lostBytes += missingBytes(plan, this.#truth, {
      stdout: read.stdout,
      stderr: read.stderr,
    });
    if (doubtful.length > 0) await this.#gapsExplain(record.run_id, doubtful, read);
  }

  async #gapsExplain(
    runId: string,
    doubtful: readonly StreamName[],
    read: Partial<Record<StreamName, Buffer>>,
  ): Promise<void> {
    const { tally } = this.#round;
    const replay = await this.#replay(runId);
    tally.figures.gaps += replay ? replay.gaps.stdout + replay.gaps.stderr : 0;
    for (const name of doubtful) {
      if (!replay && tally.rules.diskFills) continue;
      if (replay && !replay.wrong && replay.gaps[name] > 0) continue;
      const what = read[name] ? `${read[name].length} bytes` : "nothing";
      this.#wrong(
        "output hash mismatches",
        `${runId}: ${what} of ${name} can be read, ${this.#plan[name].length} were printed (${replay?.wrong ?? "no gap"})`,
      );
    }
  }

  async #replay(runId: string): Promise<HeardOutput | undefined> {
    return this.#quietly(async () => {
      const { world, session, signal } = this.#round;
      const output = new HeardOutput(this.#plan);
      const path = `/v2/sessions/${session}/runs/${runId}/stream`;
      for await (const { id, event } of runEvents(await world.api.send("GET", path, { signal })))
        output.take(event, id);
      return output;
    });
  }

  async #read(runId: string, stream: StreamName): Promise<Buffer | undefined> {
    const { world, session, random, signal } = this.#round;
    const { length } = this.#plan[stream];
    // Now and then in two pieces, which is what ranges are for. Only a complete output has a known length to cut at.
    const whole = this.#truth.reachedEnd.has(this.#plan.number);
    const splitAt = whole && length > 1 && random.chance(0.3) ? random.int(1, length - 1) : undefined;
    return this.#quietly(() => world.api.output(session, runId, stream, signal, splitAt));
  }

  /** Asks a few times. An output that is refused is no output, and the refusal is worth a look. */
  async #quietly<T>(ask: () => Promise<T>): Promise<T | undefined> {
    for (let tries = 1; tries <= 3; tries++) {
      try {
        return await ask();
      } catch (error) {
        if (!(error instanceof Broken || error instanceof Refused)) throw error;
        this.#round.tally.note(`${this.#name}: ${error.message}`);
        if (error instanceof Refused && error.status < 500) return undefined;
      }
      await sleep(300, undefined, { signal: this.#round.signal });
    }
    return undefined;
  }

  get #name(): string {
    const { how, key, number, ending } = this.#plan;
    return `${this.#round.name} run ${number} (${how}${key ? ", key" : ""}, ends by ${ending.by})`;
  }

  #wrongIf(kind: Wrong, where: string, what: string | undefined): void {
    if (what) this.#wrong(kind, `${where} ${what}`);
  }

  #wrong(kind: Wrong, what: string): void {
    this.#round.tally.wrong(kind, `${this.#name}: ${what}`);
  }
}
