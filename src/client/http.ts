import { CerverError } from "../protocol/errors.js";
import { readEventStream } from "../util/event-stream.js";
import { failure, notOurs, streamEnded, unreachable } from "./failures.js";

/** How long a call that is not a run may take. */
const CALL_TIMEOUT_MS = 30_000;

export interface GatewayClientOptions {
  /** `http://` or `https://`, without credentials in it. A page of the gateway gives `location.origin`. */
  gatewayUrl: string;
  /** Without one, a page of the gateway is known by its sign-in cookie. */
  token?: string | undefined;
  /** Who calls, for the gateway's log. Browsers have a name of their own. */
  userAgent?: string;
  /** Milliseconds that a call may take, runs aside. @default 30000 */
  timeoutMs?: number;
}

export interface Call {
  body?: unknown;
  query?: Record<string, string | number | readonly string[] | undefined>;
  signal?: AbortSignal | undefined;
  timeoutMs?: number | null;
  accept?: string;
  /** Makes the request happen once, however often it is sent. */
  key?: string | undefined;
}

/** What reads an answer; every schema of `src/protocol` does. */
export interface Reader<T> {
  safeParse(value: unknown): { success: true; data: T } | { success: false; error: unknown };
}

/** Requests to one gateway, and the reading of its answers. */
export class GatewayHttp {
  readonly gatewayUrl: string;
  readonly #token: string | undefined;
  readonly #userAgent: string | undefined;
  readonly #timeoutMs: number;

  constructor({ gatewayUrl, token, userAgent, timeoutMs = CALL_TIMEOUT_MS }: GatewayClientOptions) {
    this.gatewayUrl = checkedUrl(gatewayUrl);
    this.#token = token;
    this.#userAgent = userAgent ?? ("document" in globalThis ? undefined : "cerver");
    this.#timeoutMs = timeoutMs;
  }

  /** The answer, read by the schema that the gateway wrote it with. */
  async json<T>(method: string, path: string, reader: Reader<T>, call: Call = {}): Promise<T> {
    const answer = reader.safeParse(await this.raw(method, path, call));
    if (answer.success) return answer.data;
    throw notOurs(this.gatewayUrl, answer.error);
  }

  /** The answer's JSON as it is. */
  async raw(method: string, path: string, call: Call = {}): Promise<unknown> {
    const response = await this.send(method, path, call);
    if (!response.ok) throw await failure(response);
    try {
      return await response.json();
    } catch (error) {
      throw notOurs(this.gatewayUrl, error);
    }
  }

  /** The items of a stream of server-sent events, until `last` or until the reader leaves. */
  async *items<T>(
    method: string,
    path: string,
    reader: Reader<T>,
    { last = () => false, broken, opened, quietMs, ...call }: Call & StreamOptions<T>,
  ): AsyncGenerator<T> {
    const response = await this.send(method, path, { timeoutMs: null, accept: "text/event-stream", ...call });
    if (!response.ok || !response.body) throw await failure(response);
    const broke = (cause?: unknown) => broken?.(cause) ?? streamEnded(this.gatewayUrl, cause);
    opened?.();
    const body = quietMs === undefined ? response.body : unlessQuiet(response.body, quietMs);
    try {
      for await (const { data } of readEventStream(body)) {
        const item = reader.safeParse(JSON.parse(data));
        // Later gateways may tell of things that have no name here yet.
        if (!item.success) continue;
        yield item.data;
        if (last(item.data)) return;
      }
    } catch (error) {
      if (call.signal?.aborted || error instanceof CerverError) throw error;
      throw broke(error);
    }
    throw broke();
  }

  async send(method: string, path: string, call: Call = {}): Promise<Response> {
    const { body, query = {}, signal, timeoutMs = this.#timeoutMs, accept = "application/json", key } = call;
    const url = new URL(this.gatewayUrl + path);
    for (const [name, value] of Object.entries(query))
      for (const one of Array.isArray(value) ? value : [value])
        if (one !== undefined) url.searchParams.append(name, String(one));
    const signals = [signal, timeoutMs === null ? undefined : AbortSignal.timeout(timeoutMs)].filter(
      (one) => one !== undefined,
    );
    try {
      return await fetch(url, {
        method,
        headers: {
          accept,
          ...(this.#userAgent !== undefined && { "user-agent": this.#userAgent }),
          ...(this.#token && { authorization: `Bearer ${this.#token}` }),
          ...(body !== undefined && { "content-type": "application/json" }),
          ...(key !== undefined && { "idempotency-key": key }),
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
        ...(signals.length > 0 && { signal: AbortSignal.any(signals) }),
        credentials: "same-origin",
        // A token goes to the gateway that was chosen and nowhere else.
        redirect: "manual",
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw unreachable(this.gatewayUrl, error);
    }
  }
}

/** How a caller hears of the stream itself. */
export interface ListenOptions {
  /** Is called when the gateway has begun to tell: what happens from then on arrives. */
  opened?: (() => void) | undefined;
  /** Milliseconds without a byte after which the connection counts as broken. The gateway sends one every 15 seconds. */
  quietMs?: number | undefined;
}

interface StreamOptions<T> extends ListenOptions {
  last?: (item: T) => boolean;
  /** What is thrown when the stream ends before its last item. */
  broken?: (cause?: unknown) => CerverError;
}

/** A connection that nobody has ended, but that nothing comes through any more, fails. */
function unlessQuiet(body: ReadableStream<Uint8Array>, quietMs: number): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  let timer: ReturnType<typeof setTimeout> | undefined;
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const quiet = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Error(`nothing came for ${quietMs} ms`)), quietMs);
      });
      try {
        const { done, value } = await Promise.race([reader.read(), quiet]);
        if (done) controller.close();
        else controller.enqueue(value);
      } catch (error) {
        void reader.cancel(error).catch(() => {});
        throw error;
      } finally {
        clearTimeout(timer);
      }
    },
    cancel(reason) {
      clearTimeout(timer);
      return reader.cancel(reason);
    },
  });
}

function checkedUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.password) {
    throw new CerverError(
      "invalid_request",
      `"${text.replace(/\/\/.*@/, "//…@")}" is not the address of a gateway.`,
      {
        hint: "Give it as http://host:port or https://host, without a name or password in it.",
      },
    );
  }
  return url.origin + url.pathname.replace(/\/+$/, "");
}

/** A path with its parameters put in. */
export function at(strings: TemplateStringsArray, ...values: string[]): string {
  return String.raw({ raw: strings }, ...values.map(encodeURIComponent));
}
