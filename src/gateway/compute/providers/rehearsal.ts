import { setTimeout as wait } from "node:timers/promises";
import type { CassetteCall, CassetteOperation } from "../../../protocol/cassette.js";
import { CerverError } from "../../../protocol/errors.js";
import type { ProviderName, RehearsalName } from "../../../protocol/providers.js";
import { timeoutOf } from "../../../protocol/runs.js";
import type { SandboxRunRequest } from "../../../protocol/sandbox.js";
import { seededRandom } from "../../../util/random.js";
import { type Cassette, type Ids, keyOf, type Question, unmarked } from "../cassette.js";
import type { ProviderAdapter, ProviderEnv, SandboxRecord } from "../contract.js";
import { recordedRun } from "../recorded-run.js";
import { keyText } from "../recorder.js";
import { isFault, Tape } from "../tape.js";
import { type RunAtVendor, vendorAnswer, vendorStream } from "../vendor-run.js";
import { RehearsalSandboxes, type RehearsedSandbox } from "./rehearsal-sandboxes.js";

/** Tells the time and lets it pass: a test may have one that does not take as long. */
export interface RehearsalClock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Rejects with the signal's reason when that aborts first. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

export interface RehearsalOptions {
  /**
   * The provider that it stands in for: the one that was recorded, unless said. The names of providers are the seed's closed
   * list, so a rehearsal has one of them and is registered under {@link name} instead.
   */
  as?: ProviderName;
  /** Under what a gateway knows it. */
  name?: RehearsalName;
  /**
   * `exact` plays each question's calls in their order, once. `sampled` draws one of those that were recorded about the
   * tape's time, with its latency and its outcome, and begins again at the tape's end.
   */
  mode?: "exact" | "sampled";
  /** What is drawn, and which ids there are. The same seed and the same questions give the same. */
  seed?: number;
  /** Tape milliseconds that pass in one of the clock's. Latencies are not changed by it. */
  speed?: number;
  /** Where on the tape it begins, in milliseconds. */
  from?: number;
  /** Times every latency by this. */
  latency?: number;
  /** How much of the tape counts as one time, in milliseconds. */
  windowMs?: number;
  /** What to do with a command that the cassette does not know: refuse it, or answer with its own text. */
  otherwise?: "refuse" | "echo";
  clock?: RehearsalClock;
  /** An id of this length for a sandbox. From the seed, unless said. */
  newSandboxId?: (length: number) => string;
}

/** Longer than anybody waits. */
const FOREVER_MS = 3_600_000;
/** How many of the known commands a refusal names. */
const NAMED = 8;

/**
 * A provider that was recorded, played again: the same contract, the same times, the same faults, and nothing runs.
 *
 * Sandboxes exist in memory. Runs that outlive their request are not supported.
 */
export function rehearsalProvider(cassette: Cassette, options: RehearsalOptions = {}): ProviderAdapter {
  const { as = cassette.header.provider, name = "rehearsal" } = options;
  const player = new Player(cassette, { ...options, as });
  return {
    providerName: as,
    registeredAs: name,
    createSandbox: (request, env) => player.create(request, env),
    runSandbox: (record, request, env) =>
      player.run({ operation: "runSandbox", request }, record, env, vendorAnswer),
    runSandboxStream: (record, request, env) =>
      player.run({ operation: "runSandboxStream", request }, record, env, vendorStream),
    installPackage: (record, request, env) =>
      player.run({ operation: "installPackage", request }, record, env, (_, signal, run) =>
        vendorAnswer({ ...request, code: "", runtime: "shell" }, signal, run),
      ),
    writeFile: (record, request, env) =>
      player.respond({ operation: "writeFile", request }, record, env, (sandbox) => sandbox.write(request)),
    readFile: (record, path, encoding, env) =>
      player.respond({ operation: "readFile", path, encoding }, record, env, (sandbox) =>
        sandbox.read(path, encoding),
      ),
    getState: (record, env) =>
      player.respond({ operation: "getState" }, record, env, (sandbox) => sandbox.getState()),
    setState: (record, state, env) =>
      player.respond({ operation: "setState", state }, record, env, (sandbox) => sandbox.setState(state)),
    deleteSandbox: (record, env) => player.delete(record, env),
    cloud: {
      credentialNames: { required: [], optional: [] },
      // There is nobody to refuse anything.
      verify: async () => {},
      find: async (sessionId) =>
        player.sandboxes.ofSession(sessionId).map((id) => player.record(id, undefined)),
      ...(player.tape.has("cloud.suspend") &&
        player.tape.has("cloud.wake") && {
          suspend: (record, env) => player.done({ operation: "cloud.suspend" }, record, env).then(() => {}),
          wake: async (record, env) => {
            await player.done({ operation: "cloud.wake" }, record, env);
            return record;
          },
        }),
    },
  };
}

