import type { RawData, WebSocket } from "ws";
import type { FrameSocket, FrameSocketHandlers } from "./frame-socket.js";

/** Above this many queued bytes senders wait. */
const HIGH_WATER_BYTES = 4 * 1024 * 1024;
/** How long a close handshake may take before the socket is cut. */
const CLOSE_TIMEOUT_MS = 3_000;

/** A `ws` websocket, of a server or a client, as a {@link FrameSocket}. */
export function wsSocket(ws: WebSocket): FrameSocket {
  let handlers: FrameSocketHandlers | undefined;
  let early: (string | Uint8Array)[] = [];
  let ended: { code: number; reason: string } | undefined;
  let waiting: (() => void)[] = [];

  const release = () => {
    if (waiting.length === 0 || (ws.readyState === ws.OPEN && ws.bufferedAmount > HIGH_WATER_BYTES / 2))
      return;
    const resume = waiting;
    waiting = [];
    for (const resolve of resume) resolve();
  };
  ws.on("message", (data: RawData, isBinary: boolean) => {
    const message = isBinary ? bytesOf(data) : data.toString();
    if (handlers) handlers.message(message);
    else early.push(message);
  });
  ws.on("pong", () => handlers?.pong());
  // ws always follows an error with a close, which is what owners hear.
  ws.on("error", () => {});
  ws.on("close", (code, reason) => {
    ended = { code, reason: reason.toString() };
    release();
    handlers?.close(ended.code, ended.reason);
  });

  return {
    open(given) {
      handlers = given;
      for (const message of early) handlers.message(message);
      early = [];
      if (ended) handlers.close(ended.code, ended.reason);
    },
    send(message) {
      if (ws.readyState !== ws.OPEN) return;
      ws.send(message, { binary: typeof message !== "string" }, waiting.length > 0 ? release : noop);
    },
    ping() {
      if (ws.readyState === ws.OPEN) ws.ping();
    },
    get congested() {
      return ws.bufferedAmount > HIGH_WATER_BYTES;
    },
    drained() {
      if (ws.readyState !== ws.OPEN || ws.bufferedAmount <= HIGH_WATER_BYTES) return Promise.resolve();
      return new Promise((resolve) => {
        waiting.push(resolve);
        // The sends that are queued already report to nobody: an empty ping is written after them and does.
        if (waiting.length === 1) ws.ping(undefined, undefined, release);
      });
    },
    close(code, reason) {
      // A reason has to fit a control frame: 123 bytes (RFC 6455, section 5.5).
      ws.close(code, reason.slice(0, 100));
      const timer = setTimeout(() => ws.terminate(), CLOSE_TIMEOUT_MS);
      ws.once("close", () => clearTimeout(timer));
    },
    terminate: () => ws.terminate(),
  };
}

function noop(): void {}

function bytesOf(data: RawData): Uint8Array {
  if (Array.isArray(data)) return Buffer.concat(data);
  return data instanceof ArrayBuffer ? new Uint8Array(data) : data;
}
