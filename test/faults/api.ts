import { z } from "zod";
import { readEventStream, type ServerSentEvent } from "../../src/util/event-stream.js";

/**
 * The API as a caller who has only its description: what is read of an answer is written down here, so that a change of
 * the product's own schemas does not quietly change what is checked.
 */
export const Status = z.enum(["queued", "running", "succeeded", "failed", "cancelled", "timed_out", "lost"]);
export type Status = z.infer<typeof Status>;

export const RunRecord = z.looseObject({
  run_id: z.string(),
  session_id: z.string(),
  status: Status,
  exit_code: z.number().int().nullish(),
  signal: z.string().nullish(),
  end_reason: z.string().nullish(),
  stdout_bytes: z.number().int().nullish(),
  stderr_bytes: z.number().int().nullish(),
});
export type RunRecord = z.infer<typeof RunRecord>;

const RunPage = z.looseObject({ runs: z.array(RunRecord), next_cursor: z.string().nullish() });

export const RunAnswer = z.looseObject({
  run_id: z.string(),
  status: Status,
  stdout_bytes: z.number().int(),
  stderr_bytes: z.number().int(),
  truncated: z.boolean(),
  result: z.looseObject({
    stdout: z.string(),
    stderr: z.string(),
    stdout_encoding: z.literal("base64").optional(),
    stderr_encoding: z.literal("base64").optional(),
    exit_code: z.number().int().nullable(),
    signal: z.string().nullish(),
  }),
});
export type RunAnswer = z.infer<typeof RunAnswer>;

const output = { offset: z.number().int(), data: z.string(), encoding: z.literal("base64").optional() };
export const RunEvent = z.discriminatedUnion("type", [
  z.looseObject({ type: z.literal("start"), run_id: z.string() }),
  z.looseObject({ type: z.literal("stdout"), ...output }),
  z.looseObject({ type: z.literal("stderr"), ...output }),
  z.looseObject({
    type: z.literal("gap"),
    stream: z.enum(["stdout", "stderr"]),
    offset: z.number().int(),
    bytes: z.number().int(),
  }),
  z.looseObject({
    type: z.literal("exit"),
    run_id: z.string(),
    status: Status,
    exit_code: z.number().int().nullable(),
    signal: z.string().nullish(),
    end_reason: z.string().nullish(),
    stdout_bytes: z.number().int(),
    stderr_bytes: z.number().int(),
  }),
  z.looseObject({ type: z.literal("error"), code: z.string() }),
]);
export type RunEvent = z.infer<typeof RunEvent>;

const Session = z.looseObject({ session_id: z.string() });
const Computes = z.looseObject({ computes: z.array(z.looseObject({ status: z.string() })) });

/** The gateway's own words for why not. */
export class Refused extends Error {
  override readonly name = "Refused";
  constructor(
    readonly status: number,
    readonly code: string,
    /** The gateway says that nothing was done. */
    readonly retryable: boolean,
    message: string,
  ) {
    super(`HTTP ${status} ${code}: ${message}`);
  }
}

/** No answer, or half of one: whether anything was done is unknown. */
export class Broken extends Error {
  override readonly name = "Broken";
}

export interface Call {
  body?: unknown;
  key?: string | undefined;
  headers?: Record<string, string>;
  signal: AbortSignal;
}

/** A look takes this long at most: a gateway that is stopped in the middle must not hold up who looks. */
const LOOK_TIMEOUT_MS = 10_000;

export class Api {
  constructor(
    readonly gatewayUrl: string,
    readonly token: string,
  ) {}

  async createSession(signal: AbortSignal): Promise<string> {
    const call = { body: {}, signal: soon(signal, 60_000) };
    return Session.parse(await this.json("POST", "/v2/sessions", call)).session_id;
  }

  async closeSession(session: string, signal: AbortSignal): Promise<void> {
    await this.json("POST", `/v2/sessions/${session}/close`, { signal: soon(signal, 30_000) });
  }

  /** Whether a compute is there to run on. */
  async isReady(signal: AbortSignal): Promise<boolean> {
    const answer = await this.json("GET", "/v2/computes", { signal: soon(signal, 2_000) });
    return Computes.parse(answer).computes.some(({ status }) => status === "ready");
  }

  /** Every run of a session. */
  async runs(session: string, signal: AbortSignal): Promise<RunRecord[]> {
    const found: RunRecord[] = [];
    let cursor: string | null | undefined;
    do {
      const query = `?limit=100${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`;
      const page = RunPage.parse(
        await this.json("GET", `/v2/sessions/${session}/runs${query}`, { signal: soon(signal) }),
      );
      found.push(...page.runs);
      cursor = page.next_cursor;
    } while (cursor);
    return found;
  }

  /** The kept output of a stream; in two pieces that are asked for separately when `splitAt` is given. */
  async output(
    session: string,
    run: string,
    stream: "stdout" | "stderr",
    signal: AbortSignal,
    splitAt?: number,
  ): Promise<Buffer> {
    const path = `/v2/sessions/${session}/runs/${run}/output?stream=${stream}`;
    const read = async (range?: string) => {
      const response = await this.send("GET", path, {
        ...(range && { headers: { range: `bytes=${range}` } }),
        signal: soon(signal, 30_000),
      });
      if (range && response.status !== 206)
        throw new Refused(response.status, "no_range", false, `a range was asked for (${range})`);
      return Buffer.from(await whole(response.arrayBuffer()));
    };
    if (!splitAt) return read();
    return Buffer.concat([await read(`0-${splitAt - 1}`), await read(`${splitAt}-`)]);
  }

  async json(method: string, path: string, call: Call): Promise<unknown> {
    const response = await this.send(method, path, call);
    return whole(response.json());
  }

  /** Sends once. Throws {@link Refused} for an answer that says no, {@link Broken} when there is none. */
  async send(method: string, path: string, { body, key, headers = {}, signal }: Call): Promise<Response> {
    const response = await whole(
      fetch(this.gatewayUrl + path, {
        method,
        headers: {
          authorization: `Bearer ${this.token}`,
          ...(body !== undefined && { "content-type": "application/json" }),
          ...(key !== undefined && { "idempotency-key": key }),
          ...headers,
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
        signal,
      }),
    );
    if (response.ok) return response;
    const said = (await whole(response.json())) as Record<string, unknown>;
    throw new Refused(response.status, String(said.code), said.retryable === true, String(said.error));
  }
}

/** The events of a streamed run with their ids. A stream that breaks off throws {@link Broken}. */
export async function* runEvents(
  response: Response,
): AsyncGenerator<{ id: string | undefined; event: RunEvent }> {
  const events = readEventStream(response.body!);
  try {
    for (;;) {
      const next = await whole(events.next());
      if (next.done) return;
      const { id, data } = next.value as ServerSentEvent;
      yield { id, event: RunEvent.parse(JSON.parse(data)) };
    }
  } finally {
    await events.return(undefined).catch(() => {});
  }
}

async function whole<T>(reading: Promise<T>): Promise<T> {
  try {
    return await reading;
  } catch (error) {
    const { message, cause } = error as Error;
    throw new Broken(cause instanceof Error ? `${message}: ${cause.message}` : message);
  }
}

function soon(signal: AbortSignal, ms = LOOK_TIMEOUT_MS): AbortSignal {
  return AbortSignal.any([signal, AbortSignal.timeout(ms)]);
}
