/** What a {@link FrameSocket} tells its owner. */
export interface FrameSocketHandlers {
  /** One whole message: text on wire level 1, bytes on level 2. */
  message(data: string | Uint8Array): void;
  /** The peer answered a {@link FrameSocket.ping}. */
  pong(): void;
  /** The socket is gone. Called exactly once; nothing follows. */
  close(code: number, reason: string): void;
}

/** A message socket, whatever carries it: a `ws` websocket, a pair in memory, a pair of NATS subjects. */
export interface FrameSocket {
  /** Starts delivery. Messages that came before are kept and delivered first. Called once. */
  open(handlers: FrameSocketHandlers): void;
  /** Queues one message. After the close it does nothing. */
  send(message: string | Uint8Array): void;
  /** Asks for a sign of life below the level of messages. */
  ping(): void;
  /** Whether so much is queued that senders should wait for {@link drained}. */
  readonly congested: boolean;
  /** Resolves when the queue is short again, and when the socket closes. */
  drained(): Promise<void>;
  /** Ends the socket with a websocket close code (RFC 6455, section 7.4), after what is queued. */
  close(code: number, reason: string): void;
  /** Ends it at once. */
  terminate(): void;
}
