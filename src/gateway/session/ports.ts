import { CerverError } from "../../protocol/errors.js";
import type { ListeningPort, PortLink } from "../../protocol/ports.js";
import type { MasterKey } from "../account/master-key.js";
import type { Computes } from "../compute/computes.js";
import type {
  PortForwarding,
  PortRequest,
  PortSocket,
  ProviderEnv,
  SandboxRecord,
} from "../compute/contract.js";
import type { ProviderRegistry } from "../compute/registry.js";
import type { Session } from "./session-record.js";
import { type PlacedSandbox, placed } from "./session-sandbox.js";

/** Requests and sockets that one session's ports may have open at once. */
const MAX_OPEN_PER_SESSION = 256;
const SIGNED_FOR = "port link";

export interface PortsDeps {
  providers: ProviderRegistry;
  computes: Pick<Computes, "isPublic">;
  masterKey: MasterKey;
  /** Where a ticket opens a port: the beginning of the address, which a path at the local server follows. */
  linkUrl(session: Session, port: number, ticket: string): string;
  /** Told of each request and each socket, as somebody looks at the session; what it returns is called when that is over. */
  onOpen(session: Session): () => void;
  now?: () => number;
}

/** Who looks at a port: gone when the signal aborts, and until when their link lets them, in milliseconds since 1970. */
export interface Looker {
  signal: AbortSignal;
  until?: number | undefined;
}

/** The ports of a session: who may see them, through what link, and what is passed on to them. */
export class Ports {
  readonly #deps: Required<PortsDeps>;
  readonly #open = new Map<string, number>();

  constructor(deps: PortsDeps) {
    this.#deps = { now: Date.now, ...deps };
  }

