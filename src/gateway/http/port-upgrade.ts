import { type IncomingMessage, type Server, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import { CerverError } from "../../protocol/errors.js";
import { bytesOf, pour } from "../../util/byte-stream.js";
import type { Logger } from "../../util/logger.js";
import { type PreviewAddress, previewAddress } from "./preview-address.js";
import { type AdmissionDeps, admit } from "./preview-admission.js";
import { answerHeaders, isOwnOrigin, requestHeaders, type Visit } from "./preview-headers.js";
import { refuse } from "./tunnel-upgrade.js";

/** How long a silent connection is left before the system asks whether the visitor is there. */
const KEEP_ALIVE_MS = 60_000;
/** How long a visitor has to end its side after the server has ended. */
const LINGER_MS = 5_000;

export interface PortUpgradeDeps extends AdmissionDeps {
  publicUrl: () => string;
  previewHost?: string | undefined;
  logger: Logger;
}

/**
 * Lets the websockets of previewed pages through, as raw bytes: the handshake is made by the server behind the port, and
 * nothing in between reads what follows.
 */
export function acceptPortSockets(
  server: Server,
  deps: PortUpgradeDeps,
): { takes(request: IncomingMessage): boolean; close(): void } {
  const sockets = new Set<Duplex>();
  const addressOf = ({ headers, url }: IncomingMessage) =>
    previewAddress(headers.host ?? "", url ?? "", deps.previewHost);
  server.on("upgrade", (request, socket: Duplex, head) => {
    const address = addressOf(request);
    if (!address) return;
    sockets.add(socket);
    // A visitor whose network has gone says nothing of it.
    request.socket.setKeepAlive(true, KEEP_ALIVE_MS);
    const gone = new AbortController();
    socket.on("error", () => {});
    socket.once("close", () => {
      sockets.delete(socket);
      gone.abort();
    });
    join(request, socket, head, address, gone.signal, deps).catch((error) =>
      refuse(socket, error, deps.logger),
    );
  });
  return {
    takes: (request) => addressOf(request) !== undefined,
    close: () => {
      for (const socket of sockets) socket.destroy();
    },
  };
}

async function join(
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  address: PreviewAddress,
  signal: AbortSignal,
  deps: PortUpgradeDeps,
): Promise<void> {
  const { authorization, cookie, host = "", origin } = request.headers;
  const visit: Visit = {
    address,
    host,
    scheme: deps.publicUrl().startsWith("https:") ? "https" : "http",
    remoteAddress: request.socket.remoteAddress ?? "unknown",
  };
  if (request.method !== "GET" || request.headers.upgrade?.toLowerCase() !== "websocket") {
    throw new CerverError(
      "unsupported",
      `A port is not shown by the protocol "${request.headers.upgrade}".`,
      {
        hint: "HTTP, server-sent events and websockets pass through.",
      },
    );
  }
  const { session, until } = await admit(address, { authorization, cookie }, deps, visit.scheme);
  if (!isOwnOrigin(origin, visit)) {
    throw new CerverError("forbidden", `Pages of "${origin}" may not open websockets to this port.`, {
      hint: "Open the socket from the previewed page itself, or without an Origin header.",
    });
  }
  const { accepted, response } = await deps.ports.socket(
    session,
    address.port,
    {
      method: "GET",
      path: address.target,
      headers: requestHeaders(pairsOf(request), visit),
      body: bytesOf(socket, head),
    },
    { signal, until },
  );
  const headers = answerHeaders(response.headers, visit, false);
  // The answer of a server that refuses ends with its connection, so it needs no length.
  if (!accepted) headers.delete("content-length");
  socket.write(
    accepted ? headOf(101, headers, "Upgrade") : headOf(response.status, headers, "close"),
    "latin1",
  );
  if (response.body) await pour(response.body, socket);
  else socket.end();
  const timer = setTimeout(() => socket.destroy(), LINGER_MS);
  socket.once("close", () => clearTimeout(timer));
  if (socket.destroyed) clearTimeout(timer);
}

function headOf(status: number, headers: Headers, connection: "Upgrade" | "close"): string {
  const lines = [...headers].map(([name, value]) => `${name}: ${value}`);
  const upgrade = connection === "Upgrade" ? ["upgrade: websocket"] : [];
  const first = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? "Unknown"}`;
  return `${[first, ...upgrade, `connection: ${connection}`, ...lines].join("\r\n")}\r\n\r\n`;
}

function pairsOf({ rawHeaders }: IncomingMessage): [string, string][] {
  return rawHeaders.flatMap((name, at) =>
    at % 2 === 0 ? [[name, rawHeaders[at + 1]!] as [string, string]] : [],
  );
}