type Answer = (request: SandboxRunRequest, signal: AbortSignal, run: RunAtVendor) => Promise<Response>;
type RunQuestion = Extract<Question, { operation: "runSandbox" | "runSandboxStream" | "installPackage" }>;

class Player {
  readonly tape: Tape;
  readonly sandboxes: RehearsalSandboxes;
  readonly #cassette: Cassette;
  readonly #as: ProviderName;
  readonly #mode: "exact" | "sampled";
  readonly #otherwise: "refuse" | "echo";
  readonly #speed: number;
  readonly #latency: number;
  readonly #random: () => number;
  readonly #clock: RehearsalClock;
  readonly #newId: (length: number) => string;
  readonly #newRunId: () => string;
  readonly #began: number;
  readonly #from: number;

  constructor(cassette: Cassette, options: RehearsalOptions & { as: ProviderName }) {
    const { mode = "sampled", otherwise = "refuse", seed = 1, clock = rehearsalClock() } = options;
    this.tape = new Tape(cassette, options.windowMs);
    this.sandboxes = new RehearsalSandboxes(clock);
    this.#cassette = cassette;
    this.#as = options.as;
    this.#mode = mode;
    this.#otherwise = otherwise;
    this.#speed = options.speed ?? 1;
    this.#latency = options.latency ?? 1;
    this.#random = seededRandom(seed);
    const ids = seededRandom(seed ^ 0x5bd1e995);
    const digit = () => Math.floor(ids() * 16).toString(16);
    this.#newId = options.newSandboxId ?? ((length) => idOf("reh_", length, digit));
    this.#newRunId = () => idOf("run_", 36, digit);
    this.#clock = clock;
    this.#began = clock.now();
    this.#from = options.from ?? 0;
  }

  record(sandboxId: string, env: ProviderEnv | undefined): SandboxRecord {
    const computeId = env?.computeId ?? this.sandboxes.get(sandboxId)?.computeId ?? "";
    return { sandboxId, computeId, provider: this.#as };
  }

