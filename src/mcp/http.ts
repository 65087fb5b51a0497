import {
  type AuthInfo,
  createMcpHandler,
  isLegacyRequest,
  legacyStatelessFallback,
  type McpServer,
  type ServerNotifier,
  WebStandardStreamableHTTPServerTransport,
} from "@modelcontextprotocol/server";
import { GatewayClient } from "../client/gateway-client.js";
import type { Scope } from "../protocol/scopes.js";
import { VERSION } from "../util/version.js";
import { EventLog } from "./event-log.js";
import { createMcpServer } from "./server.js";

/** The same `id` is the same token, whose key may have been renewed. */
interface Caller {
  id: string;
  token: string | undefined;
  scopes: ReadonlySet<Scope>;
}

export interface McpEndpointOptions<C> {
  /** A server with the tools of whoever calls. It is asked for at each use, because a token's key may be renewed. */
  serve(caller: () => C): McpServer;
  /** Whose connection it is: nobody else may use it. */
  idOf(caller: C): string;
  onerror?: (error: Error) => void;
}

const MAX_BODY_BYTES = 4 * 1024 * 1024;
/** Connections with a handshake that are kept at a time, of all callers and of one; the one that was quiet for longest goes first. */
const MAX_CONNECTIONS = 1_000;
const MAX_OF_ONE = 100;
const IDLE_MS = 30 * 60_000;
const LOOK_MS = 60_000;
/** What is kept for clients whose streams break: several hundred of the longest results. */
const EVENT_LOG = { maxEvents: 10_000, maxLength: 32 * 1024 * 1024 };
/** When a client whose stream broke is to come back. */
const RETRY_MS = 1_000;

/** cerver's tools at a gateway's `/mcp`. They speak to that gateway with the caller's own token. */
export function createMcpEndpoint({ gatewayUrl }: { gatewayUrl: string }): McpEndpoint<Caller> {
  return new McpEndpoint({
    idOf: ({ id }) => id,
    serve: (caller) =>
      createMcpServer({
        client: async () =>
          new GatewayClient({ gatewayUrl, token: caller().token, userAgent: `cerver-mcp/${VERSION}` }),
        scopes: caller().scopes,
      }),
  });
}

/**
 * The Model Context Protocol over Streamable HTTP: the stateless revision 2026-07-28, and those before it with or without
 * a connection of their own. A connection makes a call cancellable, and an answer whose stream broke can be asked for
 * again; nothing else depends on it, so a request whose connection is not known here (another gateway has it, or this one
 * is new) is served all the same.
 */
export class McpEndpoint<C> {
  readonly #options: McpEndpointOptions<C>;
  readonly #connections = new Map<string, Connection<C>>();
  /** Ids of connections that their clients have ended. */
  readonly #ended = new Set<string>();
  readonly #events = new EventLog(EVENT_LOG);
  readonly #timer = setInterval(() => this.#endIdle(), LOOK_MS).unref();
  readonly #modern;
  readonly #stateless;

  constructor(options: McpEndpointOptions<C>) {
    this.#options = options;
    const { onerror } = options;
    const serve = ({ authInfo }: { authInfo?: AuthInfo }) =>
      options.serve(() => authInfo?.extra?.caller as C);
    const limits = { maxRequestBodySize: MAX_BODY_BYTES };
    this.#modern = createMcpHandler(serve, { legacy: "reject", ...limits, ...(onerror && { onerror }) });
    this.#stateless = legacyStatelessFallback(serve, onerror, limits);
  }

  /** Tells clients of the stateless revision that listen what has changed. cerver's own tools do not; the conformance suite's do. */
  get notify(): ServerNotifier {
    return this.#modern.notify;
  }

