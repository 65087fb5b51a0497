import type { EventStore, JSONRPCMessage } from "@modelcontextprotocol/server";

interface LoggedEvent {
  connection: string;
  stream: string;
  /** The message as JSON. */
  json: string;
}

/**
 * What connections were sent of late, so that a client whose stream broke gets the rest of it by `Last-Event-ID`. It is in
 * memory and bounded for all connections together: when it is full, the oldest events go.
 */
export class EventLog {
  readonly #events = new Map<string, LoggedEvent>();
  readonly #maxEvents: number;
  readonly #maxLength: number;
  /** Characters of JSON that are held. */
  #length = 0;
  #last = 0;

  constructor({ maxEvents, maxLength }: { maxEvents: number; maxLength: number }) {
    this.#maxEvents = maxEvents;
    this.#maxLength = maxLength;
  }

  /** The log as one connection sees it: another's events do not exist for it. */
  of(connection: string): EventStore {
    return {
      storeEvent: async (stream, message) => this.#add({ connection, stream, json: JSON.stringify(message) }),
      getStreamIdForEventId: async (id) => {
        const event = this.#events.get(id);
        return event?.connection === connection ? event.stream : undefined;
      },
      replayEventsAfter: async (lastId, { send }) => {
        const stream = this.#events.get(lastId)?.stream;
        if (stream === undefined) throw new Error(`The event ${lastId} is no longer kept.`);
        for (const [id, event] of this.#events) {
          const isLater = Number(id) > Number(lastId);
          if (isLater && event.connection === connection && event.stream === stream)
            await send(id, JSON.parse(event.json) as JSONRPCMessage);
        }
        return stream;
      },
    };
  }

  /** Drops what a connection was sent, once nobody can ask for it. */
  forget(connection: string): void {
    for (const [id, event] of this.#events) if (event.connection === connection) this.#drop(id, event);
  }

  #add(event: LoggedEvent): string {
    const id = String(++this.#last);
    this.#events.set(id, event);
    this.#length += event.json.length;
    for (const [oldest, old] of this.#events) {
      if (this.#events.size <= this.#maxEvents && this.#length <= this.#maxLength) break;
      this.#drop(oldest, old);
    }
    return id;
  }

  #drop(id: string, { json }: LoggedEvent): void {
    this.#events.delete(id);
    this.#length -= json.length;
  }
}
