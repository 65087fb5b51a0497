import type { Socket } from "node:net";
import { CerverError } from "../protocol/errors.js";
import type { Logger } from "../util/logger.js";
import { VERSION } from "../util/version.js";
import { connectKeeper, startKeeper } from "./daemon/keeper-process.js";
import { encodeKeeperFrame, type KeeperFrame, KeeperFrameReader } from "./keeper/frames.js";
import {
  type Ask,
  KEEPER_PROTOCOL,
  type Offsets,
  type RunOrder,
  type RunState,
  type StreamName,
  type Tell,
} from "./keeper/messages.js";

/** A follower may be told this much before it says that it has read some. */
const CREDIT_BYTES = 1024 * 1024;
/** A keeper that ends itself just when it is needed is replaced by another. */
const CONNECT_TRIES = 5;

export interface KeeperClientOptions {
  stateDir: string;
  /** The environment of the keeper, which is that of runs. */
  env: Record<string, string>;
  maxRuns: number;
  /** How long a foreground run goes on when its follower was lost. */
  runGraceMs: number;
  killGraceMs: number;
  logger: Logger;
  /** A run has ended that nobody waited for here. */
  onEnded?: (state: RunState) => void;
}

/** What a follower is told, in order; `end` or `broken` is the last. */
export interface FollowHandlers {
  output(stream: StreamName, offset: number, bytes: Buffer): void;
  gap(stream: StreamName, offset: number, bytes: number): void;
  end(state: RunState): void;
  /** The keeper is gone: what became of the run, its successor tells. */
  broken(error: CerverError): void;
}

export interface Follow {
  /** So many bytes of output were dealt with: as many more may come. */
  read(bytes: number): void;
  stop(why: "lost" | "gone"): void;
}

export interface FollowWish {
  offsets?: Offsets;
  only?: StreamName;
  until?: number;
}

/** A sandbox as the keeper knows it. */
export interface KeptSandbox {
  id: string;
  folder: string;
  env: Record<string, string>;
}

/** The relay's end of the keeper: finds the one that runs, starts one when it is needed, comes back when one is gone. */
export class KeeperClient {
  readonly #options: KeeperClientOptions;
  #link: Promise<Link> | undefined;
  #open: Link | undefined;
  #closed = false;

  constructor(options: KeeperClientOptions) {
    this.#options = options;
  }

