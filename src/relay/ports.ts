import { type ClientRequest, request as httpRequest, type IncomingMessage } from "node:http";
import { connect, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { CerverError } from "../protocol/errors.js";
import { endToEnd, PORT_ANSWER_HEADER, relayPortPath } from "../protocol/ports.js";
import { bytesOf, pour } from "../util/byte-stream.js";
import { nothingListens, type SandboxPorts } from "./host/sandbox-ports.js";

/** A local server that takes this long to accept a connection is not there. */
const CONNECT_TIMEOUT_MS = 5_000;

export interface PortCall {
  sandboxId: string;
  port: number;
  request: Request;
}

/** Passes requests on to the servers that a sandbox's own processes run on this machine. */
export class PortProxy {
  readonly #ports: SandboxPorts;

  constructor(ports: SandboxPorts) {
    this.#ports = ports;
  }

  /** One request and its answer, both streamed. The connection ends when the asker goes. */
  async forward(call: PortCall): Promise<Response> {
    const { request } = call;
    // A server that would close at once could take its answer to a body it does not read away with it.
    const { outgoing, answered } = await this.#begin(call, "ports", { connection: "keep-alive" });
    if (request.body) void pour(request.body, outgoing);
    else outgoing.end();
    return toResponse(await answered, request.method);
  }

  /**
   * A connection that changes its protocol, as websockets do: the request's body is what the visitor sends after the
   * handshake, the response's body what the local server sends. A server that refuses answers as it likes.
   */
  async socket(call: PortCall): Promise<Response> {
    const { request } = call;
    const handshake = { connection: "Upgrade", upgrade: "websocket" };
    const { outgoing, answered } = await this.#begin(call, "sockets", handshake);
    const upgraded = new Promise<{ message: IncomingMessage; raw: Duplex; head: Buffer }>((resolve) => {
      outgoing.once("upgrade", (message, raw, head) => resolve({ message, raw, head }));
    });
    outgoing.end();
    const first = await Promise.race([answered, upgraded]);
    if (!("raw" in first)) {
      await request.body?.cancel();
      return toResponse(first, "GET");
    }
    const { message, raw, head } = first;
    const answer = new Response(bytesOf(raw, head), { headers: headersOf(message, "upgraded") });
    if (request.body) void pour(request.body, raw);
    return answer;
  }

  /** Connects to the local server, and has the head of the request ready for it. */
  async #begin(
    { sandboxId, port, request }: PortCall,
    kind: "ports" | "sockets",
    extra: Record<string, string>,
  ): Promise<{ outgoing: ClientRequest; answered: Promise<IncomingMessage> }> {
    const headers = Object.fromEntries(endToEnd(request.headers));
    // Without a body, a length would make the server wait for one, and take what comes next for it.
    if (!request.body) delete headers["content-length"];
    const path = targetOf(request, relayPortPath(sandboxId, kind, port));
    const addresses = await this.#ports.addressesOf(sandboxId, port);
    const socket = await this.#connect(sandboxId, addresses, port, request.signal);
    const outgoing = httpRequest({
      createConnection: () => socket,
      method: kind === "sockets" ? "GET" : request.method,
      path,
      headers: { ...headers, ...extra, host: `localhost:${port}` },
    });
    // A body that is not as long as it says would run into the next request.
    Object.assign(outgoing, { strictContentLength: true });
    const answered = answerOf(outgoing, port);
    outgoing.once("response", (message) => message.once("close", () => socket.destroySoon()));
    const onAbort = () => socket.destroy();
    request.signal.addEventListener("abort", onAbort, { once: true });
    socket.once("close", () => request.signal.removeEventListener("abort", onAbort));
    if (request.signal.aborted) onAbort();
    return { outgoing, answered };
  }

  async #connect(
    sandboxId: string,
    addresses: readonly string[],
    port: number,
    signal: AbortSignal,
  ): Promise<Socket> {
    for (const address of addresses) {
      signal.throwIfAborted();
      const socket = await connected(address, port);
      if (socket) return socket;
    }
    this.#ports.forget(sandboxId, port);
    throw nothingListens(port);
  }
}

function connected(host: string, port: number): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, noDelay: true });
    const fail = () => {
      socket.destroy();
      resolve(undefined);
    };
    // The listener stays: a connection that breaks later has its own words elsewhere.
    socket.on("error", fail);
    socket.setTimeout(CONNECT_TIMEOUT_MS, fail);
    socket.once("connect", () => {
      socket.setTimeout(0).off("timeout", fail);
      resolve(socket);
    });
  });
}

/** What the local server is asked for: all that follows our own path. */
function targetOf(request: Request, prefix: string): string {
  const { pathname, search } = new URL(request.url);
  if (!pathname.startsWith(`${prefix}/`))
    throw new CerverError("not_found", "This path is none of a port's.");
  return pathname.slice(prefix.length) + search;
}

function answerOf(outgoing: ClientRequest, port: number): Promise<IncomingMessage> {
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.once("response", resolve);
    outgoing.on("error", (cause) =>
      reject(
        new CerverError(
          "provider_failed",
          `The server on port ${port} gave no answer that can be understood.`,
          {
            hint: "Read its output with `cerver logs`: it may have crashed, or speak another protocol than HTTP.",
            cause,
          },
        ),
      ),
    );
  });
  // A connection that breaks after its answer, or in place of one that nobody waits for, tells nobody.
  answered.catch(() => {});
  return answered;
}

function toResponse(message: IncomingMessage, method: string): Response {
  const status = message.statusCode ?? 0;
  if (status < 200 || status > 599) {
    message.destroy();
    throw new CerverError(
      "provider_failed",
      `The server answered with the status ${status}, which HTTP does not have.`,
      { hint: "Let it answer with one from 200 to 599." },
    );
  }
  const hasBody = method !== "HEAD" && ![204, 205, 304].includes(status);
  if (!hasBody) message.on("error", () => {}).resume();
  return new Response(hasBody ? bytesOf(message) : null, { status, headers: headersOf(message, "answer") });
}

function headersOf({ rawHeaders }: IncomingMessage, kind: "answer" | "upgraded"): Headers {
  const pairs: [string, string][] = [];
  for (let at = 0; at < rawHeaders.length; at += 2) pairs.push([rawHeaders[at]!, rawHeaders[at + 1]!]);
  const headers = new Headers(endToEnd(pairs));
  headers.set(PORT_ANSWER_HEADER, kind);
  return headers;
}
