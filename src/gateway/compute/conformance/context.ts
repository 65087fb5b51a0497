import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { CerverError, ERRORS, type ErrorCode } from "../../../protocol/errors.js";
import { RunEvent, type RunRequestInput } from "../../../protocol/runs.js";
import {
  FileContent,
  type FileEncoding,
  SandboxRunAnswer,
  type SandboxRunRequest,
} from "../../../protocol/sandbox.js";
import { readEventStream } from "../../../util/event-stream.js";
import { parseJson } from "../../../util/parse-json.js";
import type { ProviderAdapter, ProviderEnv, SandboxRecord } from "../contract.js";
import { CheckFailed, CheckSkipped, type ConformanceTarget, must, same, shown } from "./check.js";

/** A run's request, or its code alone. Fields that nobody knows may be in it: some checks send them. */
export type Asked = string | (RunRequestInput & Record<string, unknown>);

export interface AskOptions {
  /** Where to run: the sandbox that checks share unless said. */
  in?: SandboxRecord;
  /** Aborted when the caller leaves: the check's own signal unless said. */
  signal?: AbortSignal;
}

/** An answer with its output as bytes. */
export type Ran = SandboxRunAnswer & { out: Buffer; err: Buffer };

/** A stream read to its end. */
export interface Streamed {
  events: RunEvent[];
  out: Buffer;
  err: Buffer;
  exit: Extract<RunEvent, { type: "exit" }>;
}

const ErrorWords = z.looseObject({ error: z.string().min(1), code: z.string(), hint: z.string().optional() });
const StateAnswer = z.looseObject({ state: z.record(z.string(), z.unknown()) });

/** Where the context gets sandboxes from, and who ends them. */
export interface SandboxSource {
  shared(env: ProviderEnv): Promise<SandboxRecord>;
  fresh(env: ProviderEnv, metadata: Record<string, unknown>): Promise<SandboxRecord>;
  /** It was deleted. */
  forget(record: SandboxRecord): void;
}

/** An adapter as a check uses it: the calls of the contract, with their answers read and found well-formed. */
export class CheckContext {
  readonly adapter: ProviderAdapter;
  /** Aborted when the check has taken too long, or nobody waits for it. */
  readonly signal: AbortSignal;
  readonly #target: ConformanceTarget;
  readonly #sandboxes: SandboxSource;

  constructor(target: ConformanceTarget, sandboxes: SandboxSource, signal: AbortSignal) {
    this.adapter = target.adapter;
    this.signal = signal;
    this.#target = target;
    this.#sandboxes = sandboxes;
  }

