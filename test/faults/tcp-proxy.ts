import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

export type Direction = "up" | "down";

/** How a connection is broken: by a reset, or by an orderly end in the middle of what was being said. */
export type BreakKind = "reset" | "end";

export interface Cut {
  /** This many bytes still pass, counted over the given directions; the byte after them does not. */
  afterBytes: number;
  directions: readonly Direction[];
  kind: BreakKind;
}

/** What is recorded of a connection, to be said again by a duplicate of it. */
const RECORDED_BYTES = 8 * 1024;
/** This much waits inside for each direction; more stays in the sockets, as on a real path that is stuck. */
const HELD_BYTES = 256 * 1024;

const BOTH: readonly Direction[] = ["up", "down"];

/**
 * A path between two ends that can be made bad. `up` is from whoever dials to the target.
 *
 * Faults last until they are over or {@link heal} ends them; then bytes pass as they come.
 */
export class TcpProxy {
  readonly #server: Server;
  readonly #links = new Set<Link>();
  /** Sockets to the target that have no caller behind them: halves and duplicates. */
  readonly #orphans = new Set<Socket>();
  readonly #path = new Path();
  readonly #targetPort: number;
  #refuses = false;

  private constructor(server: Server, targetPort: number) {
    this.#server = server;
    this.#targetPort = targetPort;
    server.on("connection", (caller) => this.#accept(caller));
  }

  static async listen(targetPort: number): Promise<TcpProxy> {
    const server = createServer({ allowHalfOpen: true });
    const proxy = new TcpProxy(server, targetPort);
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(0, "127.0.0.1", resolve);
    });
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Connections that are open now. */
  get openLinks(): number {
    return this.#links.size;
  }

  /** Breaks a connection at a byte: the first one that gets there. Resolves when it has. */
  cutAt(cut: Cut): Promise<void> {
    return new Promise((resolve) => {
      this.#path.cut = { ...cut, struck: resolve };
    });
  }

