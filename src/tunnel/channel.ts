import { CerverError } from "../protocol/errors.js";
import { CLOSE } from "../protocol/tunnel.js";
import type { Logger } from "../util/logger.js";
import { BinaryWire } from "./binary-wire.js";
import type { FrameSocket } from "./frame-socket.js";
import { Heartbeat, type HeartbeatTimes } from "./heartbeat.js";
import { JsonWire } from "./json-wire.js";
import {
  type ChannelLimits,
  DEFAULT_LIMITS,
  type Serve,
  type ServeSmall,
  type SmallCall,
  type Wire,
} from "./wire.js";

export interface ChannelOptions {
  socket: FrameSocket;
  /** 2: binary frames between our own ends. 1: the public system's JSON frames. */
  level: 1 | 2;
  /** The gateway side asks, the relay side serves. */
  side: "gateway" | "relay";
  serve?: Serve;
  serveSmall?: ServeSmall | undefined;
  logger: Logger;
  /** What the peer is told it talks to, such as `cerver/1.2.3`. */
  software: string;
  heartbeat?: HeartbeatTimes;
  limits?: Partial<ChannelLimits>;
  /** A public relay's news of a session (level 1, gateway side). */
  onStreamEvent?: (event: { session_id: string; event: unknown }) => void;
}

/**
 * One end of a tunnel: `fetch` over one socket, many requests at once, bodies streamed both ways.
 *
 * A link that breaks never looks like an end: requests under way reject with `compute_lost`, and bodies that are being
 * read fail with it after what had arrived.
 */
export class Channel {
  readonly level: 1 | 2;
  /** Resolves when the channel is gone, with the websocket close code. */
  readonly closed: Promise<{ code: number; reason: string }>;
  readonly #socket: FrameSocket;
  readonly #wire: Wire;
  readonly #heartbeat: Heartbeat;
  #end: { code: number; reason: string } | undefined;

  constructor({
    socket,
    level,
    side,
    serve,
    serveSmall,
    logger,
    software,
    heartbeat,
    limits,
    onStreamEvent,
  }: ChannelOptions) {
    this.level = level;
    this.#socket = socket;
    const deps = {
      socket,
      side,
      serve: serve ?? refuseAll,
      serveSmall,
      logger,
      software,
      limits: { ...DEFAULT_LIMITS, ...limits },
      fail: (code: number, reason: string) => this.close(code, reason),
      onStreamEvent,
    };
    this.#wire = level === 2 ? new BinaryWire(deps) : new JsonWire(deps);
    this.#heartbeat = new Heartbeat({
      ...heartbeat,
      ping: () => this.#wire.ping(),
      onSilence: () => {
        this.#finish(CLOSE.silent, "the peer is silent");
        socket.terminate();
      },
    });
    let resolveClosed!: (end: { code: number; reason: string }) => void;
    this.closed = new Promise((resolve) => {
      resolveClosed = resolve;
    });
    this.#resolveClosed = resolveClosed;
    socket.open({
      message: (message) => {
        this.#heartbeat.heard();
        if (!this.#end) this.#wire.receive(message);
      },
      pong: () => this.#heartbeat.heard(),
      close: (code, reason) => this.#finish(code, reason),
    });
    if (!this.#end) this.#wire.start();
  }

  readonly #resolveClosed: (end: { code: number; reason: string }) => void;

  get isOpen(): boolean {
    return this.#end === undefined;
  }

  /** When the peer was last heard, in milliseconds since 1970. */
  get lastHeardAt(): number {
    return this.#heartbeat.lastHeardAt;
  }

  /** Whether the link is open and the peer not overdue. */
  get isAlive(): boolean {
    return this.isOpen && !this.#heartbeat.isOverdue;
  }

  /** What the peer said of itself; undefined on level 1 and before its hello. */
  get peer(): { software: string; version: number } | undefined {
    return this.#wire.peer;
  }

  /** Requests under way. */
  get streams(): number {
    return this.#wire.streams;
  }

  /** Asks the other end. Rejects with `compute_offline` when nothing was sent, with `compute_lost` when the link broke. */
  async fetch(request: Request): Promise<Response> {
    this.#refuseWhenClosed();
    return this.#wire.fetch(request);
  }

  /** {@link fetch} for a JSON body that is small and at hand. */
  async call(call: SmallCall): Promise<Response> {
    this.#refuseWhenClosed();
    if (this.#wire.call) return this.#wire.call(call);
    const { method, path, body, signal } = call;
    const headers = { "content-type": "application/json" };
    return this.#wire.fetch(
      new Request(`http://compute${path}`, {
        method,
        headers,
        signal,
        body: body as Uint8Array<ArrayBuffer>,
      }),
    );
  }

  #refuseWhenClosed(): void {
    if (!this.#end) return;
    throw new CerverError("compute_offline", "The link to this compute is closed.", {
      hint: "The relay comes back by itself; try again in some seconds.",
    });
  }

  /** Closes the link. Everything under way on it ends at once. */
  close(code: number = CLOSE.normal, reason = "closed"): void {
    if (this.#end) return;
    this.#socket.close(code, reason);
    this.#finish(code, reason);
  }

  #finish(code: number, reason: string): void {
    if (this.#end) return;
    this.#end = { code, reason };
    this.#heartbeat.stop();
    this.#wire.end(
      new CerverError(
        "compute_lost",
        `The link to the compute broke (${reason || `code ${code}`}), so the outcome is unknown.`,
        {
          hint: "Look on that machine before you run it again.",
        },
      ),
    );
    this.#resolveClosed(this.#end);
  }
}

const refuseAll: Serve = async () => {
  throw new CerverError("unsupported", "This end of the tunnel answers no requests.");
};
