import { createServer, type Server, type Socket } from "node:net";
import { CerverError } from "../../protocol/errors.js";
import type { Logger } from "../../util/logger.js";
import { encodeKeeperFrame, type KeeperFrame, KeeperFrameReader } from "./frames.js";
import type { Following, Keeper } from "./keeper.js";
import { type Ask, KEEPER_PROTOCOL, type Tell } from "./messages.js";

export interface KeeperServerOptions {
  keeper: Keeper;
  socketPath: string;
  software: string;
  logger: Pick<Logger, "error">;
  /** The relay wants the keeper to end. */
  onStop(): void;
}

/** Lets relays talk to a keeper, through a unix socket that only this user may open. */
export class KeeperServer {
  readonly #options: KeeperServerOptions;
  readonly #server: Server;
  readonly #links = new Set<Link>();

  constructor(options: KeeperServerOptions) {
    this.#options = options;
    this.#server = createServer((socket) => {
      const link = new Link(socket, options);
      this.#links.add(link);
      socket.once("close", () => this.#links.delete(link));
    });
    options.keeper.onEnded = (state) => {
      for (const link of this.#links) link.tell({ op: "ended", state });
    };
  }

  listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(this.#options.socketPath, resolve);
    });
  }

  get hasLinks(): boolean {
    return this.#links.size > 0;
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const link of this.#links) link.close();
    await closed;
  }
}

/** One relay's connection. When it breaks, those who followed through it may come back. */
class Link {
  readonly #socket: Socket;
  readonly #options: KeeperServerOptions;
  readonly #following = new Map<number, Following>();
  readonly #frames = new KeeperFrameReader();

  constructor(socket: Socket, options: KeeperServerOptions) {
    this.#socket = socket;
    this.#options = options;
    socket.on("error", () => {});
    socket.on("data", (chunk) => this.#receive(chunk));
    socket.once("close", () => {
      for (const following of this.#following.values()) following.stop("lost");
    });
    this.tell({ op: "hello", protocol: KEEPER_PROTOCOL, software: options.software, pid: process.pid });
  }

  tell(message: Tell, payload?: Uint8Array): void {
    if (!this.#socket.destroyed) this.#socket.write(encodeKeeperFrame(message, payload));
  }

  close(): void {
    this.#socket.end();
    this.#socket.destroySoon();
  }

  #receive(chunk: Buffer): void {
    try {
      // What one message makes us say goes out in one write.
      this.#socket.cork();
      for (const frame of this.#frames.push(chunk)) this.#handle(frame as unknown as KeeperFrame<Ask>);
    } catch (error) {
      this.#options.logger.error(
        { err: error },
        "a relay spoke in a way that the keeper does not understand",
      );
      this.#socket.destroy();
    } finally {
      this.#socket.uncork();
    }
  }

  #handle({ head, payload }: KeeperFrame<Ask>): void {
    const { keeper } = this.#options;
    switch (head.op) {
      case "hello":
        if (head.protocol !== KEEPER_PROTOCOL) return this.close();
        keeper.limits = { maxRuns: head.max_runs, graceMs: head.grace_ms, killGraceMs: head.kill_grace_ms };
        return;
      case "sandbox":
        return keeper.sandbox(head.sandbox_id, head.folder, head.env, head.warm);
      case "start":
        return this.#start(head, payload);
      case "follow":
        return this.#reply(head.id, async () => {
          await keeper.started(head.run_id);
          this.#follow(head.run_id, head.sub, head.follow);
        });
      case "credit":
        return this.#following.get(head.sub)?.grant(head.bytes);
      case "unfollow":
        this.#following.get(head.sub)?.stop(head.why);
        this.#following.delete(head.sub);
        return;
      case "cancel":
        return this.#reply(head.id, () => keeper.cancel(head.run_id, head.reason));
      case "stdin":
        return this.#reply(head.id, () => keeper.stdin(head.run_id, payload, head.offset, head.close));
      case "states":
        return this.#reply(head.id, () => keeper.states(head.run_ids));
      case "end_sandbox":
        return this.#reply(head.id, () => keeper.endSandbox(head.sandbox_id));
      case "end_all":
        return this.#reply(head.id, async () => {
          await keeper.endAll();
          setImmediate(() => this.#options.onStop());
        });
    }
  }

  #start({ id, order, follow }: Extract<Ask, { op: "start" }>, payload: Buffer): void {
    // The frame's bytes are reused; input is kept until the process takes it.
    const stdin = order.has_stdin ? Buffer.from(payload) : undefined;
    this.#reply(id, async () => {
      const state = await this.#options.keeper.start(order, stdin);
      if (follow) this.#follow(order.run_id, follow.sub, follow);
      return state;
    });
  }

  #follow(runId: string, sub: number, order: Parameters<Keeper["follow"]>[2]): void {
    // A relay that has gone meanwhile comes back for its run, or nobody does.
    const following = this.#options.keeper.follow(runId, sub, order, this);
    if (this.#socket.destroyed) following.stop("lost");
    else this.#following.set(sub, following);
  }

  #reply(id: number, answer: () => unknown): void {
    Promise.resolve()
      .then(answer)
      .then(
        (value) => this.tell({ op: "reply", id, value: value ?? null }),
        (error: unknown) => {
          if (!(error instanceof CerverError))
            this.#options.logger.error({ err: error }, "the keeper failed");
          const known =
            error instanceof CerverError
              ? error
              : new CerverError("internal", "Something went wrong in the keeper.");
          this.tell({ op: "refusal", id, error: known.toBody(), status: known.status });
        },
      );
  }
}
