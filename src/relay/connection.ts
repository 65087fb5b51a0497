import { setTimeout as sleep } from "node:timers/promises";
import { WebSocket } from "ws";
import { CerverError } from "../protocol/errors.js";
import { CLOSE, TUNNEL_SUBPROTOCOL } from "../protocol/tunnel.js";
import { Channel } from "../tunnel/channel.js";
import type { FrameSocket } from "../tunnel/frame-socket.js";
import type { Serve, ServeSmall } from "../tunnel/wire.js";
import { wsSocket } from "../tunnel/ws-socket.js";
import { Backoff } from "../util/backoff.js";
import type { Logger } from "../util/logger.js";

/** What ws says when the server chose none of the subprotocols it was offered. */
const NO_SUBPROTOCOL = "Server sent no subprotocol";
const HANDSHAKE_TIMEOUT_MS = 15_000;
/** Larger than any frame of level 2, and than what a public gateway sends. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 30_000;
/** So many takeovers within this time are those of another relay. */
const REPLACED_TIMES = 3;
const REPLACED_WITHIN_MS = 120_000;
/** A link that held this long was a good one: the next wait is short again. */
const HELD_MS = 30_000;

export type ConnectionState =
  | { state: "connecting" }
  | { state: "connected"; level: 1 | 2 }
  | { state: "waiting"; waitMs: number; why: string };

export interface ConnectionOptions {
  gatewayUrl: string;
  computeId: string;
  token: string;
  serve: Serve;
  serveSmall?: ServeSmall | undefined;
  /** A link within this process, instead of a websocket. */
  localLink?: ((computeId: string) => FrameSocket) | undefined;
  software: string;
  logger: Logger;
  onState(state: ConnectionState): void;
  signal: AbortSignal;
}

/**
 * Keeps this host connected until the signal aborts: dials, serves, waits, dials again.
 *
 * Waits after every close, also a clean one. Rejects when trying again cannot help: the token is refused, another relay
 * took this compute over, or the compute was removed.
 */
export async function stayConnected(options: ConnectionOptions): Promise<void> {
  const { onState, signal } = options;
  const backoff = new Backoff(FIRST_WAIT_MS, LONGEST_WAIT_MS);
  const replaced: number[] = [];
  while (!signal.aborted) {
    onState({ state: "connecting" });
    const since = performance.now();
    const { why, code } = await serveOnce(options);
    if (signal.aborted) return;
    if (code === CLOSE.replaced) {
      // A connection that a proxy repeats looks like another relay, once. Another relay takes over each time.
      replaced.push(since);
      if (replaced.filter((at) => since - at < REPLACED_WITHIN_MS).length >= REPLACED_TIMES)
        throw takenOver(options.computeId);
    }
    if (performance.now() - since > HELD_MS) backoff.reset();
    const waitMs = backoff.next();
    onState({ state: "waiting", waitMs, why });
    await sleep(waitMs, undefined, { signal }).catch(() => {});
  }
}

/** One connection from dial to close. Returns why it is over; throws when it must not be tried again. */
async function serveOnce(options: ConnectionOptions): Promise<{ why: string; code?: number }> {
  if (options.localLink) return serveOn(options.localLink(options.computeId), 2, options);
  const { signal } = options;
  let ws = dial(options, [TUNNEL_SUBPROTOCOL]);
  // The gateway may speak at once: what it says before the channel is there waits in the socket.
  let socket = wsSocket(ws);
  let failure = await opened(ws, signal);
  if (failure === NO_SUBPROTOCOL) {
    // A gateway that chooses none of the subprotocols speaks level 1. ws takes that for an error, so it is asked plainly.
    ws = dial(options, []);
    socket = wsSocket(ws);
    failure = await opened(ws, signal);
  }
  if (failure) return { why: failure };
  return serveOn(socket, ws.protocol === TUNNEL_SUBPROTOCOL ? 2 : 1, options);
}

async function serveOn(
  socket: FrameSocket,
  level: 1 | 2,
  options: ConnectionOptions,
): Promise<{ why: string; code: number }> {
  const { serve, serveSmall, software, logger, onState, signal } = options;
  const channel = new Channel({ socket, level, side: "relay", serve, serveSmall, logger, software });
  const onAbort = () => channel.close(CLOSE.goingAway, "the relay stops");
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  else onState({ state: "connected", level });
  const { code, reason } = await channel.closed;
  signal.removeEventListener("abort", onAbort);
  refuseToReturn(code, options.computeId);
  return { why: reason || `the gateway closed the link (code ${code})`, code };
}

function dial(
  { gatewayUrl, computeId, token, software }: ConnectionOptions,
  subprotocols: string[],
): WebSocket {
  const url = new URL(`${gatewayUrl}/v2/connect/ws`);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.searchParams.set("compute_id", computeId);
  return new WebSocket(url, subprotocols, {
    headers: { authorization: `Bearer ${token}`, "user-agent": software },
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
    maxPayload: MAX_MESSAGE_BYTES,
    perMessageDeflate: false,
    followRedirects: false,
  });
}

/** Waits for the upgrade. Returns a reason to try again later, nothing when it worked; throws when it never will. */
function opened(ws: WebSocket, signal: AbortSignal): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const onAbort = () => ws.terminate();
    signal.addEventListener("abort", onAbort, { once: true });
    const finish = (done: () => void) => {
      signal.removeEventListener("abort", onAbort);
      done();
    };
    ws.once("open", () => finish(() => resolve(undefined)));
    ws.once("unexpected-response", (request, response) => {
      const status = response.statusCode ?? 0;
      response.resume();
      request.destroy();
      finish(() => {
        if (status === 401 || status === 403) reject(refused(status));
        else if (status === 404) reject(unknownCompute());
        else resolve(`the gateway answered HTTP ${status}`);
      });
    });
    ws.on("error", (error) => finish(() => resolve(wordsFor(error))));
    if (signal.aborted) onAbort();
  });
}

function wordsFor(error: Error): string {
  const { code } = error as NodeJS.ErrnoException;
  if (code === "ECONNREFUSED") return "no gateway answers there";
  if (code === "ENOTFOUND" || code === "EAI_AGAIN") return "the gateway's name is not known to DNS";
  return error.message || code || "no connection";
}

function refused(status: number): CerverError {
  return new CerverError(
    status === 401 ? "unauthenticated" : "forbidden",
    `The gateway refused this relay's token (HTTP ${status}): it is wrong, expired or revoked.`,
    { hint: "Run `cerver relay` again: it will log in once more." },
  );
}

function unknownCompute(): CerverError {
  return new CerverError("compute_not_found", "The gateway does not know this compute any more.", {
    hint: "Run `cerver relay` again: it registers this machine anew.",
  });
}

function refuseToReturn(code: number, computeId: string): void {
  if (code === CLOSE.removed) {
    throw new CerverError("compute_not_found", `The compute ${computeId} was removed from its account.`, {
      hint: "Run `cerver relay` again to attach this machine anew.",
    });
  }
}

function takenOver(computeId: string): CerverError {
  return new CerverError("conflict", `Another relay connected as ${computeId}, so this one stops.`, {
    hint: "Run one relay for each machine. Copies of a machine need their own: remove computes.json in the config folder, and set CERVER_MACHINE_ID to a name of its own.",
  });
}
