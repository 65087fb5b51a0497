import type { FrameSocket, FrameSocketHandlers } from "./frame-socket.js";

/** So many messages are handed on before everything else that waits has its turn. */
const AT_ONCE = 64;

/** Two ends of a socket in memory: what one sends the other gets, in order and never while it sends. */
export function socketPair(): [FrameSocket, FrameSocket] {
  const ends: [End, End] = [new End(), new End()];
  ends[0].peer = ends[1];
  ends[1].peer = ends[0];
  return ends;
}

class End implements FrameSocket {
  peer!: End;
  readonly congested = false;
  #handlers: FrameSocketHandlers | undefined;
  #queue: ((handlers: FrameSocketHandlers) => void)[] = [];
  #scheduled = false;
  #handedOn = 0;
  #closed = false;

  open(handlers: FrameSocketHandlers): void {
    this.#handlers = handlers;
    this.#schedule();
  }

  send(message: string | Uint8Array): void {
    if (!this.#closed) this.peer.#deliver((handlers) => handlers.message(message));
  }

  ping(): void {
    if (!this.#closed) this.#deliver((handlers) => handlers.pong());
  }

  drained(): Promise<void> {
    return Promise.resolve();
  }

  close(code: number, reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.peer.#closed = true;
    this.#deliver((handlers) => handlers.close(code, reason));
    this.peer.#deliver((handlers) => handlers.close(code, reason));
  }

  terminate(): void {
    this.close(1006, "terminated");
  }

  #deliver(event: (handlers: FrameSocketHandlers) => void): void {
    this.#queue.push(event);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled || !this.#handlers) return;
    this.#scheduled = true;
    // A turn of the event loop costs as much as all the rest of a small request.
    if (this.#handedOn < AT_ONCE) return queueMicrotask(() => this.#handOn());
    setImmediate(() => {
      this.#handedOn = 0;
      this.#handOn();
    });
  }

  #handOn(): void {
    this.#scheduled = false;
    const events = this.#queue;
    this.#queue = [];
    if (this.#handedOn === 0) setImmediate(() => (this.#handedOn = 0));
    this.#handedOn += events.length;
    for (const event of events) event(this.#handlers!);
  }
}
