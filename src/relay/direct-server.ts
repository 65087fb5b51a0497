import { createHash, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, isIP } from "node:net";
import { hostname } from "node:os";
import { Readable } from "node:stream";
import type { ReadableStream as NodeReadableStream } from "node:stream/web";
import { CALL_HEADER, CALL_ID, CALLS_PATH, HEALTH_PATH } from "../protocol/direct.js";
import { CerverError } from "../protocol/errors.js";
import type { Serve } from "../tunnel/wire.js";
import { pour } from "../util/byte-stream.js";
import { knownBody } from "../util/known-body.js";
import type { Logger } from "../util/logger.js";

/** Connections at once. */
const MAX_CONNECTIONS = 1_024;
/** An idle connection is kept this long, longer than our gateway keeps its end. */
const IDLE_MS = 15_000;
/** So many calls that were ended and have not arrived are remembered. */
const MAX_OVERTAKEN = 1_024;
const TCP_KEEP_ALIVE_MS = 15_000;

export interface DirectServerOptions {
  host: string;
  port: number;
  token: string;
  /** Names under which it may be called, beside this machine's own. */
  names: readonly string[];
  serve: Serve;
  logger: Logger;
}

export interface DirectServer {
  /** The address to give to a gateway as P69_BASE_URL. */
  readonly url: string;
  /** Ends every connection. */
  close(): Promise<void>;
}

/**
 * Serves the compute API on a port of this machine, to those who have the token, and to no web page.
 *
 * Of a call with a name ({@link CALL_HEADER}), a connection that breaks is not taken for a hang-up: `request.signal`
 * then aborts with `compute_lost`, as it does when a tunnel breaks.
 */
export async function directServer(options: DirectServerOptions): Promise<DirectServer> {
  const { host, port, serve, logger } = options;
  const calls = new Map<string, AbortController>();
  /** Calls that were ended before they arrived: the two came by different connections. */
  const overtaken = new Set<string>();
  const everywhere = host === "0.0.0.0" || host === "::";
  const names = new Set(
    [...options.names, hostname(), ...(everywhere ? [] : [host])].map((name) => name.toLowerCase()),
  );
  const expected = digest(options.token);
  const server = createServer({ keepAliveTimeout: IDLE_MS }, (incoming, outgoing) => {
    incoming.socket.setKeepAlive(true, TCP_KEEP_ALIVE_MS);
    answerTo(incoming, outgoing).catch((error: unknown) => {
      // The head has gone out: all that can be said is that the answer is not whole.
      if (!outgoing.destroyed) logger.debug({ err: error }, "an answer broke");
      outgoing.destroy();
    });
  });
  server.maxConnections = MAX_CONNECTIONS;
  // A body may come for as long as a preview's socket is open. What a request's head may take stays bounded.
  server.requestTimeout = 0;
  await listen(server, host, port);
  const address = server.address() as AddressInfo;
  return {
    url: `http://${everywhere ? hostname() : isIP(address.address) === 6 ? `[${address.address}]` : address.address}:${address.port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };

  async function answerTo(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const path = incoming.url ?? "/";
    try {
      refuseForeign(incoming, names);
      if (path === HEALTH_PATH && incoming.method === "GET") {
        // Anybody may ask, and nobody has to send something with it.
        outgoing.setHeader("connection", "close");
        return await give(outgoing, Response.json({ status: "ok", service: "cerver-relay" }));
      }
      refuseStrangers(incoming, expected);
      const ended = CALL_PATH.exec(path)?.[1];
      if (ended !== undefined && incoming.method === "DELETE") return await give(outgoing, end(ended));
    } catch (error) {
      if (!(error instanceof CerverError)) throw error;
      // What was sent with it is not read.
      outgoing.setHeader("connection", "close");
      return give(outgoing, Response.json(error.toBody(), { status: error.status }));
    }
    const call = callOf(incoming);
    if (call !== undefined && overtaken.delete(call)) {
      outgoing.setHeader("connection", "close");
      return give(outgoing, Response.json(hungUp().toBody(), { status: hungUp().status }));
    }
    const abort = new AbortController();
    if (call !== undefined) calls.set(call, abort);
    outgoing.once("close", () => {
      if (call !== undefined && calls.get(call) === abort) calls.delete(call);
      if (!outgoing.writableFinished) abort.abort(call === undefined ? hungUp() : brokenOff());
    });
    await give(outgoing, await serve(requestOf(incoming, abort.signal)));
  }

  /** The asker of a call has left for good. */
  function end(call: string): Response {
    const abort = calls.get(call);
    abort?.abort(hungUp());
    if (!abort) remember(call);
    return Response.json({ success: true, ended: abort !== undefined });
  }

  function remember(call: string): void {
    overtaken.add(call);
    if (overtaken.size <= MAX_OVERTAKEN) return;
    const [oldest] = overtaken;
    overtaken.delete(oldest!);
  }
}

const CALL_PATH = new RegExp(`^${CALLS_PATH}/([\\w-]{8,64})$`);

function callOf({ headers }: IncomingMessage): string | undefined {
  const call = headers[CALL_HEADER];
  return typeof call === "string" && CALL_ID.test(call) ? call : undefined;
}

function requestOf(incoming: IncomingMessage, signal: AbortSignal): Request {
  const { method = "GET", url = "/", headers } = incoming;
  const hasBody = method !== "GET" && method !== "HEAD";
  return new Request(`http://compute${url}`, {
    method,
    signal,
    headers: { ...(headers["content-type"] && { "content-type": headers["content-type"] }) },
    ...(hasBody && {
      body: Readable.toWeb(incoming) as NodeReadableStream as ReadableStream,
      duplex: "half",
    }),
  } as RequestInit);
}

