const CLOSE = 8;

/** Reads the frames that a websocket server sends (RFC 6455, section 5.2); those are not masked. */
export class FrameReader {
  readonly #on: { payload(slice: Buffer): void; close(): void };
  #rest: Buffer = Buffer.alloc(0);
  #opcode = 0;
  #left = 0;

  constructor(on: { payload(slice: Buffer): void; close(): void }) {
    this.#on = on;
  }

  get isWithinFrame(): boolean {
    return this.#left > 0 || this.#rest.length > 0;
  }

  push(bytes: Buffer): void {
    let data = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    this.#rest = Buffer.alloc(0);
    while (data.length > 0) {
      if (this.#left === 0) {
        const header = headerOf(data);
        if (!header) {
          this.#rest = data;
          return;
        }
        this.#opcode = header.opcode;
        this.#left = header.length;
        data = data.subarray(header.size);
        if (this.#opcode === CLOSE) return this.#on.close();
      }
      const slice = data.subarray(0, this.#left);
      this.#left -= slice.length;
      data = data.subarray(slice.length);
      if (this.#opcode < CLOSE && slice.length > 0) this.#on.payload(slice);
    }
  }
}

function headerOf(data: Buffer): { opcode: number; length: number; size: number } | undefined {
  if (data.length < 2) return undefined;
  const opcode = data[0]! & 0x0f;
  const short = data[1]! & 0x7f;
  const size = short < 126 ? 2 : short === 126 ? 4 : 10;
  if (data.length < size) return undefined;
  const length = size === 2 ? short : size === 4 ? data.readUInt16BE(2) : Number(data.readBigUInt64BE(2));
  return { opcode, length, size };
}
