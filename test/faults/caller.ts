import { setTimeout as sleep } from "node:timers/promises";
import { type Api, Broken, Refused, RunAnswer, RunRecord, runEvents } from "./api.js";
import { HeardOutput } from "./heard-output.js";
import type { CallerActs, SaidEnd } from "./oracle.js";
import type { Plan } from "./plan.js";
import type { Random } from "./random.js";

/** What a caller was told of its run. */
export interface Heard {
  plan: Plan;
  /** More than one is one too many. */
  runIds: Set<string>;
  /** The gateway took the run and said so. */
  accepted: boolean;
  answer: RunAnswer | undefined;
  output: HeardOutput | undefined;
  /** The end that an `exit` event told. */
  exit: (SaidEnd & { stdout_bytes: number; stderr_bytes: number }) | undefined;
  acts: CallerActs;
  /** The last word was that nothing was done. */
  nothingDone: boolean;
  /** The last failure. */
  failure: Error | undefined;
}

const FIRST_WAIT_MS = 200;
const LONGEST_WAIT_MS = 1_000;

/**
 * Asks for a run as a careful program does, and follows it until it has heard the end or the signal says that it is
 * enough.
 *
 * After a broken connection it asks again only under an idempotency key. What the gateway calls retryable it asks again
 * in any case, because nothing was done.
 */
export class Caller {
  readonly #api: Api;
  readonly #session: string;
  readonly #random: Random;
  readonly #signal: AbortSignal;
  readonly heard: Heard;

  constructor(plan: Plan, options: { api: Api; session: string; random: Random; signal: AbortSignal }) {
    this.#api = options.api;
    this.#session = options.session;
    this.#random = options.random;
    this.#signal = options.signal;
    this.heard = {
      plan,
      runIds: new Set(),
      accepted: false,
      answer: undefined,
      output: undefined,
      exit: undefined,
      acts: { cancelled: false, left: false },
      nothingDone: false,
      failure: undefined,
    };
  }

  async call(): Promise<Heard> {
    const { how } = this.heard.plan;
    if (how === "run") await this.#run();
    else if (how === "stream") await this.#stream();
    else await this.#background();
    return this.heard;
  }

  async #run(): Promise<void> {
    const answer = await this.#ask(async () => RunAnswer.parse(await this.#post("/run")));
    if (!answer) return;
    this.heard.answer = answer;
    this.#accepted(answer.run_id);
  }

  async #stream(): Promise<void> {
    const response = await this.#ask(async () => this.#send("/run/stream", { accept: "text/event-stream" }));
    if (!response) return;
    this.#accepted(response.headers.get("x-cerver-run-id") ?? undefined);
    await this.#follow(response, 0);
  }

  async #background(): Promise<void> {
    const { plan } = this.heard;
    const path = plan.number % 2 ? "/runs" : "/run";
    const record = await this.#ask(async () => RunRecord.parse(await this.#post(path)));
    if (!record) return;
    this.#accepted(record.run_id);
    if (plan.ending.by === "cancel") return this.#cancel(record.run_id);
    if (this.#random.chance(0.5)) await this.#follow(undefined, 0.05);
  }

  /** Reads events to the end, over as many connections as it takes; leaves of its own accord with a probability. */
  async #follow(first: Response | undefined, leaves: number): Promise<void> {
    const { plan } = this.heard;
    this.heard.output = new HeardOutput(plan);
    let response = first;
    while (!this.#signal.aborted) {
      response ??= await this.#persist(() => this.#resume(), mayPass);
      if (!response) return;
      if (await this.#read(response, leaves)) return;
      response = undefined;
      await this.#wait(FIRST_WAIT_MS);
    }
  }

  async #resume(): Promise<Response> {
    const output = this.heard.output!;
    const [runId] = this.heard.runIds;
    if (!runId) throw new Refused(0, "no_run_id", false, "the stream broke before it said which run it is");
    const path = this.#path(`/runs/${runId}/stream`);
    const { stdout, stderr } = output.at;
    if (stdout + stderr > 0 && this.#random.chance(0.5))
      return this.#api.send("GET", `${path}?stdout_offset=${stdout}&stderr_offset=${stderr}`, {
        signal: this.#signal,
      });
    return this.#api.send("GET", path, {
      ...(stdout + stderr > 0 && { headers: { "last-event-id": output.eventId } }),
      signal: this.#signal,
    });
  }

  /** Reads one connection. Returns whether it told the end. */
  async #read(response: Response, leaves: number): Promise<boolean> {
    const { heard } = this;
    try {
      for await (const { id, event } of runEvents(response)) {
        if (event.type === "start") heard.runIds.add(event.run_id);
        heard.output!.take(event, id);
        if (event.type === "exit") {
          heard.runIds.add(event.run_id);
          heard.exit = event;
          return true;
        }
        // The outcome is not known yet: it is asked for again, as after a broken connection.
        if (event.type === "error") return false;
        if (this.#random.chance(leaves)) return false;
      }
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
      heard.failure = error;
    }
    if (heard.plan.how === "stream") heard.acts.left = true;
    return false;
  }

  async #cancel(runId: string): Promise<void> {
    await this.#wait(this.#random.int(300, 2_000));
    this.heard.acts.cancelled = true;
    const path = this.#path(`/runs/${runId}/cancel`);
    await this.#persist(
      async () => RunRecord.parse(await this.#api.json("POST", path, { body: {}, signal: this.#signal })),
      mayPass,
    );
  }

  /** Asks for the run until there is an answer, as often as this caller may. */
  async #ask<T>(attempt: () => Promise<T>): Promise<T | undefined> {
    const { heard } = this;
    return this.#persist(
      async () => {
        heard.nothingDone = false;
        return attempt();
      },
      (error) => {
        if (error instanceof Refused && error.retryable) {
          heard.nothingDone = true;
          return true;
        }
        heard.acts.left = true;
        return heard.plan.key !== undefined && mayPass(error);
      },
    );
  }

  async #persist<T>(
    attempt: () => Promise<T>,
    mayRepeat: (error: Broken | Refused) => boolean,
  ): Promise<T | undefined> {
    for (let waitMs = FIRST_WAIT_MS; !this.#signal.aborted; waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS)) {
      try {
        return await attempt();
      } catch (error) {
        if (!(error instanceof Broken || error instanceof Refused)) throw error;
        this.heard.failure = error;
        if (!mayRepeat(error)) return undefined;
      }
      await this.#wait(waitMs);
    }
    return undefined;
  }

  #post(path: string): Promise<unknown> {
    return this.#api.json("POST", this.#path(path), this.#request());
  }

  #send(path: string, headers: Record<string, string>): Promise<Response> {
    return this.#api.send("POST", this.#path(path), { ...this.#request(), headers });
  }

  #request() {
    const { code, timeout, key, how } = this.heard.plan;
    const body = { code, timeout, ...(how === "background" && { background: true }) };
    return { body, key, signal: this.#signal };
  }

  #path(rest: string): string {
    return `/v2/sessions/${this.#session}${rest}`;
  }

  #accepted(runId: string | undefined): void {
    this.heard.accepted = true;
    if (runId) this.heard.runIds.add(runId);
  }

  async #wait(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#signal }).catch(() => {});
  }
}

/** Whether a failure is one of the moment, so that a request that may be sent twice is sent again. */
function mayPass(error: Broken | Refused): boolean {
  return error instanceof Broken || error.retryable || error.status >= 500;
}