  /** Breaks every connection now. */
  cutNow(kind: BreakKind): void {
    for (const link of this.#links) link.break(kind);
  }

  /** Forwards only the given share of the next piece, then breaks the connection. Resolves when it has. */
  truncateNext(share: number, direction: Direction, kind: BreakKind): Promise<void> {
    return new Promise((resolve) => {
      this.#path.truncation = { share, direction, kind, struck: resolve };
    });
  }

  /** Nothing passes in these directions, not even the end of a connection. */
  stall(directions: readonly Direction[] = BOTH): void {
    for (const direction of directions) this.#path.stalled.add(direction);
  }

  /** What was held up passes now. */
  goOn(): void {
    this.#path.stalled.clear();
    for (const link of this.#links) link.pump();
  }

  /** Every piece takes this many milliseconds longer, in order. */
  delay(ms: number): void {
    this.#path.delayMs = ms;
  }

  /** New connections are reset at once. */
  refuse(): void {
    this.#refuses = true;
  }

  /**
   * Says the first bytes of the newest connection once more, over a connection of its own whose answers nobody hears.
   * Returns how many bytes that is.
   */
  duplicate(share = 1): number {
    const newest = [...this.#links].at(-1);
    if (!newest || newest.recorded.length === 0) return 0;
    const bytes = newest.recorded.subarray(0, Math.ceil(newest.recorded.length * share));
    const socket = this.#dial();
    this.#keepOrphan(socket);
    socket.write(bytes);
    return bytes.length;
  }

  /** The caller's side of every connection breaks, and the target does not learn of it. */
  halve(): void {
    for (const link of this.#links) this.#keepOrphan(link.halve());
  }

  /** Ends every fault. Connections that are whole stay. */
  heal(): void {
    this.#refuses = false;
    this.#path.delayMs = 0;
    this.#path.cut = undefined;
    this.#path.truncation = undefined;
    for (const orphan of this.#orphans) orphan.destroy();
    this.goOn();
  }

  async close(): Promise<void> {
    this.#refuses = true;
    for (const orphan of this.#orphans) orphan.destroy();
    for (const link of this.#links) link.break("reset");
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(caller: Socket): void {
    if (this.#refuses) {
      caller.on("error", () => {});
      caller.resetAndDestroy();
      return;
    }
    const link = new Link(caller, this.#dial(), this.#path, () => this.#links.delete(link));
    this.#links.add(link);
  }

  #dial(): Socket {
    return connect({ port: this.#targetPort, host: "127.0.0.1", allowHalfOpen: true });
  }

  #keepOrphan(socket: Socket): void {
    this.#orphans.add(socket);
    socket.removeAllListeners("data");
    socket.on("error", () => {});
    socket.once("close", () => this.#orphans.delete(socket));
    socket.resume();
  }
}

/** What the path does to the bytes at the moment; the links share it. */
class Path {
  readonly stalled = new Set<Direction>();
  delayMs = 0;
  cut: (Cut & { struck(): void }) | undefined;
  truncation: { share: number; direction: Direction; kind: BreakKind; struck(): void } | undefined;

  /** How much of a piece may pass, and how the connection breaks after that, if it does. */
  admit(direction: Direction, length: number): { pass: number; kind?: BreakKind } {
    const { cut, truncation } = this;
    if (truncation?.direction === direction) {
      this.truncation = undefined;
      truncation.struck();
      return { pass: Math.floor(length * truncation.share), kind: truncation.kind };
    }
    if (!cut?.directions.includes(direction)) return { pass: length };
    if (length <= cut.afterBytes) {
      cut.afterBytes -= length;
      return { pass: length };
    }
    this.cut = undefined;
    cut.struck();
    return { pass: cut.afterBytes, kind: cut.kind };
  }
}

/** One connection through the proxy: two sockets, and a pipe for each direction. */
class Link {
  readonly #caller: Socket;
  readonly #target: Socket;
  readonly #up: Pipe;
  readonly #down: Pipe;
  readonly #onGone: () => void;
  #open = true;
  recorded: Buffer = Buffer.alloc(0);

  constructor(caller: Socket, target: Socket, path: Path, onGone: () => void) {
    this.#caller = caller;
    this.#target = target;
    this.#onGone = onGone;
    this.#up = new Pipe("up", caller, target, path, (kind) => this.break(kind));
    this.#down = new Pipe("down", target, caller, path, (kind) => this.break(kind));
    caller.on("data", (chunk: Buffer) => {
      const room = RECORDED_BYTES - this.recorded.length;
      if (room > 0) this.recorded = Buffer.concat([this.recorded, chunk.subarray(0, room)]);
    });
    for (const socket of [caller, target]) {
      socket.setNoDelay(true);
      socket.on("error", () => {});
    }
    // A side that broke says so to the other; one that ended in order did already.
    caller.once("close", (hadError) => this.#closed(hadError, this.#up));
    target.once("close", (hadError) => this.#closed(hadError, this.#down));
  }

  pump(): void {
    this.#up.pump();
    this.#down.pump();
  }

  break(kind: BreakKind): void {
    this.#leave();
    for (const socket of [this.#caller, this.#target]) {
      if (kind === "reset") socket.resetAndDestroy();
      else socket.destroySoon();
    }
  }

  /** Breaks the caller's side alone, and gives the other to whoever asked. */
  halve(): Socket {
    this.#leave();
    this.#caller.resetAndDestroy();
    return this.#target;
  }

  #closed(hadError: boolean, pipe: Pipe): void {
    if (!this.#open) return;
    if (hadError) pipe.endsWith("reset");
    else if (this.#caller.destroyed && this.#target.destroyed) this.#leave();
  }

  #leave(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#up.stop();
    this.#down.stop();
    this.#onGone();
  }
}

type Piece = { dueAt: number } & ({ chunk: Buffer } | { end: true } | { breaks: BreakKind });

/** One direction of a link: what comes out of one socket goes into the other, as the path lets it. */
class Pipe {
  readonly #queue: Piece[] = [];
  #queuedBytes = 0;
  #timer: NodeJS.Timeout | undefined;
  #waitsForDrain = false;
  #stopped = false;

  constructor(
    readonly direction: Direction,
    readonly from: Socket,
    readonly to: Socket,
    readonly path: Path,
    readonly breakLink: (kind: BreakKind) => void,
  ) {
    from.on("data", (chunk: Buffer) => {
      if (this.#stopped) return;
      this.#queuedBytes += chunk.length;
      if (this.#queuedBytes > HELD_BYTES) from.pause();
      this.#put({ chunk, dueAt: this.#due() });
    });
    from.once("end", () => this.#put({ end: true, dueAt: this.#due() }));
    to.on("drain", () => {
      this.#waitsForDrain = false;
      this.pump();
    });
  }

  /** The sending side broke: so does the link, once what was said before has passed. */
  endsWith(kind: BreakKind): void {
    this.#put({ breaks: kind, dueAt: this.#due() });
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#queue.length = 0;
  }

  pump(): void {
    clearTimeout(this.#timer);
    while (!this.#stopped && !this.#waitsForDrain && !this.path.stalled.has(this.direction)) {
      const piece = this.#queue[0];
      if (!piece) break;
      const waitMs = piece.dueAt - performance.now();
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.pump(), waitMs);
        return;
      }
      this.#queue.shift();
      this.#forward(piece);
    }
  }

  #due(): number {
    const now = performance.now();
    // Order is kept when the delay becomes shorter.
    return Math.max(now + this.path.delayMs, this.path.delayMs > 0 ? (this.#queue.at(-1)?.dueAt ?? 0) : now);
  }

  #put(piece: Piece): void {
    if (this.#stopped) return;
    this.#queue.push(piece);
    this.pump();
  }

  #forward(piece: Piece): void {
    if ("breaks" in piece) return this.breakLink(piece.breaks);
    if ("end" in piece) {
      this.to.end();
      return;
    }
    const { chunk } = piece;
    this.#queuedBytes -= chunk.length;
    if (this.#queuedBytes <= HELD_BYTES && this.from.isPaused()) this.from.resume();
    const { pass, kind } = this.path.admit(this.direction, chunk.length);
    if (kind === undefined) {
      this.#waitsForDrain = !this.to.write(chunk) && !this.to.destroyed;
      return;
    }
    const { breakLink } = this;
    this.stop();
    // The link breaks once the prefix has left, so that the other side has the chance to read half a message.
    if (pass > 0) this.to.write(chunk.subarray(0, pass), () => breakLink(kind));
    else breakLink(kind);
  }
}