  async fetch(request: Request, caller: C): Promise<Response> {
    // The library hands this on as it is; who calls has been checked before.
    const authInfo = { token: "", clientId: "", scopes: [], extra: { caller } };
    const id = request.headers.get("mcp-session-id");
    if (id !== null) {
      const connection = this.#connections.get(id);
      const { idOf } = this.#options;
      if (connection && idOf(connection.latest.caller) === idOf(caller))
        return connection.fetch(request, caller);
      if (connection || this.#ended.has(id)) return ended();
    }
    if (!(await isLegacyRequest(request, undefined, { maxRequestBodySize: MAX_BODY_BYTES })))
      return this.#modern.fetch(request, { authInfo });
    if (id === null && request.method === "POST" && (await isHandshake(request)))
      return this.#connect(request, caller);
    return this.#stateless(request, { authInfo });
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    const connections = [...this.#connections.values()];
    this.#connections.clear();
    await Promise.all([...connections.map((one) => one.close()), this.#modern.close()]);
  }

  async #connect(request: Request, caller: C): Promise<Response> {
    const latest = { caller };
    const server = this.#options.serve(() => latest.caller);
    const id = crypto.randomUUID();
    const transport = new WebStandardStreamableHTTPServerTransport({
      sessionIdGenerator: () => id,
      eventStore: this.#events.of(id),
      retryInterval: RETRY_MS,
      maxRequestBodySize: MAX_BODY_BYTES,
      onsessioninitialized: () => {
        this.#connections.set(id, new Connection(latest, server, transport));
        this.#makeRoom(this.#options.idOf(caller));
      },
      onsessionclosed: () => {
        this.#ended.add(id);
        if (this.#ended.size > MAX_CONNECTIONS) this.#ended.delete(this.#ended.values().next().value!);
        this.#end(id);
      },
    });
    await server.connect(transport);
    const response = await transport.handleRequest(request);
    if (transport.sessionId === undefined) {
      this.#events.forget(id);
      await server.close();
    }
    return response;
  }

  /** Who has many loses their own first; a connection that is in use goes last. */
  #makeRoom(owner: string): void {
    const all = [...this.#connections];
    const own = all.filter(([, { latest }]) => this.#options.idOf(latest.caller) === owner);
    const some = own.length > MAX_OF_ONE ? own : all.length > MAX_CONNECTIONS ? all : [];
    const [quietest] = some.sort(([, a], [, b]) => Number(a.inUse) - Number(b.inUse) || a.usedAt - b.usedAt);
    if (quietest) this.#end(quietest[0]);
  }

  #endIdle(): void {
    const now = performance.now();
    for (const [id, { usedAt, inUse }] of this.#connections)
      if (!inUse && now - usedAt > IDLE_MS) this.#end(id);
  }

  #end(id: string): void {
    const connection = this.#connections.get(id);
    this.#connections.delete(id);
    this.#events.forget(id);
    connection?.close().catch((error: Error) => this.#options.onerror?.(error));
  }
}

/** A client that shook hands, and the server it talks to. */
class Connection<C> {
  usedAt = performance.now();
  #requests = 0;

  constructor(
    /** Who called last. */
    readonly latest: { caller: C },
    private readonly server: McpServer,
    private readonly transport: WebStandardStreamableHTTPServerTransport,
  ) {}

  get inUse(): boolean {
    return this.#requests > 0;
  }

  async fetch(request: Request, caller: C): Promise<Response> {
    this.latest.caller = caller;
    this.#requests++;
    const done = () => {
      this.#requests--;
      this.usedAt = performance.now();
    };
    try {
      const response = await this.transport.handleRequest(request);
      // A stream is in use until it ends, long after its head has gone out.
      if (response.body) return new Response(untilOver(response.body, done), response);
      done();
      return response;
    } catch (error) {
      done();
      throw error;
    }
  }

  close(): Promise<void> {
    return this.server.close();
  }
}

/** A body, and what is done once it is over, however that comes. */
function untilOver(body: ReadableStream<Uint8Array>, done: () => void): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  return new ReadableStream({
    async pull(controller) {
      try {
        const { done: isOver, value } = await reader.read();
        if (!isOver) return controller.enqueue(value);
        done();
        controller.close();
      } catch (error) {
        done();
        controller.error(error);
      }
    },
    cancel(reason) {
      done();
      return reader.cancel(reason);
    },
  });
}

async function isHandshake(request: Request): Promise<boolean> {
  const body: unknown = await request
    .clone()
    .json()
    .catch(() => undefined);
  const messages = Array.isArray(body) ? body : [body];
  return messages.some((message) => (message as { method?: unknown } | null)?.method === "initialize");
}

/** What a client has to hear to shake hands again (MCP 2025-11-25, transports, session management). */
function ended(): Response {
  const error = { code: -32001, message: "This connection is over. Send initialize to begin another." };
  return Response.json({ jsonrpc: "2.0", error, id: null }, { status: 404 });
}
