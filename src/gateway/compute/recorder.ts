import {
  CassetteCall,
  type CassetteLine,
  type CassetteOperation,
  type CassetteOutcome,
  MAX_ASKED_LENGTH,
  MAX_KEPT_ANSWER_BYTES,
} from "../../protocol/cassette.js";
import { CerverError } from "../../protocol/errors.js";
import { parseJson } from "../../util/parse-json.js";
import { type Ids, keyOf, marked, type Question } from "./cassette.js";
import type { CloudAccount, ProviderAdapter, ProviderEnv, SandboxRecord } from "./contract.js";
import { Redactor } from "./redactor.js";

/** Takes the lines of a cassette, one call at a time. It may not throw. */
export interface CassetteSink {
  write(line: CassetteLine): void;
}

export interface RecorderOptions {
  /** Values to look for beside the credentials and variables of each call. */
  redactor?: Redactor;
  /** Milliseconds that never go back. */
  now?: () => number;
}

/** What a record that fails for its caller may yet have made is remembered for so many sessions. */
const MAX_FAILED_CREATES = 1_000;
const MAX_SANDBOXES = 100_000;

/**
 * The same adapter, with each of its calls written to a cassette: what was asked, what came, and when.
 *
 * Nothing else changes for whoever uses it. What goes beyond a sandbox's calls (runs that a provider keeps, ports, folders that
 * are carried) is handed through and not recorded: a rehearsal has none of it.
 */
export function recorded(
  adapter: ProviderAdapter,
  sink: CassetteSink,
  options: RecorderOptions = {},
): ProviderAdapter {
  const recorder = new Recorder(sink, options);
  const about = (record: SandboxRecord, runId?: string): Ids => ({
    sandboxId: record.sandboxId,
    computeId: record.computeId,
    runId,
  });
  return {
    providerName: adapter.providerName,
    createSandbox: (request, env) =>
      recorder.create(request.metadata, env, () => adapter.createSandbox(request, env)),
    runSandbox: (record, request, env) =>
      recorder.respond({ operation: "runSandbox", request }, about(record, request.run_id), env, () =>
        adapter.runSandbox(record, request, env),
      ),
    runSandboxStream: (record, request, env) =>
      recorder.respond({ operation: "runSandboxStream", request }, about(record, request.run_id), env, () =>
        adapter.runSandboxStream(record, request, env),
      ),
    installPackage: (record, request, env) =>
      recorder.respond({ operation: "installPackage", request }, about(record, request.run_id), env, () =>
        adapter.installPackage(record, request, env),
      ),
    writeFile: (record, request, env) =>
      recorder.respond({ operation: "writeFile", request }, about(record), env, () =>
        adapter.writeFile(record, request, env),
      ),
    readFile: (record, path, encoding, env) =>
      recorder.respond({ operation: "readFile", path, encoding }, about(record), env, () =>
        adapter.readFile(record, path, encoding, env),
      ),
    getState: (record, env) =>
      recorder.respond({ operation: "getState" }, about(record), env, () => adapter.getState(record, env)),
    setState: (record, state, env) =>
      recorder.respond({ operation: "setState", state }, about(record), env, () =>
        adapter.setState(record, state, env),
      ),
    deleteSandbox: (record, env) =>
      recorder.respond({ operation: "deleteSandbox" }, about(record), env, () =>
        adapter.deleteSandbox(record, env),
      ),
    ...(adapter.durable && { durable: adapter.durable }),
    ...(adapter.ports && { ports: adapter.ports }),
    ...(adapter.folder && { folder: adapter.folder }),
    ...(adapter.cloud && { cloud: recordedCloud(adapter.cloud, recorder, about) }),
  };
}

