import type { FrameSocket, FrameSocketHandlers } from "./frame-socket.js";

/** Two ends of a socket in memory: what one sends the other gets, in order and never in the same turn. */
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
    setImmediate(() => {
      this.#scheduled = false;
      const events = this.#queue;
      this.#queue = [];
      for (const event of events) event(this.#handlers!);
    });
  }
}
