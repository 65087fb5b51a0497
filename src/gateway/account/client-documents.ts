import type { lookup } from "node:dns";
import { request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { ClientDocument } from "../../protocol/oauth.js";
import { publicLookup, refusePrivateHost } from "../../util/public-address.js";
import { AttemptLimit } from "./attempt-limit.js";
import { type OAuthClient, readMetadata, shownName } from "./oauth-clients.js";
import { OAuthError } from "./oauth-error.js";

const TIMEOUT_MS = 5_000;
const MAX_BYTES = 64 * 1024;
/** Without a word about it in the answer, a document is asked for again after this. */
const DEFAULT_KEPT_SECONDS = 300;
const MAX_KEPT_SECONDS = 24 * 3600;
const MAX_KEPT = 200;
/** Fetches from one host in a minute: a gateway is no tool to bother others with. */
const MAX_FETCHES = 30;

export interface ClientDocumentsDeps {
  /** Whether addresses on this machine may be read, by http too: for a gateway that is on loopback itself. */
  allowLoopback: () => boolean;
  /** How names become addresses. @default the system's */
  lookup?: typeof lookup;
  /** Certificates to trust beside none other, PEM. @default those of Node */
  ca?: string;
  now?: () => number;
}

/**
 * Client ID Metadata Documents (draft-ietf-oauth-client-id-metadata-document): a client's id is the `https` address of a JSON
 * document about it.
 *
 * The address is a stranger's choice: it is fetched from public addresses only, without redirects, within 5 s and 64 KiB.
 */
export class ClientDocuments {
  readonly #deps: ClientDocumentsDeps;
  readonly #now: () => number;
  readonly #fetches: AttemptLimit;
  readonly #kept = new Map<string, { client: OAuthClient; until: number }>();

  constructor(deps: ClientDocumentsDeps) {
    this.#deps = deps;
    this.#now = deps.now ?? Date.now;
    this.#fetches = new AttemptLimit({ max: MAX_FETCHES, windowMs: 60_000, now: this.#now });
  }

  /** The client that a document describes. Throws `invalid_client` with what is wrong. */
  async read(clientId: string): Promise<OAuthClient> {
    const kept = this.#kept.get(clientId);
    if (kept && kept.until > this.#now()) return kept.client;
    const url = this.#parse(clientId);
    if (this.#fetches.isOver(url.host))
      throw refused(url, "it was asked for too often. Wait a minute, then open this page again");
    this.#fetches.count(url.host);
    const { text, keepSeconds } = await this.#fetch(url);
    const client = toClient(url, clientId, text);
    if (this.#kept.size >= MAX_KEPT) this.#kept.delete(this.#kept.keys().next().value!);
    if (keepSeconds > 0) this.#kept.set(clientId, { client, until: this.#now() + keepSeconds * 1000 });
    return client;
  }

  #parse(clientId: string): URL {
    const url = URL.canParse(clientId) ? new URL(clientId) : undefined;
    const secure = url?.protocol === "https:" || (url?.protocol === "http:" && this.#deps.allowLoopback());
    // Another spelling of the same address would be another client with the same document.
    if (url && secure && clientId === url.href && clientId.length <= 512 && isPlain(url)) return url;
    throw new OAuthError(
      "invalid_client",
      "A client_id that is an address has to be https, in its plain spelling, with a path, without user and fragment.",
    );
  }

  async #fetch(url: URL): Promise<{ text: string; keepSeconds: number }> {
    const rule = {
      allowLoopback: this.#deps.allowLoopback(),
      ...(this.#deps.lookup && { lookup: this.#deps.lookup }),
    };
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const request = url.protocol === "https:" ? requestHttps : requestHttp;
    try {
      refusePrivateHost(url, rule);
      return await new Promise((resolve, reject) => {
        const asked = request(
          url,
          {
            // A connection of its own: one that is kept open may lead to an address that was never checked.
            agent: false,
            lookup: publicLookup(rule),
            headers: { accept: "application/json", "user-agent": "cerver" },
            signal,
            ...(this.#deps.ca && { ca: this.#deps.ca }),
          },
          async (answer) => {
            try {
              const wrong = whatIsWrong(answer.statusCode ?? 0, answer.headers["content-type"] ?? "");
              if (wrong) throw refused(url, wrong);
              let size = 0;
              const chunks: Buffer[] = [];
              for await (const chunk of answer as AsyncIterable<Buffer>) {
                size += chunk.length;
                if (size > MAX_BYTES) throw refused(url, `it is larger than ${MAX_BYTES / 1024} KiB`);
                chunks.push(chunk);
              }
              const keepSeconds = freshFor(answer.headers["cache-control"] ?? "");
              resolve({ text: Buffer.concat(chunks).toString("utf8"), keepSeconds });
            } catch (error) {
              reject(error);
            } finally {
              asked.destroy();
            }
          },
        );
        asked.on("error", reject).end();
      });
    } catch (error) {
      if (error instanceof OAuthError) throw error;
      const { message, code } = error as NodeJS.ErrnoException;
      if (signal.aborted) throw refused(url, `it did not come within ${TIMEOUT_MS / 1000} s`);
      throw refused(
        url,
        code === "EACCES" ? message : `the host was not reached (${code ?? message})`,
        error,
      );
    }
  }
}

function isPlain({ username, password, hash, pathname }: URL): boolean {
  return username === "" && password === "" && hash === "" && pathname !== "/";
}

function whatIsWrong(status: number, contentType: string): string | undefined {
  if (status >= 300 && status < 400) return "it leads on to another address, which is not followed";
  if (status !== 200) return `the host answered with HTTP ${status}`;
  if (!/^application\/(?:[\w.+-]+\+)?json\b/i.test(contentType)) return "it is not JSON";
  return undefined;
}

/** How long an answer may be kept, in seconds, within our own bounds (RFC 9111, section 5.2.2). */
function freshFor(cacheControl: string): number {
  if (/\bno-(?:store|cache)\b/i.test(cacheControl)) return 0;
  const maxAge = /\bmax-age="?(\d{1,9})/i.exec(cacheControl)?.[1];
  return maxAge === undefined ? DEFAULT_KEPT_SECONDS : Math.min(Number(maxAge), MAX_KEPT_SECONDS);
}

function toClient(url: URL, clientId: string, text: string): OAuthClient {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw refused(url, "it is not JSON", error);
  }
  const read = ClientDocument.safeParse(value);
  if (!read.success) {
    const [{ path, message } = { path: [], message: "it is not an object" }] = read.error.issues;
    throw refused(url, `${path.join(".") || "it"}: ${message}`);
  }
  const { client_id, token_endpoint_auth_method: method = "none" } = read.data;
  if (client_id !== clientId) throw refused(url, `its client_id is ${client_id.slice(0, 100)}`);
  if (method !== "none")
    throw refused(
      url,
      `it wants to prove itself by ${method.slice(0, 40)}, and this gateway knows only none`,
    );
  const { client_name, redirect_uris } = readMetadata(value);
  return {
    id: clientId,
    name: shownName(client_name) ?? url.host,
    host: url.host,
    redirectUris: redirect_uris,
  };
}

function refused(url: URL, why: string, cause?: unknown): OAuthError {
  return new OAuthError("invalid_client", `The client's document at ${url.host} cannot be used: ${why}.`, {
    cause,
  });
}
