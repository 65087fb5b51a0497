import { ClientMetadata } from "../../protocol/oauth.js";
import type { ClientDocuments } from "./client-documents.js";
import type { MasterKey } from "./master-key.js";
import { OAuthError } from "./oauth-error.js";
import { mayRedirectTo } from "./redirect-uri.js";

/** A program that asks for access to an account. */
export interface OAuthClient {
  id: string;
  /** What it calls itself. */
  name: string;
  /** The host that its description was read from, which proves that it is known there; undefined when it registered itself. */
  host: string | undefined;
  redirectUris: readonly string[];
}

/** The answer to a registration (RFC 7591, section 3.2.1). */
export interface RegisteredClient {
  client_id: string;
  client_id_issued_at: number;
  client_name: string;
  redirect_uris: string[];
  grant_types: string[];
  response_types: string[];
  token_endpoint_auth_method: "none";
}

const SIGNED_FOR = "oauth client";
const PREFIX = "cl_";
/** The id travels in addresses and in a cookie. */
const MAX_SIGNED_BYTES = 1_200;
interface SignedClient {
  name: string;
  uris: string[];
  /** Seconds since 1970. */
  at: number;
}

/**
 * The clients that may ask for access: those whose id is the address of a document about them, and those that registered.
 *
 * A registration is its id: what the client said, signed. Nothing is kept of it, so strangers fill no table, nothing has
 * to be cleaned up, and every gateway with the same master key knows it.
 */
export class OAuthClients {
  readonly #documents: ClientDocuments;
  readonly #key: MasterKey;
  readonly #now: () => number;

  constructor({
    documents,
    masterKey,
    now = Date.now,
  }: {
    documents: ClientDocuments;
    masterKey: MasterKey;
    now?: () => number;
  }) {
    this.#documents = documents;
    this.#key = masterKey;
    this.#now = now;
  }

  /** The client with this id. Throws `invalid_client` with what is wrong. */
  async find(clientId: string): Promise<OAuthClient> {
    return /^https?:/.test(clientId) ? this.#documents.read(clientId) : this.#open(clientId);
  }

  /** Throws `invalid_client` for an id that no gateway with this master key can have given out. */
  refuseForged(clientId: string): void {
    if (!/^https?:/.test(clientId)) this.#open(clientId);
  }

  /** Registers a public client. Throws `invalid_client_metadata` and `invalid_redirect_uri`. */
  register(metadata: unknown): RegisteredClient {
    const client = readMetadata(metadata);
    const at = Math.floor(this.#now() / 1000);
    const name = shownName(client.client_name) ?? "A client without a name";
    const uris = client.redirect_uris;
    const text = Buffer.from(JSON.stringify({ name, uris, at } satisfies SignedClient));
    if (text.length > MAX_SIGNED_BYTES)
      throw new OAuthError("invalid_client_metadata", "The name and redirect_uris are too long. Give fewer.");
    const body = text.toString("base64url");
    return {
      client_id: `${PREFIX}${body}.${this.#key.sign(SIGNED_FOR, body)}`,
      client_id_issued_at: at,
      client_name: name,
      redirect_uris: uris,
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"],
      token_endpoint_auth_method: "none",
    };
  }

  #open(clientId: string): OAuthClient {
    const [body = "", signature = ""] = clientId.slice(PREFIX.length).split(".");
    if (!clientId.startsWith(PREFIX) || !this.#key.verifies(SIGNED_FOR, body, signature)) {
      throw new OAuthError(
        "invalid_client",
        "This gateway does not know the client. Remove the connection there and add it again.",
      );
    }
    const { name, uris } = JSON.parse(Buffer.from(body, "base64url").toString()) as SignedClient;
    return { id: clientId, name, host: undefined, redirectUris: uris };
  }
}

/** Reads what a client says about itself: public clients only, with addresses that may be sent to. */
export function readMetadata(metadata: unknown): ClientMetadata {
  const read = ClientMetadata.safeParse(metadata);
  if (!read.success) {
    const [{ path, message } = { path: [], message: "it is not an object" }] = read.error.issues;
    throw new OAuthError("invalid_client_metadata", `${path.join(".") || "The metadata"}: ${message}.`);
  }
  const { redirect_uris, grant_types, response_types } = read.data;
  const wrong = redirect_uris.find((uri) => !mayRedirectTo(uri));
  if (wrong !== undefined) {
    throw new OAuthError(
      "invalid_redirect_uri",
      `No answer can be sent to ${wrong.slice(0, 100)}. Use https, http on localhost, or a scheme of your application's own.`,
    );
  }
  if (grant_types && !grant_types.includes("authorization_code"))
    throw new OAuthError("invalid_client_metadata", "grant_types has to have authorization_code.");
  if (response_types && !response_types.includes("code"))
    throw new OAuthError("invalid_client_metadata", "response_types has to have code.");
  return read.data;
}

/** A name as it may stand on a page: without signs that nobody sees, or that turn the text around them. */
export function shownName(name: string | undefined): string | undefined {
  return name?.replace(/\p{C}/gu, "").replace(/\s+/g, " ").trim().slice(0, 64) || undefined;
}
