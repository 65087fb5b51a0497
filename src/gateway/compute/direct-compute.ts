import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import type { HeartbeatRequest, RegisterComputeRequest } from "../../protocol/computes.js";
import { CerverError } from "../../protocol/errors.js";
import { PUBLIC_LOCAL_PROVIDER } from "../../protocol/providers.js";
import { PROVIDER_PATH, RUN_EVENTS_HEADER } from "../../protocol/sandbox.js";
import { CLOSE } from "../../protocol/tunnel.js";
import type { TunnelHub } from "../../tunnel/hub.js";
import { Backoff } from "../../util/backoff.js";
import type { Logger } from "../../util/logger.js";
import { DirectLink } from "./direct-link.js";

/** The other end is asked whether it is there once in this time. */
const CHECK_MS = 5_000;
const CHECK_TIMEOUT_MS = 5_000;
/** It is gone when it did not answer so many times in a row; a refused connection counts at once. */
const MISSES = 2;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 5_000;
/** A gateway that starts waits this long for the first answer, so that what is there is ready when it is. */
const START_WAIT_MS = 2_000;
/** Between two notes that it was seen. */
const NOTE_MS = 60_000;

/** What a relay says of itself. */
const ProviderInfo = z.looseObject({
  label: z.string().min(1).max(128).optional(),
  machine_name: z.string().max(256).optional(),
  capabilities: z.record(z.string(), z.unknown()).optional(),
});
type ProviderInfo = z.infer<typeof ProviderInfo>;

export interface DirectComputeDeps {
  baseUrl: string;
  token: string | undefined;
  accountId: string;
  hub: Pick<TunnelHub, "attach">;
  computes: {
    register(accountId: string, body: RegisterComputeRequest): Promise<{ compute_id: string }>;
    heartbeat(accountId: string, id: string, body: HeartbeatRequest): Promise<unknown>;
  };
  logger: Logger;
  checkMs?: number;
}

/**
 * A relay at `P69_BASE_URL` as a compute of the account: attached to the hub while it answers, and looked for again
 * while it does not.
 */
export class DirectCompute {
  readonly #deps: DirectComputeDeps;
  readonly #stop = new AbortController();
  #watching: Promise<void> | undefined;
  #link: DirectLink | undefined;
  #told = "";

  constructor(deps: DirectComputeDeps) {
    this.#deps = deps;
  }

  /** Registers the compute, and watches for it until {@link close}. Waits a moment for its first answer. */
  async start(): Promise<string> {
    const { compute_id } = await this.#register({});
    let looked!: () => void;
    const first = new Promise<void>((resolve) => {
      looked = resolve;
    });
    this.#watching = this.#watch(compute_id, looked).finally(looked);
    await Promise.race([first, sleep(START_WAIT_MS, undefined, { ref: false })]);
    return compute_id;
  }

  /** Ends the watching, and everything under way, as lost. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#link?.close(CLOSE.goingAway, "the gateway stops");
    await this.#watching;
  }

  #register(info: ProviderInfo): Promise<{ compute_id: string }> {
    const { baseUrl, accountId, computes } = this.#deps;
    return computes.register(accountId, {
      label: info.label ?? new URL(baseUrl).host,
      kind: "direct",
      provider: PUBLIC_LOCAL_PROVIDER,
      // The same address is the same compute at every start.
      compute_id: `cmp_${createHash("sha256").update(`${accountId} ${baseUrl}`).digest("hex").slice(0, 32)}`,
      capabilities: info.capabilities ?? {},
      metadata: { base_url: baseUrl, ...(info.machine_name && { machine_name: info.machine_name }) },
      connection: { transport: "direct" },
    });
  }

  async #watch(computeId: string, looked: () => void): Promise<void> {
    const backoff = new Backoff(FIRST_WAIT_MS, LONGEST_WAIT_MS);
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const link = await this.#connect(computeId);
      looked();
      if (link) {
        backoff.reset();
        const { code } = await this.#stay(link, computeId);
        // Who removed it does not want it back before the gateway starts again.
        if (code === CLOSE.removed) return;
      }
      await sleep(backoff.next(), undefined, { signal }).catch(() => {});
    }
  }

  /** A link when the relay answers, attached to the hub. */
  async #connect(computeId: string): Promise<DirectLink | undefined> {
    const { baseUrl, token, hub, logger } = this.#deps;
    const probe = new DirectLink({ baseUrl, token });
    try {
      const { info, level } = await ask(probe, this.#stop.signal);
      await this.#register(info);
      const link = new DirectLink({ baseUrl, token, level });
      this.#link = link;
      hub.attach(computeId, link);
      logger.info({ base_url: baseUrl, compute_id: computeId }, "the relay at P69_BASE_URL is there");
      this.#told = "";
      return link;
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      // One word for each new reason: it is tried again and again.
      if (why !== this.#told && !this.#stop.signal.aborted)
        logger.warn({ base_url: baseUrl, why }, "the relay at P69_BASE_URL does not answer");
      this.#told = why;
      return undefined;
    } finally {
      probe.close();
    }
  }

  /** Asks now and then, and at once when a call found trouble, until the relay is gone. */
  async #stay(link: DirectLink, computeId: string): Promise<{ code: number; reason: string }> {
    const { checkMs = CHECK_MS, accountId, computes, logger } = this.#deps;
    let wake = () => {};
    link.onTrouble = () => wake();
    let closed = false;
    void link.closed.then(() => {
      closed = true;
      wake();
    });
    let misses = 0;
    let notedAt = performance.now();
    while (!closed && !this.#stop.signal.aborted) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, checkMs);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      if (closed) break;
      try {
        await ask(link, this.#stop.signal);
        misses = 0;
        if (performance.now() - notedAt < NOTE_MS) continue;
        notedAt = performance.now();
        await computes.heartbeat(accountId, computeId, { status: "online" });
      } catch (error) {
        const isRefused = error instanceof CerverError && error.code === "compute_offline";
        misses += isRefused ? MISSES : 1;
        if (misses < MISSES) continue;
        logger.warn({ err: error }, "the relay at P69_BASE_URL has gone");
        link.close(CLOSE.silent, "the relay does not answer");
      }
    }
    link.close(CLOSE.goingAway, "the gateway stops");
    return link.closed;
  }
}

/** What the relay says of itself. Throws when it does not answer, or does not take the token. */
async function ask(link: DirectLink, stop: AbortSignal): Promise<{ info: ProviderInfo; level: 1 | 2 }> {
  const signal = AbortSignal.any([stop, AbortSignal.timeout(CHECK_TIMEOUT_MS)]);
  const response = await link.fetch(new Request(`http://compute${PROVIDER_PATH}`, { signal }));
  const body: unknown = await response.json().catch(() => undefined);
  if (!response.ok) throw CerverError.fromBody(response.status, body);
  const info = ProviderInfo.safeParse(body);
  if (!info.success) throw new CerverError("provider_failed", "What answers at P69_BASE_URL is no relay.");
  return { info: info.data, level: response.headers.has(RUN_EVENTS_HEADER) ? 2 : 1 };
}
