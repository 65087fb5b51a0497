import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
} from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { CALL_HEADER, CALLS_PATH } from "../../protocol/direct.js";
import { CerverError } from "../../protocol/errors.js";
import { newId } from "../../protocol/ids.js";
import { CLOSE } from "../../protocol/tunnel.js";
import type { Link } from "../../tunnel/hub.js";
import type { SmallCall } from "../../tunnel/wire.js";
import { knownBody } from "../../util/known-body.js";
import { wordsOf } from "../../util/words-of.js";

/** How long a connection may take to be made. */
const CONNECT_TIMEOUT_MS = 10_000;
/** How long telling the other end that a call is over may take. */
const CANCEL_TIMEOUT_MS = 2_000;
/** An idle connection is kept this long, less than servers keep theirs. */
const IDLE_MS = 4_000;
/** The other end is asked by the system whether it still is there after this long a silence. */
const TCP_KEEP_ALIVE_MS = 15_000;
/** Calls under way at once: fewer than the connections that a relay takes, so that ending one always finds one. */
const MAX_CALLS = 900;

export interface DirectLinkOptions {
  /** `http:` or `https:`, with a path before the surface's own if need be; no slash at its end. */
  baseUrl: string;
  token: string | undefined;
  /** What the other end speaks: 1 for a local server of the public system. */
  level?: 1 | 2;
}

interface Call {
  method: string;
  path: string;
  headers: Record<string, string>;
  body: Uint8Array | ReadableStream<Uint8Array> | undefined;
  signal: AbortSignal;
}

/**
 * The straight way to a relay that listens: plain HTTP requests with a bearer token, bodies streamed both ways.
 *
 * A connection that cannot be made is `compute_offline`. One that breaks once the request may have arrived is
 * `compute_lost`. A redirect is refused, so that the token goes nowhere else. A caller who leaves is told to the other
 * end by its name, so that there a broken connection is not taken for one.
 */
export class DirectLink implements Link {
  readonly level: 1 | 2;
  readonly closed: Promise<{ code: number; reason: string }>;
  readonly #base: URL;
  readonly #token: string | undefined;
  readonly #agent: HttpAgent;
  readonly #calls = new Set<(error: CerverError) => void>();
  readonly #resolveClosed: (end: { code: number; reason: string }) => void;
  /** Hears that a call found nobody there. */
  onTrouble: () => void = () => {};
  #isOpen = true;

  constructor({ baseUrl, token, level = 2 }: DirectLinkOptions) {
    this.level = level;
    this.#base = new URL(baseUrl);
    this.#token = token;
    const Agent = this.#base.protocol === "https:" ? HttpsAgent : HttpAgent;
    this.#agent = new Agent({ keepAlive: true, timeout: IDLE_MS, maxFreeSockets: 32 });
    let resolveClosed!: (end: { code: number; reason: string }) => void;
    this.closed = new Promise((resolve) => {
      resolveClosed = resolve;
    });
    this.#resolveClosed = resolveClosed;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  get isAlive(): boolean {
    return this.#isOpen;
  }