  async create(
    request: { metadata: Record<string, unknown>; timeout_ms?: number | undefined },
    env: ProviderEnv,
  ): Promise<SandboxRecord> {
    const call = this.#take({ operation: "createSandbox" }, {}, env);
    const { outcome } = call;
    const ids: Ids = { computeId: env.computeId };
    const make = (): string => {
      const id = this.#newId(outcome.kind === "done" ? (outcome.id_length ?? 36) : 36);
      const session = request.metadata.cerver_session_id;
      this.sandboxes.add(id, {
        computeId: env.computeId,
        sessionId: typeof session === "string" ? session : undefined,
        timeoutMs: request.timeout_ms,
      });
      return id;
    };
    // A create whose answer is lost makes its sandbox all the same, and nobody hears of it.
    if (this.#cassette.lost.has(call.n)) make();
    await this.#pass(call, env.signal);
    if (outcome.kind === "error") throw this.#error(outcome, ids);
    return this.record(make(), env);
  }

  /** A run or an installation. */
  async run(
    question: RunQuestion,
    record: SandboxRecord,
    env: ProviderEnv,
    answer: Answer,
  ): Promise<Response> {
    const sandbox = this.#sandbox(record, env);
    const { request } = question;
    refuseBackground(question);
    const signal = AbortSignal.any([env.signal, sandbox.ended]);
    const ids: Ids = { ...record, runId: request.run_id ?? this.#newRunId() };
    const run = "code" in request ? request : { ...request, code: "", runtime: "shell" as const };
    const asked = { ...run, run_id: ids.runId! };
    const call = this.#take(question, ids, env, ({ outcome }) => outcome.kind !== "omitted");
    const { outcome } = call;
    const limitMs = timeoutOf(run) * 1000;
    const tookMs = call.took_ms * this.#latency;
    if (outcome.kind === "error") {
      await this.#pass(call, signal);
      return this.#failed(outcome, ids);
    }
    if (outcome.kind !== "unanswered" && tookMs > limitMs && !endsByItself(call)) {
      // It is asked for less time than it took when it was recorded.
      return answer(asked, signal, async (_, ended, begun) => {
        begun();
        await this.#clock.sleep(FOREVER_MS, ended);
        throw tooLate();
      });
    }
    const isAsRecorded = call.operation === question.operation;
    if (outcome.kind === "stream" && isAsRecorded) {
      await this.#clock.sleep(outcome.head_ms * this.#latency, signal);
      return this.#stream(call, ids, signal);
    }
    if (outcome.kind === "answer" && isAsRecorded) {
      await this.#pass(call, signal);
      return this.#answer(outcome, ids);
    }
    if (outcome.kind === "unanswered") {
      await this.#pass(call, signal);
      throw tooLate();
    }
    // Recorded as a stream and asked for as an answer, or the other way round; else nothing but its own text.
    const { output: printed, end } = recordedRun(outcome) ?? {
      output: [["stdout", Buffer.from(`${run.code}\n`)]],
      end: { exitCode: 0 },
    };
    return answer(asked, signal, async (output, ended, begun) => {
      begun();
      await this.#clock.sleep(tookMs, ended);
      for (const [stream, bytes] of printed) await output(stream, bytes);
      return end;
    });
  }

  /** A call of a sandbox's files or state; `echo` answers where the cassette does not know it. */
  async respond(
    question: Question,
    record: SandboxRecord,
    env: ProviderEnv,
    echo: (sandbox: RehearsedSandbox) => Response,
  ): Promise<Response> {
    const sandbox = this.#sandbox(record, env);
    const ids: Ids = record;
    const call = this.#take(question, ids, env, ({ outcome }) => outcome.kind !== "omitted");
    const { outcome } = call;
    await this.#pass(call, env.signal);
    const own = this.#otherwise === "echo" && !isFault(call) ? echo(sandbox) : undefined;
    // What was put into this very sandbox is there; everything else is as it was recorded.
    if (own && (own.ok || outcome.kind === "omitted")) return own;
    if (outcome.kind === "error") return this.#failed(outcome, ids);
    if (outcome.kind === "answer") return this.#answer(outcome, ids);
    return echo(sandbox);
  }

  /** Deleting again is no failure, and takes no call of the cassette. */
  async delete(record: SandboxRecord, env: ProviderEnv): Promise<Response> {
    env.signal.throwIfAborted();
    const ids: Ids = record;
    const isThere = this.sandboxes.get(record.sandboxId) !== undefined;
    if (isThere || this.#mode === "exact") {
      const call = this.tape.has("deleteSandbox")
        ? this.#take({ operation: "deleteSandbox" }, ids, env)
        : undefined;
      if (call) await this.#pass(call, env.signal);
      if (call?.outcome.kind === "error") return this.#failed(call.outcome, ids);
      this.sandboxes.delete(record.sandboxId);
      if (call?.outcome.kind === "answer") return this.#answer(call.outcome, ids);
    }
    return Response.json({ sandbox_id: record.sandboxId, status: "deleted" });
  }

  async done(question: Question, record: SandboxRecord, env: ProviderEnv): Promise<void> {
    this.#sandbox(record, env);
    const call = this.#take(question, record, env);
    await this.#pass(call, env.signal);
    if (call.outcome.kind === "error") throw this.#error(call.outcome, record);
  }

  /**
   * The call to play. A question of which the cassette has nothing, or nothing that `fits`, is refused, or gets the time
   * and the faults of any call of its operation.
   */
  #take(
    question: Question,
    ids: Ids,
    env: ProviderEnv,
    fits: (call: CassetteCall) => boolean = () => true,
  ): CassetteCall {
    env.signal.throwIfAborted();
    const { key, asked } = keyOf(question, keyText(question, ids));
    const { operation } = question;
    const other = OTHER_WAY[operation];
    const isKnown = this.tape.knows(operation, key);
    if (this.#mode === "exact" && isKnown) {
      const next = this.tape.next(operation, key);
      if (next && (fits(next) || isFault(next))) return next;
      if (next && this.#otherwise === "echo") return wordless(next);
      if (next) throw this.#unknown(operation, `The answer to ${named(operation, asked)} was not kept.`);
      throw this.#unknown(operation, `The tape of ${this.#as} is at its end for ${named(operation, asked)}.`);
    }
    const at = this.#from + (this.#clock.now() - this.#began) * this.#speed;
    const call =
      this.tape.draw(operation, key, at, this.#random) ??
      (other && usable(this.tape.draw(other, key, at, this.#random)));
    if (call && (fits(call) || isFault(call))) return call;
    if (this.#otherwise === "echo") {
      const any =
        this.tape.drawAny(operation, at, this.#random) ??
        (other && this.tape.drawAny(other, at, this.#random));
      return any ? wordless(any) : instant(operation, key);
    }
    throw this.#unknown(
      operation,
      call
        ? `The rehearsal of ${this.#as} knows ${named(operation, asked)}, but its answer was not kept.`
        : `The rehearsal of ${this.#as} has no recording of ${named(operation, asked)}.`,
    );
  }

  /** Lets pass what the call took. One that was never answered is not answered now either. */
  async #pass({ outcome, took_ms }: CassetteCall, signal: AbortSignal): Promise<void> {
    if (outcome.kind !== "unanswered") return this.#clock.sleep(took_ms * this.#latency, signal);
    await this.#clock.sleep(FOREVER_MS, signal);
    throw tooLate();
  }

  #answer({ status, type, body }: Extract<CassetteCall["outcome"], { kind: "answer" }>, ids: Ids): Response {
    const text = unmarked(body, ids);
    const isEmpty = text === "" && [204, 205].includes(status);
    return new Response(isEmpty ? null : text, { status, headers: { "content-type": type } });
  }

  #stream({ outcome, took_ms }: CassetteCall, ids: Ids, signal: AbortSignal): Response {
    if (outcome.kind !== "stream") throw new Error("not a stream");
    const { chunks, status, type, end } = outcome;
    const began = this.#clock.now() - outcome.head_ms * this.#latency;
    const left = new AbortController();
    const over = AbortSignal.any([signal, left.signal]);
    const until = (ms: number) =>
      this.#clock.sleep(Math.max(0, began + ms * this.#latency - this.#clock.now()), over);
    let next = 0;
    const body = new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          const chunk = chunks[next++];
          try {
            if (chunk) {
              await until(chunk.after_ms);
              return controller.enqueue(bytesOf(chunk, ids));
            }
            if (end === "left") await this.#clock.sleep(FOREVER_MS, over);
            await until(took_ms);
            if (end === "closed") return controller.close();
            controller.error(tooLate());
          } catch (error) {
            controller.error(error);
          }
        },
        cancel: (reason) => left.abort(reason),
      },
      { highWaterMark: 0 },
    );
    return new Response(body, { status, headers: { "content-type": type } });
  }

  #failed(outcome: Extract<CassetteCall["outcome"], { kind: "error" }>, ids: Ids): Response {
    const error = this.#error(outcome, ids);
    if (outcome.thrown) throw error;
    return Response.json(error.toBody(), { status: error.status });
  }

  #error(
    { code, message, hint, details }: Extract<CassetteCall["outcome"], { kind: "error" }>,
    ids: Ids,
  ): CerverError {
    return new CerverError(code, unmarked(message, ids), {
      ...(hint && { hint: unmarked(hint, ids) }),
      details: { ...(details && JSON.parse(unmarked(JSON.stringify(details), ids))), rehearsal: true },
    });
  }

