import type { IncomingMessage, Server } from "node:http";
import type { Duplex } from "node:stream";
import { type WebSocket, WebSocketServer } from "ws";
import { CerverError } from "../../protocol/errors.js";
import type { SessionNews } from "../../protocol/news.js";
import type { Logger } from "../../util/logger.js";
import type { Session } from "../session/session-record.js";
import type { Sessions } from "../session/sessions.js";
import { type AuthDeps, has, principalOfHeaders } from "./auth.js";
import { isLoopback } from "./local-only.js";
import { refuse } from "./tunnel-upgrade.js";

const PATH = /^\/(?:v2|gateway)\/sessions\/([^/]+)\/stream\/ws$/;
/** A reader that is this far behind misses news, and is told how many. In bytes. */
const MAX_BEHIND = 1024 * 1024;
/** So often a reader has to show that it is there. */
const PING_MS = 30_000;
/** Readers say nothing that matters. */
const MAX_MESSAGE_BYTES = 4 * 1024;

export interface NewsUpgradeDeps extends AuthDeps {
  sessions: Sessions;
  logger: Logger;
}

/** `/v2/sessions/:id/stream/ws`: what happens in one session, as JSON messages (contract section 6, "Live"). */
export function acceptNewsSockets(
  server: Server,
  deps: NewsUpgradeDeps,
): { takes(request: IncomingMessage): boolean; close(): void } {
  const sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: MAX_MESSAGE_BYTES,
  });
  const sessionOf = ({ url }: IncomingMessage) =>
    PATH.exec(new URL(url ?? "/", "http://gateway").pathname)?.[1];
  server.on("upgrade", (request, socket: Duplex, head) => {
    const id = sessionOf(request);
    if (id === undefined) return;
    const ignore = () => {};
    socket.on("error", ignore);
    admit(request, id, deps).then(
      (session) => {
        socket.off("error", ignore);
        sockets.handleUpgrade(request, socket, head, (ws) => tell(ws, session, deps.sessions));
      },
      (error: unknown) => refuse(socket, error, deps.logger),
    );
  });
  return {
    takes: (request) => sessionOf(request) !== undefined,
    close: () => {
      for (const ws of sockets.clients) ws.close(1001, "the gateway stops");
      sockets.close();
    },
  };
}

async function admit(request: IncomingMessage, id: string, deps: NewsUpgradeDeps): Promise<Session> {
  const { host = "", origin } = request.headers;
  // A gateway without tokens answers to pages of its own, and to no other.
  if (deps.localAccountId && (!isLoopback(host) || (origin !== undefined && origin !== `http://${host}`)))
    throw new CerverError(
      "forbidden",
      "This gateway has no tokens, so it answers to its own pages and programs only.",
    );
  const principal = await principalOfHeaders(request.headers, deps, "WS");
  if (has(principal.scopes, "read")) return deps.sessions.open(principal.accountId, decodeURIComponent(id));
  throw new CerverError("forbidden", "This token may not read sessions.", {
    hint: "Use a token with the scope read.",
  });
}

function tell(ws: WebSocket, session: Session, { news }: Sessions): void {
  let missed = 0;
  let isThere = true;
  const send = (item: SessionNews) => ws.send(JSON.stringify(item));
  const forget = news.listen({ sessionId: session.id }, (item) => {
    if (ws.bufferedAmount > MAX_BEHIND) return void missed++;
    if (missed > 0) send({ type: "missed", session_id: session.id, count: missed });
    missed = 0;
    send(item);
  });
  const timer = setInterval(() => {
    if (!isThere) return ws.terminate();
    isThere = false;
    ws.ping();
  }, PING_MS);
  ws.on("pong", () => {
    isThere = true;
  });
  ws.on("error", () => {});
  ws.on("close", () => {
    clearInterval(timer);
    forget();
  });
}