  /** A link that opens a port for whoever has it, for so many seconds; a vendor's own address where it has one. */
  async link(session: Session, port: number, seconds: number, signal: AbortSignal): Promise<PortLink> {
    const { adapter, record } = this.#target(session);
    if (adapter.cloud?.portUrl) {
      const url = await adapter.cloud.portUrl(record, port, this.#env(session, signal));
      return { url, expires_at: null, port };
    }
    this.#forwarding(session);
    const expiresAt = Math.floor(this.#deps.now() / 1000) + seconds;
    return {
      url: this.#deps.linkUrl(session, port, this.#ticket(session.id, port, expiresAt)),
      expires_at: new Date(expiresAt * 1000).toISOString(),
      port,
    };
  }

  /** What the session's processes listen on. */
  async list(session: Session, signal: AbortSignal): Promise<ListeningPort[]> {
    const { ports, record } = this.#forwarding(session);
    return ports.list(record, this.#env(session, signal));
  }

  /**
   * Whether a ticket opens this port: returns when it ends, in milliseconds since 1970. Throws `not_found` for one that
   * nobody here has signed, and `link_expired`.
   */
  expiryOf(ticket: string, sessionId: string, port: number): number {
    const [expiry = "", signature = ""] = ticket.split(".");
    const { masterKey, now } = this.#deps;
    if (
      !/^\d{1,12}$/.test(expiry) ||
      !masterKey.verifies(SIGNED_FOR, signedText(sessionId, port, expiry), signature)
    ) {
      throw new CerverError(
        "not_found",
        "This link opens nothing here: it is not complete, or was changed.",
        {
          hint: "Copy the whole link, or make a new one with `cerver port SESSION PORT`.",
        },
      );
    }
    const endsAt = Number(expiry) * 1000;
    if (endsAt > now()) return endsAt;
    throw linkExpired(endsAt);
  }

  /** Passes a request on to the server behind a port. */
  async forward(session: Session, port: number, request: PortRequest, looker: Looker): Promise<Response> {
    const { ports, record } = this.#forwarding(session);
    const { signal, over } = this.#begin(session, looker);
    try {
      const response = await ports.forward(record, port, request, this.#env(session, signal));
      return untilRead(response, over);
    } catch (error) {
      over();
      throw error;
    }
  }

  /** Passes a websocket on. `response.body` is what the server sends, and ends when the socket does. */
  async socket(session: Session, port: number, request: PortRequest, looker: Looker): Promise<PortSocket> {
    const { ports, record } = this.#forwarding(session);
    const { signal, over } = this.#begin(session, looker);
    try {
      const { accepted, response } = await ports.socket(record, port, request, this.#env(session, signal));
      return { accepted, response: untilRead(response, over) };
    } catch (error) {
      over();
      throw error;
    }
  }

  /** How many requests and websockets to a session's ports are open now. */
  openTo(sessionId: string): number {
    return this.#open.get(sessionId) ?? 0;
  }

  /** Counts one more that is open; `over` takes it off again. */
  #begin(session: Session, { signal, until }: Looker): { signal: AbortSignal; over(): void } {
    const open = this.openTo(session.id);
    if (open >= MAX_OPEN_PER_SESSION) {
      throw new CerverError(
        "too_many_requests",
        `The ports of this session have ${open} requests open, as many as they may.`,
        {
          hint: "Close some of the pages that look at it, then try again.",
          details: { retry_after_ms: 1_000 },
        },
      );
    }
    this.#open.set(session.id, open + 1);
    const noMore = this.#deps.onOpen(session);
    const expired = new AbortController();
    const timer =
      until === undefined
        ? undefined
        : setTimeout(() => expired.abort(linkExpired(until)), until - this.#deps.now());
    let isOver = false;
    return {
      signal: until === undefined ? signal : AbortSignal.any([signal, expired.signal]),
      over: () => {
        if (isOver) return;
        isOver = true;
        clearTimeout(timer);
        const left = this.#open.get(session.id)! - 1;
        if (left > 0) this.#open.set(session.id, left);
        else this.#open.delete(session.id);
        noMore();
      },
    };
  }

  #ticket(sessionId: string, port: number, expirySeconds: number): string {
    const text = signedText(sessionId, port, String(expirySeconds));
    return `${expirySeconds}.${this.#deps.masterKey.sign(SIGNED_FOR, text)}`;
  }

  #target(session: Session): PlacedSandbox {
    if (session.ended_at !== null) {
      throw new CerverError("session_ended", `Session ${session.id} has ended, and its servers with it.`, {
        hint: "Create a new one with POST /v2/sessions and start the server there.",
      });
    }
    const target = placed(this.#deps.providers, session);
    if (!target) {
      throw new CerverError("no_compute", `Session ${session.id} has no compute, so it has no ports.`, {
        hint: 'Create a session without "compute": null.',
      });
    }
    return target;
  }

  #forwarding(session: Session): { ports: PortForwarding; record: SandboxRecord } {
    const { adapter, record } = this.#target(session);
    if (adapter.cloud?.portUrl) {
      throw new CerverError(
        "unsupported",
        `${adapter.providerName} serves ports under addresses of its own.`,
        {
          hint: `Ask for that address: POST /v2/sessions/${session.id}/ports/PORT/link.`,
        },
      );
    }
    if (adapter.ports && !this.#deps.computes.isPublic(record.computeId))
      return { ports: adapter.ports, record };
    throw new CerverError("unsupported", "The compute of this session cannot show ports.", {
      hint: "Use a session on a machine that runs `cerver relay` of this version.",
    });
  }

  #env({ account_id, compute_id }: Session, signal: AbortSignal): ProviderEnv {
    return { accountId: account_id, computeId: compute_id!, signal, credentials: {} };
  }
}

function linkExpired(endsAt: number): CerverError {
  return new CerverError("link_expired", `This link ended at ${new Date(endsAt).toISOString()}.`, {
    hint: "Make a new one with `cerver port SESSION PORT`; --expires says for how long.",
  });
}

/** What a ticket's signature is about. */
function signedText(sessionId: string, port: number, expiry: string): string {
  return `${sessionId} ${port} ${expiry}`;
}

/** Tells when nothing of an answer is to come any more. */
function untilRead(response: Response, over: () => void): Response {
  const { body, status, headers } = response;
  if (body) return new Response(watched(body, over), { status, headers });
  over();
  return response;
}

/** The same bytes, and word of when nobody reads them any more. */
function watched(body: ReadableStream<Uint8Array>, over: () => void): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await reader.read();
          if (!done) return controller.enqueue(value);
          over();
          controller.close();
        } catch (error) {
          over();
          controller.error(error);
        }
      },
      async cancel(reason) {
        over();
        await reader.cancel(reason);
      },
    },
    { highWaterMark: 0 },
  );
}
