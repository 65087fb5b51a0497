/** What a {@link FrameSocket} tells its owner. */
export interface FrameSocketHandlers {
  /** One whole message: text on wire level 1, bytes on level 2. */
  message(data: string | Uint8Array): void;
  /** The socket is gone. Called exactly once; nothing follows. */
  close(code: number, reason: string): void;
}

/** A message socket, whatever carries it: a `ws` websocket, a pair in memory, a pair of NATS subjects. */
export interface FrameSocket {
  /** Starts delivery. Messages that came before are kept and delivered first. Called once. */
  open(handlers: FrameSocketHandlers): void;
  /** Queues one message. After the close it does nothing. */
  send(message: string | Uint8Array): void;
  /** Bytes queued here and not yet taken by the system. */
  readonly bufferedBytes: number;
  /** Ends the socket with a websocket close code (RFC 6455, section 7.4). */
  close(code: number, reason: string): void;
  /** Ends it without waiting for the peer. */
  terminate(): void;
}
