const bodies = new WeakMap<Request | Response, Uint8Array>();

/**
 * Remembers the bytes a message was made from, for whoever sends or parses it: reading them back out of its stream costs
 * several turns of the event loop.
 */
export function withKnownBody<M extends Request | Response>(message: M, bytes: Uint8Array): M {
  bodies.set(message, bytes);
  return message;
}

/** The bytes of a message that was made by {@link withKnownBody}. */
export function knownBody(message: Request | Response): Uint8Array | undefined {
  return bodies.get(message);
}