/** Writes an answer as its reader takes it. */
async function give(outgoing: ServerResponse, response: Response): Promise<void> {
  outgoing.writeHead(response.status, Object.fromEntries(response.headers));
  const known = knownBody(response);
  if (known || !response.body) {
    outgoing.end(known);
    return;
  }
  outgoing.flushHeaders();
  await pour(response.body, outgoing);
}

/** A page that rebinds its own name to this address sends that name as Host; a page of another site sends its Origin. */
function refuseForeign({ headers, socket }: IncomingMessage, names: ReadonlySet<string>): void {
  if (headers.origin !== undefined) {
    throw new CerverError("forbidden", "This relay answers to no web page.", {
      hint: "Ask a gateway instead.",
    });
  }
  const name = hostName(headers.host ?? "");
  if (name === "localhost" || names.has(name) || name === plain(socket.localAddress ?? "")) return;
  if (isIP(name) !== 0 && (name === "::1" || name.startsWith("127."))) return;
  throw new CerverError("forbidden", `This relay does not answer to the name "${name}".`, {
    hint: "Use its address, or start it with --listen-name for that name.",
  });
}

function refuseStrangers({ headers }: IncomingMessage, expected: Buffer): void {
  const token = /^Bearer ([^\s]+)$/i.exec(headers.authorization ?? "")?.[1];
  if (token !== undefined && timingSafeEqual(digest(token), expected)) return;
  throw new CerverError(
    "unauthenticated",
    token === undefined ? "This relay wants its token." : "This relay does not know this token.",
    {
      hint: "Send it as `Authorization: Bearer P69_API_TOKEN`. The relay says at its start where it is kept.",
    },
  );
}

/** Digests are of one length, so that comparing them takes the same time whatever the token. */
function digest(token: string): Buffer {
  return createHash("sha256").update(token).digest();
}

/** The name in a Host header, without its port. */
function hostName(host: string): string {
  const bracketed = /^\[([^\]]+)\](?::\d+)?$/.exec(host)?.[1];
  return plain(bracketed ?? host.replace(/:\d+$/, "")).toLowerCase();
}

/** An IPv4 address that came over IPv6, as IPv4. */
function plain(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/i, "");
}

function hungUp(): CerverError {
  return new CerverError("timed_out", "The caller went away.");
}

function brokenOff(): CerverError {
  return new CerverError("compute_lost", "The connection of the caller broke.");
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const taken = error.code === "EADDRINUSE";
      reject(
        new CerverError(
          taken ? "conflict" : "invalid_request",
          taken
            ? `Port ${port} on ${host} is in use by another program.`
            : `This machine cannot listen on ${host}:${port}: ${error.message}.`,
          { hint: "Choose another with --listen HOST:PORT.", cause: error },
        ),
      );
    });
    server.listen(port, host, resolve);
  });
}
