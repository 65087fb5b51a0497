/** One server-sent event. */
export interface ServerSentEvent {
  id: string | undefined;
  event: string;
  data: string;
}

/** A longer event is an error: the reader's memory is bounded. */
const MAX_EVENT_LENGTH = 16 * 1024 * 1024;

/** Reads server-sent events by the rules of the standard (WHATWG HTML, section 9.2.6), however the bytes are cut. */
export async function* readEventStream(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerSentEvent> {
  const decoder = new TextDecoder();
  const parser = new EventParser();
  const reader = body.getReader();
  let complete = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      yield* parser.push(decoder.decode(value, { stream: true }));
    }
    complete = true;
    // An event that is not ended by an empty line is not an event.
  } finally {
    if (!complete) await reader.cancel().catch(() => {});
  }
}

class EventParser {
  #rest = "";
  #data: string[] = [];
  #length = 0;
  #event = "";
  #id: string | undefined;
  #skipNewline = false;

  *push(text: string): Generator<ServerSentEvent> {
    let chunk = this.#rest + text;
    // A CR ends a line; an LF that follows it, perhaps in the next chunk, belongs to it.
    if (this.#skipNewline && chunk.startsWith("\n")) chunk = chunk.slice(1);
    if (chunk !== "") this.#skipNewline = false;
    let from = 0;
    for (let at = nextBreak(chunk, 0); at >= 0; at = nextBreak(chunk, from)) {
      const line = chunk.slice(from, at);
      from = at + 1;
      if (chunk[at] === "\r") {
        if (from === chunk.length) this.#skipNewline = true;
        else if (chunk[from] === "\n") from++;
      }
      const event = this.#line(line);
      if (event) yield event;
    }
    this.#rest = chunk.slice(from);
    if (this.#rest.length > MAX_EVENT_LENGTH) throw new RangeError("a server-sent event is too long");
  }

  #line(line: string): ServerSentEvent | undefined {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    if (colon === 0) return undefined;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "data") {
      this.#length += value.length;
      if (this.#length > MAX_EVENT_LENGTH) throw new RangeError("a server-sent event is too long");
      this.#data.push(value);
    } else if (field === "event") this.#event = value;
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    return undefined;
  }

  #dispatch(): ServerSentEvent | undefined {
    const event = { id: this.#id, event: this.#event || "message", data: this.#data.join("\n") };
    const empty = this.#data.length === 0;
    this.#data = [];
    this.#length = 0;
    this.#event = "";
    return empty ? undefined : event;
  }
}

function nextBreak(text: string, from: number): number {
  const lf = text.indexOf("\n", from);
  const cr = text.indexOf("\r", from);
  return lf < 0 || (cr >= 0 && cr < lf) ? cr : lf;
}