  async fetch(request: Request): Promise<Response> {
    const { pathname, search } = new URL(request.url);
    return this.#ask({
      method: request.method,
      path: pathname + search,
      headers: Object.fromEntries(request.headers),
      body: knownBody(request) ?? request.body ?? undefined,
      signal: request.signal,
    });
  }

  async call({ method, path, body, signal }: SmallCall): Promise<Response> {
    return this.#ask({ method, path, headers: { "content-type": "application/json" }, body, signal });
  }

  /** Ends everything under way, as lost. */
  close(code: number = CLOSE.normal, reason = "closed"): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    for (const lose of [...this.#calls]) lose(lost(reason));
    this.#agent.destroy();
    this.#resolveClosed({ code, reason });
  }

  async #ask(call: Call): Promise<Response> {
    if (!this.#isOpen) throw offline("the link to it is closed");
    if (this.#calls.size >= MAX_CALLS) throw full();
    call.signal.throwIfAborted();
    const id = newId("req");
    const request = this.#request(call.method, call.path, { ...call.headers, [CALL_HEADER]: id });
    const ended = new AbortController();
    const lose = (error: CerverError) => {
      ended.abort(error);
      request.destroy(error);
    };
    const leave = (reason: unknown) => {
      ended.abort(reason);
      void this.#tellEnd(id).finally(() => request.destroy());
    };
    const onAbort = () => leave(call.signal.reason);
    this.#calls.add(lose);
    call.signal.addEventListener("abort", onAbort, { once: true });
    // A request is over when its answer has been read to its end, or was given up.
    request.once("close", () => {
      this.#calls.delete(lose);
      call.signal.removeEventListener("abort", onAbort);
    });
    const answer = await this.#answer(request, call, ended.signal);
    return this.#response(answer, ended.signal, () => leave(new Error("nobody reads the answer any more")));
  }

  #request(method: string, path: string, headers: Record<string, string>): ClientRequest {
    const send = this.#base.protocol === "https:" ? httpsRequest : httpRequest;
    const prefix = this.#base.pathname.replace(/\/+$/, "");
    return send({
      protocol: this.#base.protocol,
      // An address of IPv6 stands in brackets in a URL only.
      hostname: this.#base.hostname.replace(/^\[|\]$/g, ""),
      port: this.#base.port,
      path: prefix + path,
      method,
      headers: { ...headers, ...(this.#token && { authorization: `Bearer ${this.#token}` }) },
      agent: this.#agent,
    });
  }

  /** The head of the answer. */
  async #answer(request: ClientRequest, { body }: Call, ended: AbortSignal): Promise<IncomingMessage> {
    let maySent = false;
    const timer = setTimeout(
      () => request.destroy(new Error("the connection was not made in time")),
      CONNECT_TIMEOUT_MS,
    );
    request.once("socket", (socket) => {
      const connected = () => {
        maySent = true;
        clearTimeout(timer);
        socket.setKeepAlive(true, TCP_KEEP_ALIVE_MS);
      };
      if (!socket.connecting) connected();
      else socket.once(this.#base.protocol === "https:" ? "secureConnect" : "connect", connected);
    });
    try {
      return await new Promise<IncomingMessage>((resolve, reject) => {
        request.once("response", resolve);
        // Errors that come later are those of the answer's body.
        request.on("error", reject);
        request.once("close", () => reject(new Error("the connection was closed")));
        ended.addEventListener("abort", () => reject(ended.reason), { once: true });
        send(request, body).catch(reject);
      });
    } catch (error) {
      // Who ended the call ends its connection, once the other end knows why.
      if (ended.aborted) throw ended.reason;
      request.destroy();
      this.onTrouble();
      throw maySent ? lost(wordsOf(error), error) : offline(wordsOf(error), error);
    } finally {
      clearTimeout(timer);
    }
  }

  async #response(answer: IncomingMessage, ended: AbortSignal, leave: () => void): Promise<Response> {
    const status = answer.statusCode ?? 0;
    if (status >= 300 && status < 400) {
      answer.destroy();
      throw new CerverError("provider_failed", `The relay at ${this.#base.host} answered with a redirect.`, {
        hint: "Give P69_BASE_URL the address it leads to: a token is not sent on to another place.",
      });
    }
    if (status === 401) throw this.#refused(answer);
    answer.on("error", () => {});
    const chunks = answer[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    const body = new ReadableStream<Uint8Array>(
      {
        start(controller) {
          // A call that was ended breaks its answer at once, also while nobody reads it.
          ended.addEventListener("abort", () => controller.error(ended.reason), { once: true });
        },
        async pull(controller) {
          try {
            const { done, value } = await chunks.next();
            if (ended.aborted) return;
            if (done) controller.close();
            else controller.enqueue(value);
          } catch (error) {
            if (!ended.aborted) controller.error(lost(wordsOf(error), error));
          }
        },
        cancel: leave,
      },
      { highWaterMark: 0 },
    );
    const headers = new Headers();
    for (let i = 0; i < answer.rawHeaders.length; i += 2)
      headers.append(answer.rawHeaders[i]!, answer.rawHeaders[i + 1]!);
    const empty = status === 204 || status === 304;
    if (empty) answer.resume();
    return new Response(empty ? null : body, { status, headers });
  }

  /** The relay does not take our token: that is the gateway's trouble, and not that of its caller's token. */
  #refused(answer: IncomingMessage): CerverError {
    answer.on("error", () => {}).destroy();
    return new CerverError(
      "credentials_refused",
      `The relay at ${this.#base.host} refused this gateway's token.`,
      { hint: "P69_API_TOKEN of the gateway has to be the relay's own.", details: { vendor_status: 401 } },
    );
  }

  /** Tells the other end that nobody waits for a call any more. When that is not possible, the broken connection says it. */
  #tellEnd(id: string): Promise<void> {
    return new Promise((resolve) => {
      const request = this.#request("DELETE", `${CALLS_PATH}/${id}`, {});
      const timer = setTimeout(() => request.destroy(), CANCEL_TIMEOUT_MS);
      request.on("error", () => {});
      request.once("response", (answer) => answer.resume());
      request.once("close", () => {
        clearTimeout(timer);
        resolve();
      });
      request.end();
    });
  }
}

async function send(request: ClientRequest, body: Call["body"]): Promise<void> {
  if (body === undefined) request.end();
  else if (body instanceof Uint8Array) {
    request.setHeader("content-length", body.byteLength);
    request.end(body);
  } else {
    await pipeline(Readable.fromWeb(body as import("node:stream/web").ReadableStream), request);
  }
}

function offline(why: string, cause?: unknown): CerverError {
  return new CerverError("compute_offline", `The relay cannot be reached: ${why}.`, {
    hint: "Start it with `cerver relay --listen` on that machine, and look at P69_BASE_URL.",
    cause,
  });
}

function full(): CerverError {
  return new CerverError(
    "relay_full",
    `${MAX_CALLS} calls of this compute are under way, as many as it takes.`,
    {
      hint: "Try again when some have ended.",
      details: { retry_after_ms: 1_000 },
    },
  );
}

function lost(why: string, cause?: unknown): CerverError {
  return new CerverError(
    "compute_lost",
    `The connection to the relay broke (${why}), so the outcome is unknown.`,
    { hint: "Look on that machine before you run it again.", cause },
  );
}
