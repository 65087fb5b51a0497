import { CerverError } from "../protocol/errors.js";
import { CLOSE, JsonFrame } from "../protocol/tunnel.js";
import { parseJson } from "../util/parse-json.js";
import { errorResponse, hasNoBody, respond } from "./serving.js";
import type { Wire, WireDeps } from "./wire.js";

/** Public peers close the socket on a larger message (contract section 4.3). */
const MAX_PUBLIC_MESSAGE_BYTES = 1024 * 1024 - 4096;
const METHODS = new Set(["GET", "POST", "PUT", "DELETE", "PATCH"]);

interface Pending {
  resolve(response: Response): void;
  reject(error: unknown): void;
  release(): void;
}

/**
 * Wire level 1: the public system's JSON text frames (contract section 4).
 *
 * A whole body is one message, and no frame cancels a request: an asker that stops waiting leaves it running.
 */
export class JsonWire implements Wire {
  readonly peer = undefined;
  readonly #deps: WireDeps;
  readonly #asked = new Map<string, Pending>();
  readonly #serving = new Set<AbortController>();
  #lastId = 0;

  constructor(deps: WireDeps) {
    this.#deps = deps;
  }

  get streams(): number {
    return this.#asked.size + this.#serving.size;
  }

  start(): void {
    if (this.#deps.side === "gateway") this.#send({ type: "connected" });
  }

  ping(): void {
    // The public gateway knows no ping from a relay, so a relay asks the websocket itself.
    if (this.#deps.side === "gateway") this.#send({ type: "ping" });
    else this.#deps.socket.ping();
  }

  async fetch(request: Request): Promise<Response> {
    request.signal.throwIfAborted();
    if (this.#asked.size >= this.#deps.limits.maxStreams) {
      throw new CerverError("too_many_requests", "This compute has too many requests under way.");
    }
    const url = new URL(request.url);
    const body = request.body ? jsonOrText(await request.text()) : undefined;
    const id = String(++this.#lastId);
    const frame = JSON.stringify({
      type: "request",
      request_id: id,
      method: request.method,
      path: url.pathname + url.search,
      headers: Object.fromEntries(request.headers),
      ...(body !== undefined && { body }),
    });
    if (Buffer.byteLength(frame) > MAX_PUBLIC_MESSAGE_BYTES) {
      throw new CerverError("too_large", "This relay takes requests of up to 1 MiB only.", {
        hint: "Update the relay on that machine to the current version.",
      });
    }
    return new Promise<Response>((resolve, reject) => {
      const onAbort = () => {
        this.#asked.delete(id);
        reject(request.signal.reason);
      };
      request.signal.addEventListener("abort", onAbort, { once: true });
      const release = () => request.signal.removeEventListener("abort", onAbort);
      this.#asked.set(id, { resolve, reject, release });
      this.#deps.socket.send(frame);
    });
  }

  receive(message: string | Uint8Array): void {
    const { side, fail, logger, onStreamEvent } = this.#deps;
    if (typeof message !== "string") return fail(CLOSE.protocolError, "binary data on a JSON tunnel");
    const frame = JsonFrame.safeParse(parseJson(message));
    if (!frame.success) {
      logger.debug({}, "a frame that is not one of the contract's was left out");
      this.#send({ type: "error", error: "This frame was not understood and left out." });
      return;
    }
    switch (frame.data.type) {
      case "ping":
        return this.#send({ type: "pong" });
      case "request":
        if (side === "relay") void this.#answer(frame.data);
        return;
      case "response":
        return this.#onResponse(frame.data);
      case "stream_event":
        return onStreamEvent?.(frame.data);
    }
  }

  end(error: Error): void {
    for (const pending of this.#asked.values()) {
      pending.release();
      pending.reject(error);
    }
    this.#asked.clear();
    for (const abort of this.#serving) abort.abort(error);
    this.#serving.clear();
  }

  #onResponse({ request_id, status, body }: Extract<JsonFrame, { type: "response" }>): void {
    const id = String(request_id);
    const pending = this.#asked.get(id);
    if (!pending) return;
    this.#asked.delete(id);
    pending.release();
    pending.resolve(toResponse(status, body));
  }

  async #answer({
    request_id,
    method,
    path,
    headers,
    body,
  }: Extract<JsonFrame, { type: "request" }>): Promise<void> {
    const abort = new AbortController();
    this.#serving.add(abort);
    try {
      const response = METHODS.has(method)
        ? await respond(
            this.#deps.serve,
            toRequest(method, path, headers, body, abort.signal),
            this.#deps.logger,
          )
        : errorResponse(new CerverError("method_not_allowed", `${method} is not a method of this surface.`));
      const text = await readBounded(response, abort);
      this.#reply(request_id, response.status, text);
    } catch (error) {
      // When the link is gone there is nobody to answer.
      if (!this.#serving.has(abort)) return;
      const known =
        error instanceof CerverError ? error : new CerverError("internal", "The answer could not be read.");
      this.#reply(request_id, known.status, JSON.stringify(known.toBody()));
    } finally {
      this.#serving.delete(abort);
    }
  }

  #reply(requestId: string | number, status: number, text: string): void {
    const value = parseJson(text);
    const body = value === undefined ? { text } : value;
    const frame = JSON.stringify({ type: "response", request_id: requestId, status, headers: {}, body });
    if (Buffer.byteLength(frame) <= MAX_PUBLIC_MESSAGE_BYTES) return this.#deps.socket.send(frame);
    const { status: tooLarge, ...error } = answerTooLarge();
    this.#send({ type: "response", request_id: requestId, status: tooLarge, headers: {}, body: error });
  }

  #send(frame: object): void {
    this.#deps.socket.send(JSON.stringify(frame));
  }
}

async function readBounded(response: Response, abort: AbortController): Promise<string> {
  if (!response.body) return "";
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    size += chunk.length;
    if (size > MAX_PUBLIC_MESSAGE_BYTES) {
      const { error: sentence, hint } = answerTooLarge();
      const error = new CerverError("internal", sentence, { hint });
      abort.abort(error);
      throw error;
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** Public peers take a 500 for what it is; 413 would blame the request. */
function answerTooLarge() {
  return {
    status: 500,
    error: "The answer is larger than the 1 MiB that this gateway's relay link carries.",
    code: "too_large",
    hint: "Print less, or write to a file.",
  };
}

function toRequest(
  method: string,
  path: string,
  headers: Record<string, string> | undefined,
  body: unknown,
  signal: AbortSignal,
): Request {
  const hasBody = body !== undefined && body !== null && method !== "GET" && method !== "DELETE";
  return new Request(`http://compute${path}`, {
    method,
    headers: { ...headers, ...(hasBody && { "content-type": "application/json" }) },
    signal,
    ...(hasBody && { body: JSON.stringify(body) }),
  });
}

function toResponse(status: number, body: unknown): Response {
  if (hasNoBody(status)) return new Response(null, { status });
  const text = textOnly(body);
  if (text !== undefined) return new Response(text, { status, headers: { "content-type": "text/plain" } });
  return Response.json(body ?? null, { status });
}

/** `{text}` alone is how a public relay sends what is not JSON. */
function textOnly(body: unknown): string | undefined {
  if (typeof body !== "object" || body === null) return undefined;
  const { text, ...rest } = body as Record<string, unknown>;
  return typeof text === "string" && Object.keys(rest).length === 0 ? text : undefined;
}

function jsonOrText(text: string): unknown {
  return parseJson(text) ?? text;
}
