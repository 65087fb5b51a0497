import { CerverError } from "../../../protocol/errors.js";
import { parseJson } from "../../../util/parse-json.js";
import { retryAfterOf, withoutSecret } from "../vendor-failure.js";

/** How long the vendor may think about a request, in milliseconds. */
const REQUEST_MS = 60_000;
/** Making a sandbox takes it longer, and a file of the largest size is on its way for a while. */
const CREATE_MS = 120_000;
const TRANSFER_MS = 600_000;
/** Pauses between the attempts of what may be asked twice. */
const RETRY_PAUSES_MS = [300, 900];
/** The longest line of a log that is taken, in bytes. */
const MAX_LINE_BYTES = 8 * 1024 * 1024;
/** More than this of an error's body is not read, in characters. */
const MAX_ERROR_LENGTH = 64 * 1024;

/**
 * What the vendor, or the way to it, answered instead of what was asked for.
 *
 * Its name is the one for which the SDK does not ask again: an order to start something may be sent once.
 */
export class VercelRefusal extends Error {
  override readonly name = "AbortError";
  constructor(
    message: string,
    /** The HTTP status; undefined when no answer came, so that nobody knows what was done. */
    readonly status?: number,
    readonly code?: string,
    readonly retryAfterMs?: number,
  ) {
    super(message);
  }
}

/**
 * The SDK's `fetch` for one operation: it refuses what is not an answer, asks again only where that is safe, bounds every
 * request, and gives a command's log no faster than it is taken.
 */
export class VercelWire {
  readonly #fetch: typeof fetch;
  /** May stand in nobody's words. */
  readonly #secret: string | undefined;
  /** By command. */
  readonly #meters = new Map<string, LogMeter>();

  constructor(given: typeof fetch, secret?: string) {
    this.#fetch = given;
    this.#secret = secret;
  }

  readonly fetch: typeof fetch = async (input, init) => {
    const url = new URL(typeof input === "string" || input instanceof URL ? input : input.url);
    const method = init?.method ?? "GET";
    const logOf = /\/cmd\/([^/]+)\/logs$/.exec(url.pathname)?.[1];
    const isCreate = method === "POST" && /\/v\d+\/sandboxes$/.test(url.pathname);
    const isFile = /\/fs\/(?:read|write)$/.test(url.pathname);
    const limitMs = logOf ? undefined : isCreate ? CREATE_MS : isFile ? TRANSFER_MS : REQUEST_MS;
    const mayRepeat = method === "GET" || method === "DELETE" || url.pathname.endsWith("/kill");
    for (let attempt = 0; ; attempt++) {
      const pause = mayRepeat ? RETRY_PAUSES_MS[attempt] : undefined;
      try {
        const response = await this.#once(input, init, limitMs);
        if (!logOf || !response.body) return response;
        const meter = new LogMeter(response.body);
        this.#meters.set(logOf, meter);
        return new Response(meter.body, { status: response.status, headers: response.headers });
      } catch (error) {
        const isPassing =
          error instanceof VercelRefusal && (error.status === undefined || error.status >= 500);
        if (!isPassing || pause === undefined) throw error;
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
    }
  };

  /** Says that a line of a command's log was taken. */
  took(commandId: string): void {
    this.#meters.get(commandId)?.took();
  }

  async #once(
    input: Parameters<typeof fetch>[0],
    init: RequestInit | undefined,
    limitMs: number | undefined,
  ): Promise<Response> {
    const signals = [init?.signal, limitMs && AbortSignal.timeout(limitMs)].filter(
      (one): one is AbortSignal => one instanceof AbortSignal,
    );
    let response: Response;
    try {
      response = await this.#fetch(input, { ...init, signal: AbortSignal.any(signals) });
    } catch (error) {
      if (init?.signal?.aborted) throw init.signal.reason;
      const { cause } = error as { cause?: { code?: string; message?: string } };
      const why = cause?.code ?? cause?.message ?? (error as Error).message;
      throw new VercelRefusal(`no answer came (${this.#withoutSecret(why)})`);
    }
    if (response.ok) return response;
    const words = await response.text().catch(() => "");
    throw refusalOf(response, this.#withoutSecret(words).slice(0, MAX_ERROR_LENGTH));
  }

  #withoutSecret(words: string): string {
    return withoutSecret(words, this.#secret, "[token]");
  }
}

/** A log's body that waits until the lines of each chunk were taken: the SDK itself reads ahead without end. */
class LogMeter {
  readonly body: ReadableStream<Uint8Array>;
  /** Lines that were given and not taken. */
  #owed = 0;
  #lineBytes = 0;
  #onTaken: (() => void) | undefined;

  constructor(log: ReadableStream<Uint8Array>) {
    const reader = log.getReader();
    this.body = new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          while (this.#owed > 0) {
            await new Promise<void>((resolve) => {
              this.#onTaken = resolve;
            });
          }
          const { done, value } = await reader.read();
          if (done) return controller.close();
          this.#count(value);
          controller.enqueue(value);
        },
        cancel: (reason) => reader.cancel(reason),
      },
      { highWaterMark: 0 },
    );
  }

  took(): void {
    this.#owed--;
    this.#onTaken?.();
  }

  /** Empty lines are not counted: the SDK gives nothing for them. */
  #count(chunk: Uint8Array): void {
    let from = 0;
    for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, from)) {
      if (this.#lineBytes + at - from > 0) this.#owed++;
      this.#lineBytes = 0;
      from = at + 1;
    }
    this.#lineBytes += chunk.length - from;
    if (this.#lineBytes > MAX_LINE_BYTES)
      throw new CerverError(
        "compute_lost",
        "The run's outcome is unknown: a line of Vercel's log is longer than any can be.",
        { hint: "Look in the sandbox before you run it again: it may have done its work." },
      );
  }
}

const NEWLINE = 0x0a;

/** `{error: {code, message}}`, as Vercel's API says what went wrong. */
function refusalOf(response: Response, text: string): VercelRefusal {
  // A proxy's page is no JSON. Its status says enough.
  const said = (parseJson(text) ?? {}) as { error?: { code?: unknown; message?: unknown } };
  const { code, message } = said.error ?? {};
  return new VercelRefusal(
    typeof message === "string" ? message : `HTTP ${response.status} ${response.statusText}`.trim(),
    response.status,
    typeof code === "string" ? code : undefined,
    retryAfterOf(response),
  );
}