  /** Connects to a keeper that an earlier relay left, if there is one: its runs are ours again. */
  async adopt(): Promise<void> {
    const socket = await connectKeeper(this.#options.stateDir);
    if (socket) await this.#opened(socket).catch(() => {});
  }

  /** Makes a sandbox known to the keeper. With `warm`, processes wait for its runs. */
  async prepare(sandbox: KeptSandbox): Promise<void> {
    (await this.#connected()).prepare(sandbox, true);
  }

  /** Starts a run, or finds it started: an id starts one run, however often it is ordered. */
  async start(sandbox: KeptSandbox, order: RunOrder, stdin?: Uint8Array): Promise<RunState> {
    const link = this.#open ?? (await this.#connected());
    link.prepare(sandbox, false);
    return (await link.ask({ op: "start", order }, stdin)) as RunState;
  }

  /** {@link start} and {@link follow} in one message. */
  async startAndFollow(
    sandbox: KeptSandbox,
    order: RunOrder,
    stdin: Uint8Array | undefined,
    handlers: FollowHandlers,
  ): Promise<{ state: RunState; follow: Follow }> {
    const link = this.#open ?? (await this.#connected());
    link.prepare(sandbox, false);
    const { sub, follow } = link.subscribe(handlers);
    const wish = { sub, offsets: { stdout: 0, stderr: 0 }, credit: CREDIT_BYTES };
    try {
      return { state: (await link.ask({ op: "start", order, follow: wish }, stdin)) as RunState, follow };
    } catch (error) {
      link.forget(sub);
      throw error;
    }
  }

  async follow(runId: string, wish: FollowWish, handlers: FollowHandlers): Promise<Follow> {
    const link = await this.#connected();
    const { sub, follow } = link.subscribe(handlers);
    const { offsets = { stdout: 0, stderr: 0 }, only, until } = wish;
    try {
      await link.ask({
        op: "follow",
        run_id: runId,
        sub,
        follow: { offsets, only, until, credit: CREDIT_BYTES },
      });
      return follow;
    } catch (error) {
      link.forget(sub);
      throw error;
    }
  }

  async cancel(runId: string, reason: string): Promise<RunState> {
    return (await (await this.#connected()).ask({ op: "cancel", run_id: runId, reason })) as RunState;
  }

  /** Gives input; returns how many bytes the run was given in all. */
  async stdin(runId: string, bytes: Uint8Array, offset: number | undefined, close: boolean): Promise<number> {
    return (await (
      await this.#connected()
    ).ask({ op: "stdin", run_id: runId, offset, close }, bytes)) as number;
  }

  /** The states of these runs; those that this machine has no record of are left out. */
  async states(runIds: readonly string[]): Promise<RunState[]> {
    return (await (await this.#connected()).ask({ op: "states", run_ids: [...runIds] })) as RunState[];
  }

  /** Runs under way. */
  async live(): Promise<RunState[]> {
    const link = this.#open;
    return link ? ((await link.ask({ op: "states", run_ids: null })) as RunState[]) : [];
  }

  async endSandbox(id: string): Promise<void> {
    await (await this.#connected()).endSandbox(id);
  }

  /** Ends every run and the keeper, if there is one. */
  async endAll(): Promise<void> {
    if (!this.#open) await this.adopt();
    await this.#open?.ask({ op: "end_all" }).catch(() => {});
    this.close();
  }

  /** Lets go of the keeper. Background runs go on; for those in the foreground somebody may come back in time. */
  close(): void {
    this.#closed = true;
    this.#open?.close();
  }

  #connected(): Promise<Link> {
    if (this.#open) return Promise.resolve(this.#open);
    this.#link ??= this.#connect().finally(() => {
      this.#link = undefined;
    });
    return this.#link;
  }

  async #connect(): Promise<Link> {
    const { stateDir, env } = this.#options;
    if (this.#closed) throw stopped();
    for (let attempt = 0; attempt < CONNECT_TRIES; attempt++) {
      const socket = await connectKeeper(stateDir);
      const link = socket && (await this.#opened(socket).catch(() => undefined));
      if (link) return link;
      await startKeeper(stateDir, env);
    }
    throw new CerverError("provider_failed", "The keeper of this machine's runs does not answer.", {
      hint: "Its log is keeper.log in the state folder ($XDG_STATE_HOME/cerver).",
    });
  }

  async #opened(socket: Socket): Promise<Link> {
    const link = new Link(socket, this.#options, () => {
      if (this.#open === link) this.#open = undefined;
    });
    await link.ready;
    if (this.#closed) {
      link.close();
      throw stopped();
    }
    this.#open = link;
    return link;
  }
}

/** An {@link Ask} before it has its number. */
type Unnumbered<T> = T extends { id: number } ? Omit<T, "id"> : never;
type Question = Unnumbered<Ask>;

/** One connection to one keeper. */
class Link {
  readonly ready: Promise<void>;
  readonly #socket: Socket;
  readonly #logger: Logger;
  readonly #onEnded: (state: RunState) => void;
  readonly #asked = new Map<number, { resolve(value: unknown): void; reject(error: unknown): void }>();
  readonly #followed = new Map<number, FollowHandlers>();
  readonly #prepared = new Set<string>();
  readonly #frames = new KeeperFrameReader();
  #lastId = 0;
  #greeted!: () => void;

  constructor(socket: Socket, options: KeeperClientOptions, onClose: () => void) {
    this.#socket = socket;
    this.#logger = options.logger;
    this.#onEnded = options.onEnded ?? (() => {});
    this.ready = new Promise((resolve, reject) => {
      this.#greeted = resolve;
      socket.once("close", () => reject(broken()));
    });
    this.ready.catch(() => {});
    socket.on("error", () => {});
    socket.on("data", (chunk) => this.#receive(chunk));
    socket.once("close", () => {
      onClose();
      const error = broken();
      for (const { reject } of this.#asked.values()) reject(error);
      for (const handlers of this.#followed.values()) handlers.broken(error);
      this.#asked.clear();
      this.#followed.clear();
    });
    this.#send({
      op: "hello",
      protocol: KEEPER_PROTOCOL,
      software: `cerver/${VERSION}`,
      max_runs: options.maxRuns,
      grace_ms: options.runGraceMs,
      kill_grace_ms: options.killGraceMs,
    });
  }

  prepare({ id, folder, env }: KeptSandbox, warm: boolean): void {
    if (this.#prepared.has(id) && !warm) return;
    this.#prepared.add(id);
    this.#send({ op: "sandbox", sandbox_id: id, folder, env, warm });
  }

  async endSandbox(id: string): Promise<void> {
    this.#prepared.delete(id);
    await this.ask({ op: "end_sandbox", sandbox_id: id });
  }

  ask(question: Question, payload?: Uint8Array): Promise<unknown> {
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      if (this.#socket.destroyed) return reject(broken());
      this.#asked.set(id, { resolve, reject });
      this.#send({ ...question, id } as Ask, payload);
    });
  }

  subscribe(handlers: FollowHandlers): { sub: number; follow: Follow } {
    const sub = ++this.#lastId;
    this.#followed.set(sub, handlers);
    let read = 0;
    return {
      sub,
      follow: {
        read: (bytes) => {
          read += bytes;
          if (read < CREDIT_BYTES / 4 || !this.#followed.has(sub)) return;
          this.#send({ op: "credit", sub, bytes: read });
          read = 0;
        },
        stop: (why) => {
          if (this.#followed.delete(sub)) this.#send({ op: "unfollow", sub, why });
        },
      },
    };
  }

  forget(sub: number): void {
    this.#followed.delete(sub);
  }

  close(): void {
    this.#socket.destroySoon();
  }

  #send(message: Ask, payload?: Uint8Array): void {
    if (!this.#socket.destroyed) this.#socket.write(encodeKeeperFrame(message, payload));
  }

  /** A follower that fails is let go: the link belongs to all of them. */
  #tell(sub: number, what: (handlers: FollowHandlers) => void): void {
    const handlers = this.#followed.get(sub);
    if (!handlers) return;
    try {
      what(handlers);
    } catch (error) {
      this.#logger.error({ err: error }, "a follower of a run failed");
      this.#followed.delete(sub);
      this.#send({ op: "unfollow", sub, why: "lost" });
    }
  }

  #receive(chunk: Buffer): void {
    try {
      for (const frame of this.#frames.push(chunk)) this.#handle(frame as unknown as KeeperFrame<Tell>);
    } catch (error) {
      this.#logger.error({ err: error }, "the keeper spoke in a way that is not understood");
      this.#socket.destroy();
    }
  }

  #handle({ head, payload }: KeeperFrame<Tell>): void {
    switch (head.op) {
      case "hello":
        if (head.protocol === KEEPER_PROTOCOL) this.#greeted();
        else this.#socket.destroy();
        return;
      case "reply":
        this.#asked.get(head.id)?.resolve(head.value);
        this.#asked.delete(head.id);
        return;
      case "refusal":
        this.#asked.get(head.id)?.reject(CerverError.fromBody(head.status, head.error));
        this.#asked.delete(head.id);
        return;
      case "output":
        return this.#tell(head.sub, (one) => one.output(head.stream, head.offset, payload));
      case "gap":
        return this.#tell(head.sub, (one) => one.gap(head.stream, head.offset, head.bytes));
      case "end":
        this.#tell(head.sub, (one) => one.end(head.state));
        this.#followed.delete(head.sub);
        return;
      case "ended":
        return this.#onEnded(head.state);
    }
  }
}

function broken(): CerverError {
  return new CerverError(
    "compute_lost",
    "The keeper of this machine's runs is gone, so the outcome is unknown.",
    {
      hint: "Ask for the run again: what is known of it is on that machine's disk.",
    },
  );
}

function stopped(): CerverError {
  return new CerverError("compute_offline", "This relay is stopping.");
}