function recordedCloud(
  cloud: CloudAccount,
  recorder: Recorder,
  about: (record: SandboxRecord) => Ids,
): CloudAccount {
  const { portUrl, suspend, wake } = cloud;
  return {
    credentialNames: cloud.credentialNames,
    verify: (env) => recorder.done({ operation: "cloud.verify" }, {}, env, () => cloud.verify(env)),
    find: (sessionId, env) => recorder.find(sessionId, env, () => cloud.find(sessionId, env)),
    ...(portUrl && {
      portUrl: (record, port, env) =>
        recorder.done({ operation: "cloud.portUrl", port }, about(record), env, () =>
          portUrl.call(cloud, record, port, env),
        ),
    }),
    ...(suspend && {
      suspend: (record, env) =>
        recorder.done({ operation: "cloud.suspend" }, about(record), env, () =>
          suspend.call(cloud, record, env),
        ),
    }),
    ...(wake && {
      wake: (record, env) =>
        recorder.done({ operation: "cloud.wake" }, about(record), env, () => wake.call(cloud, record, env)),
    }),
  };
}

/** A call that is under way. */
interface Call {
  question: Question;
  ids: Ids;
  env: ProviderEnv;
  n: number;
  began: number;
}

class Recorder {
  readonly #sink: CassetteSink;
  readonly #redactor: Redactor;
  readonly #now: () => number;
  readonly #tapeBegan: number;
  readonly #sandboxes = new Map<string, number>();
  /** Session → the create that failed for it. */
  readonly #failedCreates = new Map<string, number>();
  #calls = 0;

  constructor(
    sink: CassetteSink,
    { redactor = new Redactor(), now = () => performance.now() }: RecorderOptions,
  ) {
    this.#sink = sink;
    this.#redactor = redactor;
    this.#now = now;
    this.#tapeBegan = now();
  }

  async create(
    metadata: Record<string, unknown>,
    env: ProviderEnv,
    create: () => Promise<SandboxRecord>,
  ): Promise<SandboxRecord> {
    const ids: Ids = { computeId: env.computeId };
    const call = this.#begin({ operation: "createSandbox" }, ids, env);
    this.#redactor.add(variablesOf(metadata));
    try {
      const record = await create();
      ids.sandboxId = record.sandboxId;
      if (this.#sandboxes.size < MAX_SANDBOXES) this.#sandboxes.set(record.sandboxId, this.#sandboxes.size);
      this.#end(call, { kind: "done", id_length: record.sandboxId.length });
      return record;
    } catch (error) {
      const session = metadata.cerver_session_id;
      if (typeof session === "string" && this.#failedCreates.size < MAX_FAILED_CREATES)
        this.#failedCreates.set(session, call.n);
      this.#end(call, this.#failure(error, call));
      throw error;
    }
  }

  /** A sandbox that is found for a session whose create failed: its answer was lost. */
  async find(
    sessionId: string,
    env: ProviderEnv,
    find: () => Promise<SandboxRecord[]>,
  ): Promise<SandboxRecord[]> {
    const found = await this.done({ operation: "cloud.find" }, {}, env, find);
    const create = this.#failedCreates.get(sessionId);
    if (create !== undefined && found.length > 0) {
      this.#failedCreates.delete(sessionId);
      this.#sink.write({ kind: "found", call: create });
    }
    return found;
  }

  /** A call that gives no response. */
  async done<T>(question: Question, ids: Ids, env: ProviderEnv, ask: () => Promise<T>): Promise<T> {
    const call = this.#begin(question, ids, env);
    try {
      const value = await ask();
      this.#end(call, {
        kind: "done",
        ...(typeof value === "string" && { value: this.#put(value, ids) }),
      });
      return value;
    } catch (error) {
      this.#end(call, this.#failure(error, call));
      throw error;
    }
  }

  /** A call that gives a response. One that is no stream is at hand as a whole when it is given. */
  async respond(
    question: Question,
    ids: Ids,
    env: ProviderEnv,
    ask: () => Promise<Response>,
  ): Promise<Response> {
    const call = this.#begin(question, ids, env);
    let response: Response;
    try {
      response = await ask();
    } catch (error) {
      this.#end(call, this.#failure(error, call));
      throw error;
    }
    const { status, statusText, headers } = response;
    const head = { status, statusText, headers };
    if (!response.body) {
      this.#end(call, this.#answer(response, "", call));
      return response;
    }
    if ((headers.get("content-type") ?? "").startsWith("text/event-stream") && status < 400) {
      return new Response(this.#followed(response.body, call, response), head);
    }
    try {
      const bytes = new Uint8Array(await response.arrayBuffer());
      const isLarge = bytes.length > MAX_KEPT_ANSWER_BYTES;
      this.#end(
        call,
        isLarge
          ? { kind: "omitted", why: "too_large" }
          : this.#answer(response, Buffer.from(bytes).toString(), call),
      );
      return new Response(bytes, head);
    } catch (error) {
      // The head was there, so the failure is the body's.
      this.#end(call, this.#failure(error, call));
      return new Response(new ReadableStream({ start: (controller) => controller.error(error) }), head);
    }
  }

  /** A stream as it is, with the time at which each of its pieces was read. */
  #followed(
    body: ReadableStream<Uint8Array>,
    call: Call,
    { status, headers }: Response,
  ): ReadableStream<Uint8Array> {
    const head_ms = this.#since(call);
    const pieces: { after_ms: number; bytes: Uint8Array }[] = [];
    let size = 0;
    let isOver = false;
    const { signal } = call.env;
    const over = (end: "closed" | "broken" | "left") => {
      if (isOver) return;
      isOver = true;
      signal.removeEventListener("abort", left);
      const type = headers.get("content-type")!;
      this.#end(
        call,
        size > MAX_KEPT_ANSWER_BYTES
          ? { kind: "omitted", why: "too_large", first_byte_ms: pieces[1]?.after_ms ?? head_ms }
          : { kind: "stream", status, type, head_ms, chunks: this.#chunks(pieces, call), end },
      );
    };
    const left = () => over("left");
    signal.addEventListener("abort", left, { once: true });
    const reader = body.getReader();
    return new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          try {
            const { done, value } = await reader.read();
            if (done) {
              over("closed");
              return controller.close();
            }
            size += value.length;
            if (size <= MAX_KEPT_ANSWER_BYTES) pieces.push({ after_ms: this.#since(call), bytes: value });
            controller.enqueue(value);
          } catch (error) {
            over(signal.aborted ? "left" : "broken");
            controller.error(error);
          }
        },
        cancel: (reason) => {
          over("left");
          return reader.cancel(reason);
        },
      },
      // Nothing is read that nobody asked for: the writer is made to wait as before.
      { highWaterMark: 0 },
    );
  }

