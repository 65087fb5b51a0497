import { type FSWatcher, watch } from "node:fs";
import { join } from "node:path";
import { GatewayClient } from "../client/gateway-client.js";
import { CerverError } from "../protocol/errors.js";
import { Backoff } from "../util/backoff.js";
import { isLock, takeLock } from "../util/lock-file.js";
import { VERSION } from "../util/version.js";
import type { SyncConfig } from "./config.js";
import { SyncState } from "./state.js";
import { type PassReport, Syncer } from "./syncer.js";

export type { PassReport };

export interface SyncDeps {
  gatewayUrl: string;
  token: string;
  signal: AbortSignal;
  onPass?: (report: PassReport) => void;
  /** The gateway cannot be reached now; the next try is in so many milliseconds. */
  onWaiting?: (why: string, waitMs: number) => void;
}

/** Changes come in bursts: so many milliseconds after the first the files are looked at. */
const SETTLE_MS = 200;
/** Wrong tokens do not become right by trying again. */
const FINAL = new Set(["unauthenticated", "forbidden", "invalid_request"]);

/** Sends what is new in this machine's transcript files, once, and tells what was done. */
export async function syncOnce(config: SyncConfig, deps: SyncDeps): Promise<PassReport> {
  return withLock(config, async () => (await syncer(config, deps)).pass());
}

/** What {@link syncOnce} would send, without a gateway. */
export async function syncDryRun(
  config: SyncConfig,
  gatewayUrl: string,
  signal: AbortSignal,
): Promise<PassReport> {
  const state = await SyncState.open(config.stateDir, gatewayUrl);
  return new Syncer({ config, state, client: undefined, signal }).pass();
}

/** What is known of each file, from the state alone. */
export async function syncStatus(config: SyncConfig, gatewayUrl: string) {
  return (await SyncState.open(config.stateDir, gatewayUrl)).data;
}

/** Follows the files until the signal. While the gateway is away it waits, and reads on where it was. */
export async function followSync(config: SyncConfig, deps: SyncDeps): Promise<void> {
  await withLock(config, async () => {
    const { signal } = deps;
    const one = await syncer(config, deps);
    const backoff = new Backoff(500, 30_000);
    const bell = new Bell(signal);
    const watchers = [config.claudeDir, config.codexDir, config.geminiDir].flatMap((folder) =>
      watching(folder, () => bell.ring()),
    );
    try {
      while (!signal.aborted) {
        try {
          const report = await one.pass();
          backoff.reset();
          deps.onPass?.(report);
          await bell.wait(config.pollMs, SETTLE_MS);
        } catch (error) {
          if (signal.aborted) return;
          if (!(error instanceof CerverError) || FINAL.has(error.code)) throw error;
          const waitMs = backoff.next();
          deps.onWaiting?.(error.message, waitMs);
          await bell.wait(waitMs, waitMs);
        }
      }
    } finally {
      for (const watcher of watchers) watcher.close();
    }
  });
}

async function syncer(config: SyncConfig, { gatewayUrl, token, signal }: SyncDeps): Promise<Syncer> {
  const state = await SyncState.open(config.stateDir, gatewayUrl);
  const client = new GatewayClient({ gatewayUrl, token, userAgent: `cerver-sync/${VERSION}` });
  return new Syncer({ config, state, client, signal });
}

async function withLock<T>(config: SyncConfig, work: () => Promise<T>): Promise<T> {
  const lock = await takeLock(join(config.stateDir, "lock"), "cerver sync");
  if (!isLock(lock)) {
    throw new CerverError(
      "conflict",
      `Another cerver sync runs here already (process ${lock.pid}, since ${lock.since}).`,
      {
        hint: "One is enough: it follows all files. Look at it with `cerver sync status`.",
      },
    );
  }
  try {
    return await work();
  } finally {
    await lock.release();
  }
}

/** A watcher where the system has one for the whole folder; the poll finds the rest. */
function watching(folder: string, onChange: () => void): FSWatcher[] {
  try {
    const watcher = watch(folder, { recursive: true }, onChange);
    watcher.on("error", () => watcher.close());
    return [watcher];
  } catch {
    return [];
  }
}

/** Wakes one who waits. */
class Bell {
  #wake: (() => void) | undefined;
  #rung = false;
  readonly #signal: AbortSignal;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener("abort", () => this.#wake?.(), { once: true });
  }

  ring(): void {
    this.#rung = true;
    this.#wake?.();
  }

  /** Waits `maxMs`, or `minMs` when it has rung or rings. */
  async wait(maxMs: number, minMs: number): Promise<void> {
    if (!this.#rung) await this.#pause(maxMs);
    if (this.#rung && !this.#signal.aborted) {
      this.#wake = undefined;
      await this.#pause(minMs, true);
    }
    this.#rung = false;
  }

  #pause(ms: number, deaf = false): Promise<void> {
    return new Promise((resolve) => {
      if (this.#signal.aborted) return resolve();
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        if (deaf && !this.#signal.aborted) return;
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
