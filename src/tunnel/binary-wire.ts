import { CerverError } from "../protocol/errors.js";
import { CancelReason, CLOSE, Hello, RequestHead, ResponseHead } from "../protocol/tunnel.js";
import { knownBody, withKnownBody } from "../util/known-body.js";
import { parseJson } from "../util/parse-json.js";
import {
  decodeCredit,
  decodeFrame,
  decodeHead,
  encodeCredit,
  encodeFrame,
  encodeHead,
  type Frame,
  FrameType,
} from "./codec.js";
import { BodyReceiver, BodySender } from "./credit.js";
import { hasNoBody, respond } from "./serving.js";
import {
  INLINE_BODY_BYTES,
  MAX_CHUNK_BYTES,
  type SmallAnswer,
  type SmallCall,
  type Wire,
  type WireDeps,
} from "./wire.js";

const TUNNEL_VERSION = 2;
const JSON_HEADERS: [string, string][] = [["content-type", "application/json"]];
const NO_REQUEST = new Request("http://compute/");

/** One request and its response. The asking side awaits `response`, the serving side aborts `request`. */
interface Stream {
  id: number;
  inbound: BodyReceiver | undefined;
  outbound: BodySender;
  sentAll: boolean;
  receivedAll: boolean;
  response?: { resolve(response: Response): void; reject(error: unknown): void } | undefined;
  request?: AbortController;
  /** A `Request` holds what its signal follows, and nobody else does: without it an abort would not arrive. */
  held?: Request | undefined;
  /** Takes the abort listener off the caller's signal. */
  release?: () => void;
}

/** Wire level 2: binary frames, many streams, credit for each. See codec.ts for the layout. */
export class BinaryWire implements Wire {
  peer: { software: string; version: number } | undefined;
  readonly #deps: WireDeps;
  readonly #streams = new Map<number, Stream>();
  #lastId = 0;
  #window: number;

  constructor(deps: WireDeps) {
    this.#deps = deps;
    this.#window = deps.limits.windowBytes;
  }

  get streams(): number {
    return this.#streams.size;
  }