  /** The events of a stream, each where its last byte was, without secrets and with marks for ids. */
  #chunks(pieces: readonly { after_ms: number; bytes: Uint8Array }[], { ids }: Call) {
    const all = Buffer.concat(pieces.map(({ bytes }) => bytes));
    const frames: { after_ms: number; text: string }[] = [];
    let from = 0;
    let until = 0;
    let last = 0;
    for (const { after_ms, bytes } of pieces) {
      until += bytes.length;
      last = after_ms;
      for (let at = all.indexOf("\n\n", from); at >= 0 && at + 2 <= until; at = all.indexOf("\n\n", from)) {
        frames.push({ after_ms, text: all.toString("utf8", from, at + 2) });
        from = at + 2;
      }
    }
    if (from < all.length) frames.push({ after_ms: last, text: all.toString("utf8", from) });
    ids.runId ??= /"run_id":"([^"\\]+)"/.exec(frames[0]?.text ?? "")?.[1];
    const clean = this.#redactor.events(frames.map(({ text }) => text));
    const chunks: { after_ms: number; text: string }[] = [];
    for (const [index, { after_ms }] of frames.entries()) {
      const text = marked(clean[index]!, ids);
      const before = chunks.at(-1);
      if (before?.after_ms === after_ms) before.text += text;
      else chunks.push({ after_ms, text });
    }
    return chunks;
  }

  #answer({ status, headers }: Response, text: string, call: Call): CassetteOutcome {
    const body = parseJson(text);
    if (status >= 400) return this.#error(CerverError.fromBody(status, body), false, call);
    const type = headers.get("content-type") ?? "application/octet-stream";
    if (body === undefined) return { kind: "answer", status, type, body: this.#put(text, call.ids) };
    if (typeof (body as { run_id?: unknown })?.run_id === "string")
      call.ids.runId ??= (body as { run_id: string }).run_id;
    return {
      kind: "answer",
      status,
      type,
      body: marked(JSON.stringify(this.#redactor.value(body)), call.ids),
    };
  }

  #failure(error: unknown, call: Call): CassetteOutcome {
    const { signal } = call.env;
    if (signal.aborted) {
      const isLate = (signal.reason as Error)?.name === "TimeoutError";
      return { kind: "unanswered", why: isLate ? "timeout" : "left" };
    }
    if (error instanceof CerverError) return this.#error(error, true, call);
    const words = error instanceof Error ? error.message : String(error);
    return this.#error(new CerverError("provider_failed", words), true, call);
  }

  #error({ code, message, hint, details }: CerverError, thrown: boolean, { ids }: Call): CassetteOutcome {
    const put = (text: string) => this.#put(text, ids).slice(0, 2000);
    return {
      kind: "error",
      thrown,
      code,
      message: put(message) || "It failed.",
      ...(hint && { hint: put(hint) }),
      ...(details &&
        Object.keys(details).length > 0 && {
          details: JSON.parse(marked(JSON.stringify(this.#redactor.value(details)), ids)) as Record<
            string,
            unknown
          >,
        }),
    };
  }

  #put(text: string, ids: Ids): string {
    return marked(this.#redactor.text(text), ids);
  }

  #begin(question: Question, ids: Ids, env: ProviderEnv): Call {
    this.#redactor.add(Object.values(env.credentials));
    this.#redactor.add(variablesOfRun(question));
    return { question, ids, env, n: this.#calls++, began: this.#now() };
  }

  #since({ began }: Call): number {
    return rounded(this.#now() - began);
  }

  #end(call: Call, outcome: CassetteOutcome): void {
    const { question, ids, n, began } = call;
    const { key, asked } = keyOf(question, keyText(question, ids));
    const about = {
      kind: "call" as const,
      n,
      operation: question.operation as CassetteOperation,
      key,
      at_ms: rounded(began - this.#tapeBegan),
      took_ms: this.#since(call),
    };
    const sandbox = ids.sandboxId === undefined ? undefined : this.#sandboxes.get(ids.sandboxId);
    const line: CassetteCall = {
      ...about,
      ...(asked !== undefined && { asked: this.#redactor.text(asked).slice(0, MAX_ASKED_LENGTH) }),
      ...(sandbox !== undefined && { sandbox }),
      outcome,
    };
    // What slipped through, or is more than a line may hold, is not kept at all: its time is.
    const why = this.#redactor.holds(textsOf(line))
      ? "secret"
      : CassetteCall.safeParse(line).success
        ? undefined
        : "too_large";
    this.#sink.write(
      why === undefined
        ? line
        : { ...about, ...(sandbox !== undefined && { sandbox }), outcome: withoutWords(outcome, why) },
    );
  }
}

/** Texts of a question as its key is made of them: with marks for ids, without the values of its own variables. */
export function keyText(question: Question, ids: Ids): (text: string) => string {
  const redactor = new Redactor(variablesOfRun(question));
  return (text) => marked(redactor.size > 0 ? redactor.text(text) : text, ids);
}

function variablesOfRun(question: Question): string[] {
  return "request" in question && "envs" in question.request
    ? Object.values(question.request.envs ?? {})
    : [];
}

/** What the create call says of variables: their values are nobody's business. */
function variablesOf({ env }: Record<string, unknown>): string[] {
  return typeof env === "object" && env !== null
    ? Object.values(env).filter((value) => typeof value === "string")
    : [];
}

/** Everything on a line that came from elsewhere. */
function textsOf({ asked, outcome }: CassetteCall): string {
  const { kind: _, ...said } = outcome;
  return `${asked ?? ""}\n${JSON.stringify({ ...said, ...("code" in said && { code: "" }), type: "", end: "", why: "" })}`;
}

function withoutWords(outcome: CassetteOutcome, why: "secret" | "too_large"): CassetteOutcome {
  if (outcome.kind !== "error") return { kind: "omitted", why };
  return { kind: "error", thrown: outcome.thrown, code: outcome.code, message: "Its words are not kept." };
}

function rounded(ms: number): number {
  return Math.max(0, Math.round(ms * 100) / 100);
}
