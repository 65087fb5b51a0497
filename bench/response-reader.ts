export interface ResponseHead {
  status: number;
  headers: Map<string, string>;
}

const EMPTY = Buffer.alloc(0);

/**
 * Reads one HTTP/1.1 response (RFC 9112) after another off the bytes of a connection: status line and headers, then a
 * body by its length, by chunks, or up to the end of the connection. The slices of a body are handed on uncopied.
 */
export class ResponseReader {
  readonly #on: { data(slice: Buffer): void; end(head: ResponseHead): void };
  #state: "head" | "sized" | "size" | "chunk" | "after-chunk" | "trailer" | "to-the-end" = "head";
  #head: ResponseHead = { status: 0, headers: new Map() };
  #left = 0;
  /** The beginning of a line whose end has not come. */
  #rest: Buffer = EMPTY;

  constructor(on: { data(slice: Buffer): void; end(head: ResponseHead): void }) {
    this.#on = on;
  }

  /** The connection has ended. True when that is the end of a response, and not the middle of one. */
  close(): boolean {
    if (this.#state === "to-the-end") this.#end();
    return this.#state === "head" && this.#rest.length === 0;
  }

  push(bytes: Buffer): void {
    const data = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    this.#rest = EMPTY;
    let at = 0;
    const until = (mark: string): string | undefined => {
      const end = data.indexOf(mark, at, "latin1");
      if (end < 0) {
        this.#rest = data.subarray(at);
        return undefined;
      }
      const text = data.toString("latin1", at, end);
      at = end + mark.length;
      return text;
    };
    while (at < data.length) {
      switch (this.#state) {
        case "head": {
          const head = until("\r\n\r\n");
          if (head === undefined) return;
          this.#begin(head);
          break;
        }
        case "size": {
          const line = until("\r\n");
          if (line === undefined) return;
          this.#left = Number.parseInt(line, 16);
          if (!(this.#left >= 0)) throw new Error(`a chunk has the size ${JSON.stringify(line)}`);
          this.#state = this.#left === 0 ? "trailer" : "chunk";
          break;
        }
        case "after-chunk": {
          const line = until("\r\n");
          if (line === undefined) return;
          if (line !== "") throw new Error("a chunk is longer than its size");
          this.#state = "size";
          break;
        }
        case "trailer": {
          const line = until("\r\n");
          if (line === undefined) return;
          if (line === "") this.#end();
          break;
        }
        case "to-the-end":
          this.#on.data(data.subarray(at));
          return;
        case "sized":
        case "chunk": {
          const slice = data.subarray(at, at + this.#left);
          at += slice.length;
          this.#left -= slice.length;
          this.#on.data(slice);
          if (this.#left > 0) break;
          if (this.#state === "chunk") this.#state = "after-chunk";
          else this.#end();
        }
      }
    }
  }

  #begin(head: string): void {
    const [statusLine, ...lines] = head.split("\r\n");
    const status = /^HTTP\/1\.[01] (\d{3})/.exec(statusLine!)?.[1];
    if (status === undefined) throw new Error(`not an HTTP/1.1 response: ${statusLine}`);
    const headers = new Map<string, string>();
    for (const line of lines) {
      const colon = line.indexOf(":");
      headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
    }
    this.#head = { status: Number(status), headers };
    // An interim response; the real one follows.
    if (status.startsWith("1") && status !== "101") return;
    const length = headers.get("content-length");
    if (headers.get("transfer-encoding")?.toLowerCase() === "chunked") this.#state = "size";
    else if (length !== undefined) {
      this.#left = Number(length);
      this.#state = "sized";
      if (this.#left === 0) this.#end();
    } else if (status === "204" || status === "304") this.#end();
    else this.#state = "to-the-end";
  }

  #end(): void {
    this.#state = "head";
    this.#on.end(this.#head);
  }
}