  #sandbox({ sandboxId }: SandboxRecord, env: ProviderEnv): RehearsedSandbox {
    env.signal.throwIfAborted();
    const sandbox = this.sandboxes.get(sandboxId);
    if (sandbox) return sandbox;
    throw new CerverError("sandbox_not_found", `The rehearsal of ${this.#as} has no sandbox ${sandboxId}.`, {
      hint: "It has ended, or the gateway was started anew since it was made: make another.",
    });
  }

  #unknown(operation: CassetteOperation, sentence: string): CerverError {
    const other = OTHER_WAY[operation];
    const known = [...new Set([operation, ...(other ? [other] : [])].flatMap((one) => this.tape.asked(one)))];
    const some = known.slice(0, NAMED).map((asked) => `“${asked.replaceAll("\n", " ")}”`);
    const more = known.length > NAMED ? ` and ${known.length - NAMED} more` : "";
    return new CerverError("unsupported", sentence, {
      hint:
        (known.length > 0
          ? `The cassette knows ${some.join(", ")}${more}. `
          : "The cassette has no such calls. ") +
        "Record it, or let anything be answered with its own text: otherwise=echo.",
      details: { rehearsal: true },
    });
  }
}

/** A command may be asked for in two ways, and has one key. */
const OTHER_WAY: Partial<Record<CassetteOperation, CassetteOperation>> = {
  runSandbox: "runSandboxStream",
  runSandboxStream: "runSandbox",
};