  /** What goes with every call. */
  env(signal: AbortSignal = this.signal): ProviderEnv {
    return { computeId: this.#target.computeId, credentials: this.#target.credentials, signal };
  }

  /** The sandbox that checks share. They leave no trace in each other's way, but for files named after the check. */
  sandbox(): Promise<SandboxRecord> {
    return this.#sandboxes.shared(this.env());
  }

  /** A sandbox of this check's own. It is deleted afterwards. */
  fresh(metadata: Record<string, unknown> = {}): Promise<SandboxRecord> {
    return this.#sandboxes.fresh(this.env(), metadata);
  }

  /** Runs to the end. */
  async run(asked: Asked, options: AskOptions = {}): Promise<Ran> {
    const answer = await this.runRaw(asked, options);
    return readAnswer(await okay(answer, "runSandbox"));
  }

  /** The adapter's own answer to a run. */
  async runRaw(asked: Asked, { in: record, signal }: AskOptions = {}): Promise<Response> {
    return this.adapter.runSandbox(record ?? (await this.sandbox()), request(asked), this.env(signal));
  }

  /** Streams a run: each event as it arrives. Leaving the loop cancels the body. */
  async *stream(asked: Asked, options: AskOptions = {}): AsyncGenerator<RunEvent> {
    yield* readEvents(await okay(await this.streamRaw(asked, options), "runSandboxStream"));
  }

  async streamRaw(asked: Asked, { in: record, signal }: AskOptions = {}): Promise<Response> {
    return this.adapter.runSandboxStream(record ?? (await this.sandbox()), request(asked), this.env(signal));
  }

  /** Streams a run to its end, and finds the stream well-formed. */
  async streamed(asked: Asked, options: AskOptions = {}): Promise<Streamed> {
    return collect(this.stream(asked, options));
  }

  async write(path: string, content: string, encoding: FileEncoding = "utf8", record?: SandboxRecord) {
    const to = record ?? (await this.sandbox());
    await okay(await this.adapter.writeFile(to, { path, content, encoding }, this.env()), "writeFile");
  }

  async read(path: string, encoding: FileEncoding = "utf8", record?: SandboxRecord): Promise<FileContent> {
    const from = record ?? (await this.sandbox());
    const answer = await okay(await this.adapter.readFile(from, path, encoding, this.env()), "readFile");
    return wellFormed(FileContent, await json(answer, "readFile"), "readFile");
  }

  async state(record: SandboxRecord): Promise<Record<string, unknown>> {
    const answer = await okay(await this.adapter.getState(record, this.env()), "getState");
    return wellFormed(StateAnswer, await json(answer, "getState"), "getState").state;
  }

  async setState(record: SandboxRecord, state: Record<string, unknown>): Promise<void> {
    await okay(await this.adapter.setState(record, state, this.env()), "setState");
  }

  async delete(record: SandboxRecord): Promise<void> {
    await okay(await this.adapter.deleteSandbox(record, this.env()), "deleteSandbox");
    this.#sandboxes.forget(record);
  }

  /**
   * The failure that a call ends in. Fails the check when it succeeds, when the failure has not the shape that all
   * failures have, or when its code is none of these.
   */
  async refused(
    what: string,
    call: () => Promise<unknown>,
    codes?: readonly ErrorCode[],
  ): Promise<CerverError> {
    const failure = await failureOf(what, call);
    must(
      !codes || codes.includes(failure.code),
      `${what}: refused as ${failure.code} (“${failure.message}”) instead of ${codes?.join(" or ")}.`,
    );
    return failure;
  }

  /** Ends the check: it does not apply here. */
  skip(why: string): never {
    throw new CheckSkipped(why);
  }

  /** Asks again and again until it is true: for what takes a moment. */
  async until(holds: () => Promise<boolean>, seconds: number, sentence: string): Promise<void> {
    const end = performance.now() + seconds * 1000;
    while (!(await holds())) {
      must(performance.now() < end, sentence);
      await sleep(150, undefined, { signal: this.signal });
    }
  }

  /**
   * Waits until nothing appends to a file of the sandbox any more. Fails the check when something still does after so
   * many seconds.
   */
  async stopsGrowing(file: string, seconds: number, who: string, record?: SandboxRecord): Promise<void> {
    const size = async () =>
      Number((await this.run(`wc -c < ${file}`, record ? { in: record } : {})).out.toString());
    const end = performance.now() + seconds * 1000;
    let before = await size();
    must(before > 0, `${who}: the child never wrote to its file, so the check shows nothing.`);
    for (;;) {
      await sleep(700, undefined, { signal: this.signal });
      const now = await size();
      if (now === before) return;
      must(performance.now() < end, `${who}: a child is still alive ${seconds} s later: its file grows on.`);
      before = now;
    }
  }
}

/** Code that starts a child in a session of its own, which appends to a file for as long as it lives. */
export function heartbeatChild(file: string): string {
  const beat = `while :; do printf . >> ${file}; sleep 0.1; done`;
  return `if command -v setsid >/dev/null 2>&1; then setsid sh -c '${beat}' >/dev/null 2>&1 </dev/null & else sh -c '${beat}' >/dev/null 2>&1 </dev/null & fi
while [ ! -s ${file} ]; do sleep 0.05; done`;
}

/** Reads a stream to its end. Its events have to be in order, its offsets without holes, and `exit` its last. */
export async function collect(stream: AsyncIterable<RunEvent>): Promise<Streamed> {
  const events: RunEvent[] = [];
  const bytes = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  const offsets = { stdout: 0, stderr: 0 };
  let exit: Streamed["exit"] | undefined;
  for await (const event of stream) {
    must(exit === undefined, `The stream goes on after its exit event, with ${shown(event)}.`);
    if (events.length === 0) same(event.type, "start", "The stream's first event");
    events.push(event);
    if (event.type === "error") throw new CheckFailed(`The stream ended with an error: ${event.error}`);
    if (event.type === "gap") throw new CheckFailed(`The stream has a gap: ${shown(event)}.`);
    if (event.type === "exit") exit = event;
    if (event.type !== "stdout" && event.type !== "stderr") continue;
    same(event.offset, offsets[event.type], `The offset of a ${event.type} event`);
    const piece = Buffer.from(event.data, event.encoding ?? "utf8");
    offsets[event.type] += piece.length;
    bytes[event.type].push(piece);
  }
  must(exit !== undefined, "The stream ended without an exit event.");
  same(exit.stdout_bytes, offsets.stdout, "stdout_bytes of the exit event");
  same(exit.stderr_bytes, offsets.stderr, "stderr_bytes of the exit event");
  return { events, exit, out: Buffer.concat(bytes.stdout), err: Buffer.concat(bytes.stderr) };
}

export async function* readEvents(response: Response): AsyncGenerator<RunEvent> {
  const type = response.headers.get("content-type") ?? "none";
  must(type.startsWith("text/event-stream"), `runSandboxStream: its content type is ${type}.`);
  must(response.body !== null, "runSandboxStream: its answer has no body.");
  for await (const { event, data } of readEventStream(response.body)) {
    const known = RunEvent.safeParse(parseJson(data));
    must(known.success, `The stream holds an event that is none of ours: ${event} ${shown(data)}.`);
    same(event, known.data.type, "The name of an event");
    yield known.data;
  }
}

export async function readAnswer(response: Response): Promise<Ran> {
  const answer = wellFormed(SandboxRunAnswer, await json(response, "runSandbox"), "runSandbox");
  return {
    ...answer,
    out: Buffer.from(answer.stdout, answer.stdout_encoding ?? "utf8"),
    err: Buffer.from(answer.stderr, answer.stderr_encoding ?? "utf8"),
  };
}

/** An answer below 400; the failure of another is told. */
export async function okay(response: Response, what: string): Promise<Response> {
  must(response instanceof Response, `${what}: it gave no Response.`);
  if (response.status < 400) return response;
  throw new CheckFailed(
    `${what}: it failed with ${response.status}: ${(await response.text()).slice(0, 500)}`,
  );
}

async function failureOf(what: string, call: () => Promise<unknown>): Promise<CerverError> {
  let answer: unknown;
  try {
    answer = await call();
  } catch (error) {
    if (error instanceof CheckFailed) throw error;
    if (error instanceof CerverError) {
      must(error.message.trim() !== "", `${what}: the failure has no sentence.`);
      return error;
    }
    throw new CheckFailed(`${what}: it threw ${String(error)} instead of a CerverError.`);
  }
  must(answer instanceof Response && answer.status >= 400, `${what}: it was taken instead of refused.`);
  const text = await answer.text();
  const words = ErrorWords.safeParse(parseJson(text));
  must(words.success, `${what}: its failure has no JSON body with error and code: ${shown(text)}.`);
  const { code } = words.data;
  must(Object.hasOwn(ERRORS, code), `${what}: its failure's code “${code}” is none of ours.`);
  same(answer.status, ERRORS[code as ErrorCode].status, `${what}: the HTTP status of ${code}`);
  return CerverError.fromBody(answer.status, words.data);
}

/** As an adapter is given it; what no schema knows goes along, and has to be refused there. */
function request(asked: Asked): SandboxRunRequest {
  const { runtime = "shell", ...rest } = typeof asked === "string" ? { code: asked } : asked;
  return { runtime, ...rest };
}

async function json(response: Response, what: string): Promise<unknown> {
  const text = await response.text();
  const value = parseJson(text);
  must(value !== undefined, `${what}: its answer is not JSON: ${shown(text)}.`);
  return value;
}

function wellFormed<S extends z.ZodType>(schema: S, value: unknown, what: string): z.output<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const { path = [], message = "" } = result.error.issues[0] ?? {};
  throw new CheckFailed(
    `${what}: its answer is not well-formed at ${path.join(".") || "the top"}: ${message}.`,
  );
}