  start(): void {
    const { limits, software } = this.#deps;
    this.#sendJson(FrameType.hello, 0, {
      version: TUNNEL_VERSION,
      software,
      max_frame_bytes: limits.maxFrameBytes,
      window_bytes: limits.windowBytes,
    } satisfies Hello);
  }

  ping(): void {
    this.#deps.socket.send(encodeFrame(FrameType.ping, 0, false, new Uint8Array(0)));
  }

  async fetch(request: Request): Promise<Response> {
    const url = new URL(request.url);
    const head: RequestHead = {
      method: request.method,
      path: url.pathname + url.search,
      headers: [...request.headers],
    };
    const inline = knownBody(request) ?? (await inlineBody(request));
    return this.#ask(head, inline, request.body, request.signal, request);
  }

  call({ method, path, body, signal }: SmallCall): Promise<Response> {
    return this.#ask({ method, path, headers: JSON_HEADERS }, body, null, signal);
  }

  async #ask(
    head: RequestHead,
    inline: Uint8Array | undefined,
    body: ReadableStream<Uint8Array> | null,
    signal: AbortSignal,
    held?: Request,
  ): Promise<Response> {
    signal.throwIfAborted();
    const { limits } = this.#deps;
    if (this.#streams.size >= limits.maxStreams) {
      throw new CerverError(
        "too_many_requests",
        `This compute has ${limits.maxStreams} requests under way.`,
        {
          hint: "Wait until some of them have ended.",
        },
      );
    }
    const stream = this.#open(this.#nextId());
    stream.held = held;
    return new Promise<Response>((resolve, reject) => {
      stream.response = { resolve, reject };
      const onAbort = () => this.#abort(stream, signal.reason);
      signal.addEventListener("abort", onAbort, { once: true });
      stream.release = () => signal.removeEventListener("abort", onAbort);
      this.#sendMessage(stream, FrameType.request, head, inline, body);
    });
  }

  receive(message: string | Uint8Array): void {
    const { limits, fail, logger } = this.#deps;
    if (typeof message === "string") return fail(CLOSE.protocolError, "text on a binary tunnel");
    if (message.length > limits.maxFrameBytes) return fail(CLOSE.tooLarge, "a frame is too large");
    const frame = decodeFrame(message);
    if (!frame) return fail(CLOSE.protocolError, "a message is too short to be a frame");
    switch (frame.type) {
      case FrameType.data:
        return this.#onData(frame);
      case FrameType.credit:
        return this.#onCredit(frame);
      case FrameType.response:
        return this.#onResponse(frame);
      case FrameType.request:
        return this.#onRequest(frame);
      case FrameType.cancel:
        return this.#onCancel(frame);
      case FrameType.ping:
        return this.#deps.socket.send(encodeFrame(FrameType.pong, 0, false, frame.payload));
      case FrameType.pong:
        return;
      case FrameType.hello:
        return this.#onHello(frame);
      default:
        // A newer peer may send more kinds of frames; what it needs an answer to, it negotiates in its hello.
        logger.debug({ type: frame.type }, "a frame of an unknown type was left out");
    }
  }

  end(error: Error): void {
    for (const stream of [...this.#streams.values()]) this.#finish(stream, error);
  }

  #nextId(): number {
    do this.#lastId = (this.#lastId % 0xffffffff) + 1;
    while (this.#streams.has(this.#lastId));
    return this.#lastId;
  }

  #open(id: number): Stream {
    const stream: Stream = {
      id,
      inbound: undefined,
      outbound: new BodySender(this.#window, MAX_CHUNK_BYTES, this.#deps.socket),
      sentAll: false,
      receivedAll: false,
    };
    this.#streams.set(id, stream);
    return stream;
  }

  /** Sends a head, with its body if that is at hand, else followed by the body as it comes. */
  #sendMessage(
    stream: Stream,
    type: number,
    head: object,
    inline: Uint8Array | undefined,
    body: ReadableStream<Uint8Array> | null,
  ): void {
    const complete = inline !== undefined || body === null;
    this.#deps.socket.send(encodeHead(type, stream.id, complete, head, inline));
    if (complete) return this.#sent(stream);
    stream.outbound
      .send(body, (bytes, end) => {
        this.#deps.socket.send(encodeFrame(FrameType.data, stream.id, end, bytes));
        if (end) this.#sent(stream);
      })
      .catch((error: unknown) => this.#abort(stream, error));
  }

  #onResponse(frame: Frame): void {
    const stream = this.#streams.get(frame.streamId);
    if (!stream) return;
    const message = decodeHead(frame.payload, this.#deps.limits.maxHeadBytes);
    const head = ResponseHead.safeParse(message?.head);
    if (!message || !head.success || !stream.response)
      return this.#violation(stream, "a response is malformed");
    const { resolve } = stream.response;
    stream.response = undefined;
    const { status, headers } = head.data;
    if (frame.end) {
      stream.receivedAll = true;
      const bytes = hasNoBody(status) ? null : bodyBytes(message.body);
      const response = new Response(bytes, { status, headers });
      resolve(bytes ? withKnownBody(response, bytes) : response);
      return this.#settle(stream);
    }
    stream.inbound = this.#receiver(stream);
    resolve(new Response(stream.inbound.stream, { status, headers }));
    if (message.body.length > 0) this.#push(stream, stream.inbound, message.body);
  }

  #onRequest(frame: Frame): void {
    const { logger, limits } = this.#deps;
    const { streamId: id } = frame;
    if (this.#streams.has(id)) return this.#violation(this.#streams.get(id)!, "a stream id is in use");
    if (this.#deps.side !== "relay") return this.#refuse(id, "unsupported", "This end answers no requests.");
    if (this.#streams.size >= limits.maxStreams)
      return this.#refuse(id, "too_many_requests", "Too many requests at once.");
    const message = decodeHead(frame.payload, limits.maxHeadBytes);
    const head = RequestHead.safeParse(message?.head);
    if (!message || !head.success)
      return this.#refuse(id, "invalid_request", "The head of the request is malformed.");
    const stream = this.#open(id);
    const abort = new AbortController();
    stream.request = abort;
    const { method, path, headers } = head.data;
    if (frame.end) {
      const answer = this.#deps.serveSmall?.({ method, path, body: message.body, signal: abort.signal });
      if (answer) {
        stream.receivedAll = true;
        void this.#answerSmall(stream, answer);
        return;
      }
    }
    let body: ReadableStream<Uint8Array> | Buffer | null = null;
    if (frame.end) {
      stream.receivedAll = true;
      if (message.body.length > 0) body = message.body;
    } else {
      stream.inbound = this.#receiver(stream);
      body = stream.inbound.stream;
      if (message.body.length > 0) this.#push(stream, stream.inbound, message.body);
    }
    let request: Request;
    try {
      request = new Request(`http://compute${path}`, {
        method,
        headers,
        signal: abort.signal,
        ...(body && { body: Buffer.isBuffer(body) ? bodyBytes(body) : body, duplex: "half" }),
      } as RequestInit);
    } catch {
      this.#streams.delete(id);
      return this.#refuse(id, "invalid_request", "The request is malformed.");
    }
    stream.held = request;
    if (Buffer.isBuffer(body)) withKnownBody(request, body);
    logger.debug({ stream: id, method }, "request through the tunnel");
    void this.#answer(stream, request);
  }

  async #answerSmall(stream: Stream, pending: Promise<SmallAnswer>): Promise<void> {
    let large: Response | undefined;
    try {
      const { status, headers, body } = await pending;
      if (body.length <= INLINE_BODY_BYTES) {
        if (this.#streams.has(stream.id))
          this.#sendMessage(stream, FrameType.response, { status, headers }, body, null);
        return;
      }
      large = new Response(body as Uint8Array<ArrayBuffer>, { status, headers });
    } catch (error) {
      large = await respond(() => Promise.reject(error), NO_REQUEST, this.#deps.logger);
    }
    await this.#respond(stream, large);
  }

  async #answer(stream: Stream, request: Request): Promise<void> {
    await this.#respond(stream, await respond(this.#deps.serve, request, this.#deps.logger));
  }

  async #respond(stream: Stream, response: Response): Promise<void> {
    if (!this.#streams.has(stream.id)) {
      await response.body?.cancel().catch(() => {});
      return;
    }
    const head: ResponseHead = { status: response.status, headers: [...response.headers] };
    try {
      const inline = knownBody(response) ?? (await inlineBody(response));
      this.#sendMessage(stream, FrameType.response, head, inline, response.body);
    } catch (error) {
      this.#abort(stream, error);
    }
  }

  #receiver(stream: Stream): BodyReceiver {
    return new BodyReceiver({
      windowBytes: this.#deps.limits.windowBytes,
      grant: (bytes) => this.#deps.socket.send(encodeCredit(stream.id, bytes)),
      cancelled: (reason) => {
        // A server may answer without reading the whole request; an asker that stops reading wants the rest no more.
        if (this.#deps.side === "gateway") this.#abort(stream, reason);
      },
    });
  }

  #onData(frame: Frame): void {
    const stream = this.#streams.get(frame.streamId);
    // What was on its way when a stream was cancelled arrives after it.
    if (!stream) return;
    if (!stream.inbound || stream.receivedAll) return this.#violation(stream, "data without a body");
    if (!this.#push(stream, stream.inbound, frame.payload)) return;
    if (!frame.end) return;
    stream.receivedAll = true;
    stream.inbound.end();
    this.#settle(stream);
  }

  #push(stream: Stream, inbound: BodyReceiver, bytes: Buffer): boolean {
    if (inbound.push(bytes)) return true;
    this.#violation(stream, "more data than was granted");
    return false;
  }

  #onCredit(frame: Frame): void {
    const stream = this.#streams.get(frame.streamId);
    if (!stream) return;
    const bytes = decodeCredit(frame.payload);
    if (bytes === undefined) return this.#violation(stream, "a credit is malformed");
    stream.outbound.grant(bytes);
  }

  #onCancel(frame: Frame): void {
    const stream = this.#streams.get(frame.streamId);
    if (!stream) return;
    const reason = CancelReason.safeParse(parseJson(frame.payload.toString("utf8")));
    const { code, message } = reason.success
      ? reason.data
      : { code: "cancelled", message: "The peer ended this." };
    // Who serves hears that the asker has gone, unless it may come back; who asks hears why there is no answer.
    const gone = stream.request && code !== "compute_lost";
    this.#finish(stream, gone ? new DOMException(message, "AbortError") : cancelError(code, message));
  }

  #onHello(frame: Frame): void {
    const hello = Hello.safeParse(parseJson(frame.payload.toString("utf8")));
    if (!hello.success) return this.#deps.fail(CLOSE.protocolError, "the hello is malformed");
    this.peer = { software: hello.data.software, version: hello.data.version };
    this.#window = Math.min(this.#deps.limits.windowBytes, hello.data.window_bytes);
  }

  /** This side ends a stream: the peer is told, and everything that hangs on it here stops. */
  #abort(stream: Stream, reason: unknown): void {
    if (this.#streams.get(stream.id) !== stream) return;
    const known = reason instanceof CerverError ? reason : undefined;
    this.#refuse(stream.id, known?.code ?? "cancelled", known?.message ?? "The other side ended this.");
    this.#finish(stream, reason instanceof Error ? reason : new Error(String(reason)));
  }

  /** The peer broke the rules inside one stream: that stream ends, the others go on. */
  #violation(stream: Stream, what: string): void {
    this.#deps.logger.warn({ stream: stream.id, what }, "a stream was ended for breaking the tunnel's rules");
    this.#abort(stream, new CerverError("compute_lost", `The tunnel's rules were broken: ${what}.`));
  }

  #refuse(id: number, code: string, message: string): void {
    this.#sendJson(FrameType.cancel, id, { code, message } satisfies CancelReason);
  }

  #finish(stream: Stream, error: Error): void {
    this.#streams.delete(stream.id);
    stream.release?.();
    stream.response?.reject(error);
    stream.inbound?.fail(error);
    // Who serves is told why before its body is cancelled: a link that broke is not an asker who has gone.
    stream.request?.abort(error);
    stream.outbound.cancel(error);
  }

  #sent(stream: Stream): void {
    stream.sentAll = true;
    this.#settle(stream);
  }

  /** A stream is over when both directions are, and the serving side's when it has answered. */
  #settle(stream: Stream): void {
    const answered = this.#deps.side === "relay" ? stream.sentAll : stream.receivedAll;
    if (!answered) return;
    this.#streams.delete(stream.id);
    stream.release?.();
    // What is left of a request that was answered early is of no use to anybody.
    if (!stream.sentAll) stream.outbound.cancel();
    if (!stream.receivedAll)
      stream.inbound?.fail(new CerverError("internal", "The request was answered already."));
  }

  #sendJson(type: number, streamId: number, value: object): void {
    this.#deps.socket.send(encodeFrame(type, streamId, false, Buffer.from(JSON.stringify(value))));
  }
}

/** The whole body when it is known to be small; undefined when it has to be streamed. */
async function inlineBody(message: Request | Response): Promise<Uint8Array | undefined> {
  if (!message.body) return undefined;
  const length = message.headers.get("content-length");
  if (length === null || Number(length) > INLINE_BODY_BYTES) return undefined;
  return new Uint8Array(await message.arrayBuffer());
}

/** TypeScript tells views of shared memory apart from others; these never are. */
function bodyBytes(bytes: Buffer): Uint8Array<ArrayBuffer> {
  return bytes as Uint8Array<ArrayBuffer>;
}

function cancelError(code: string, message: string): Error {
  return CerverError.fromBody(502, { error: message, code: code === "cancelled" ? "compute_lost" : code });
}