/** A call that was recorded the other way, when it says how its command ended. */
function usable(call: CassetteCall | undefined): CassetteCall | undefined {
  return call && (isFault(call) || recordedRun(call.outcome)) ? call : undefined;
}

/** The time and the faults of a call, without what it said. */
function wordless(call: CassetteCall): CassetteCall {
  if (isFault(call)) return call;
  return { ...call, outcome: { kind: "omitted", why: "too_large" } };
}

/** For an operation of which nothing was recorded: it takes no time. */
function instant(operation: CassetteOperation, key: string): CassetteCall {
  return {
    kind: "call",
    n: -1,
    operation,
    key,
    at_ms: 0,
    took_ms: 0,
    outcome: { kind: "omitted", why: "too_large" },
  };
}

/** A run that was ended by its own time limit when it was recorded is played as it was. */
function endsByItself({ outcome }: CassetteCall): boolean {
  const text =
    outcome.kind === "answer"
      ? outcome.body
      : outcome.kind === "stream"
        ? (outcome.chunks.at(-1)?.text ?? "")
        : "";
  return text.includes('"timed_out"');
}

function bytesOf(
  { text, base64 }: { text?: string | undefined; base64?: string | undefined },
  ids: Ids,
): Uint8Array {
  return text === undefined ? Buffer.from(base64!, "base64") : Buffer.from(unmarked(text, ids));
}

function refuseBackground(question: RunQuestion): void {
  if (!("background" in question.request) || !question.request.background) return;
  throw new CerverError("unsupported", "A rehearsal has no runs in the background.", {
    hint: "Leave out background, or use a provider that keeps runs: your own machine does.",
  });
}

function tooLate(): CerverError {
  return new CerverError("compute_lost", "The provider stopped answering, as it did when it was recorded.", {
    hint: "Try again, or let another provider do it.",
    details: { rehearsal: true },
  });
}

function named(operation: CassetteOperation, asked: string | undefined): string {
  return asked === undefined ? operation : `“${asked.replaceAll("\n", " ").slice(0, 200)}” (${operation})`;
}

/** An id that says what it is, as long as those that were recorded: so that lengths in answers stay true. */
function idOf(prefix: string, length: number, digit: () => string): string {
  let id = prefix;
  while (id.length < Math.max(12, length)) id += digit();
  return id;
}

/** Ids that no other rehearsal has, for a gateway whose database outlives them. */
export function randomSandboxId(length: number): string {
  return idOf("reh_", length, () => Math.floor(Math.random() * 16).toString(16));
}

/** Tells the time that it is given, and waits by the clock on the wall. */
export function rehearsalClock(now: () => number = Date.now): RehearsalClock {
  return {
    now,
    sleep: async (ms, signal) => {
      signal.throwIfAborted();
      // A timer that is told 0 takes a millisecond all the same.
      if (ms <= 0) return;
      await wait(ms, undefined, { signal }).catch((error: unknown) => {
        throw signal.aborted ? signal.reason : error;
      });
    },
  };
}
