import { type IncomingMessage, type Server, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import { WebSocketServer } from "ws";
import { CerverError } from "../../protocol/errors.js";
import { TUNNEL_SUBPROTOCOL } from "../../protocol/tunnel.js";
import { Channel } from "../../tunnel/channel.js";
import type { TunnelHub } from "../../tunnel/hub.js";
import { wsSocket } from "../../tunnel/ws-socket.js";
import type { Logger } from "../../util/logger.js";
import type { ApiTokens } from "../account/api-tokens.js";
import type { Computes } from "../compute/computes.js";

/** One websocket message at most: a level 1 answer carries a whole body. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
const CONNECT_PATH = "/v2/connect/ws";

export interface TunnelUpgradeDeps {
  hub: TunnelHub;
  computes: Computes;
  tokens: ApiTokens;
  software: string;
  /** Whether somebody else answers this upgrade. */
  isTaken?(request: IncomingMessage): boolean;
  /** Hears what an agent on a public relay tells of its session. */
  onStreamEvent?(computeId: string, event: { session_id: string; event: unknown }): void;
  logger: Logger;
}

/**
 * Lets relays in: `GET /v2/connect/ws?compute_id=…`, upgraded to a websocket (contract section 4).
 *
 * The token travels in the Authorization header; the public relays' copy of it in the query is read only when the
 * header is missing and level 2 is not offered.
 */
export function acceptTunnels(server: Server, deps: TunnelUpgradeDeps): { close(): void } {
  const sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: MAX_MESSAGE_BYTES,
    handleProtocols: (offered) => (offered.has(TUNNEL_SUBPROTOCOL) ? TUNNEL_SUBPROTOCOL : false),
  });
  server.on("upgrade", (request, socket: Duplex, head) => {
    if (deps.isTaken?.(request)) return;
    // Until ws has the socket, a broken one would have nobody to tell.
    const ignore = () => {};
    socket.on("error", ignore);
    admit(request, deps).then(
      (computeId) => {
        socket.off("error", ignore);
        sockets.handleUpgrade(request, socket, head, (ws) => {
          // A relay that ends its side will not say any more: waiting for the rest of a closing handshake would only show
          // a dead one as alive for longer.
          socket.once("end", () => ws.terminate());
          const level = ws.protocol === TUNNEL_SUBPROTOCOL ? 2 : 1;
          const logger = deps.logger.child({ compute_id: computeId });
          const channel = new Channel({
            socket: wsSocket(ws),
            level,
            side: "gateway",
            logger,
            software: deps.software,
            onStreamEvent: (event) => deps.onStreamEvent?.(computeId, event),
          });
          deps.hub.attach(computeId, channel);
          logger.info({ level }, "relay connected");
          channel.closed.then(({ code, reason }) => {
            logger.info({ code, reason }, "relay disconnected");
          });
        });
      },
      (error: unknown) => refuse(socket, error, deps.logger),
    );
  });
  return { close: () => sockets.close() };
}

/** The compute that a request may serve. */
async function admit(request: IncomingMessage, { computes, tokens }: TunnelUpgradeDeps): Promise<string> {
  const url = new URL(request.url ?? "/", "http://gateway");
  if (url.pathname !== CONNECT_PATH) {
    throw new CerverError("not_found", `There is no websocket at ${url.pathname}.`, {
      hint: `Relays connect at ${CONNECT_PATH}?compute_id=….`,
    });
  }
  const token = bearer(request) ?? queryToken(request, url);
  const principal = token === undefined ? undefined : await tokens.verify(token);
  if (!principal) {
    throw new CerverError("unauthenticated", "The relay's token is missing, wrong or revoked.", {
      hint: "Run `cerver relay` again to log in.",
    });
  }
  const computeId = url.searchParams.get("compute_id") ?? "";
  const { scopes } = principal;
  const mayServeAny = scopes.has("admin") || scopes.has("run");
  if (!mayServeAny && principal.computeId !== computeId) {
    throw new CerverError("forbidden", `This token may not serve ${computeId}.`, {
      hint: "Register this host again: run `cerver relay` once more.",
    });
  }
  await computes.get(principal.accountId, computeId);
  return computeId;
}

function bearer(request: IncomingMessage): string | undefined {
  return /^Bearer (\S+)$/i.exec(request.headers.authorization ?? "")?.[1];
}

function queryToken(request: IncomingMessage, url: URL): string | undefined {
  const offered = request.headers["sec-websocket-protocol"]?.split(",").map((name) => name.trim()) ?? [];
  return offered.includes(TUNNEL_SUBPROTOCOL) ? undefined : (url.searchParams.get("token") ?? undefined);
}

/** Answers an upgrade that is not taken, as any failed request is answered. */
export function refuse(socket: Duplex, error: unknown, logger: Logger): void {
  const known =
    error instanceof CerverError ? error : new CerverError("internal", "Something went wrong here.");
  if (known.code === "internal") logger.error({ err: error }, "websocket upgrade failed");
  const body = JSON.stringify(known.toBody());
  socket.end(
    [
      `HTTP/1.1 ${known.status} ${STATUS_CODES[known.status] ?? "Error"}`,
      "Content-Type: application/json",
      `Content-Length: ${Buffer.byteLength(body)}`,
      "Connection: close",
      "",
      body,
    ].join("\r\n"),
  );
}
