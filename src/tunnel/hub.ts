import { CerverError } from "../protocol/errors.js";
import { CLOSE } from "../protocol/tunnel.js";
import type { SmallCall } from "./wire.js";

/** A way to a compute that is open now: a `Channel`, or a straight one. */
export interface Link {
  /** 1 for a relay of the public system. */
  readonly level: 1 | 2;
  readonly isOpen: boolean;
  /** Open, and its peer not overdue. */
  readonly isAlive: boolean;
  /** Resolves when it is gone. */
  readonly closed: Promise<{ code: number; reason: string }>;
  /** Rejects with `compute_offline` when nothing was sent, with `compute_lost` when it may have been. */
  fetch(request: Request): Promise<Response>;
  call(call: SmallCall): Promise<Response>;
  close(code?: number, reason?: string): void;
}

/** All of a gateway's ends: which channel serves which compute. */
export class TunnelHub {
  /** Told when a compute's relay has come or gone. */
  onChange: (computeId: string, online: boolean) => void = () => {};
  readonly #channels = new Map<string, Link>();

  /** Gives a compute its channel. One that served it before is closed: the newest relay is the one that is there. */
  attach(computeId: string, channel: Link): void {
    const before = this.#channels.get(computeId);
    this.#channels.set(computeId, channel);
    before?.close(CLOSE.replaced, "another relay connected for this compute");
    channel.closed.then(() => {
      if (this.#channels.get(computeId) !== channel) return;
      this.#channels.delete(computeId);
      this.onChange(computeId, false);
    });
    this.onChange(computeId, true);
  }

  /** Whether the compute's relay is connected and not overdue. */
  isOnline(computeId: string): boolean {
    return this.#channels.get(computeId)?.isAlive ?? false;
  }

  channel(computeId: string): Link | undefined {
    return this.#channels.get(computeId);
  }

  async fetch(computeId: string, request: Request): Promise<Response> {
    return this.#online(computeId).fetch(request);
  }

  /** {@link fetch} for a JSON body that is small and at hand. */
  async call(computeId: string, call: SmallCall): Promise<Response> {
    return this.#online(computeId).call(call);
  }

  #online(computeId: string): Link {
    const channel = this.#channels.get(computeId);
    if (channel?.isOpen) return channel;
    throw new CerverError("compute_offline", `No relay is connected for ${computeId}.`, {
      hint: "Start it with `cerver relay` on that machine.",
    });
  }

  /** Closes a compute's channel, for instance because the compute was removed. */
  detach(computeId: string, code: number, reason: string): void {
    this.#channels.get(computeId)?.close(code, reason);
  }

  /** Closes every channel. */
  close(): void {
    for (const channel of [...this.#channels.values()]) channel.close(CLOSE.goingAway, "the gateway stops");
  }
}
