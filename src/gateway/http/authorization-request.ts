import type { Scope } from "../../protocol/scopes.js";
import type { OAuthClient, OAuthClients } from "../account/oauth-clients.js";
import { OAuthError, type OAuthErrorCode } from "../account/oauth-error.js";
import { isRedirectOf } from "../account/redirect-uri.js";

/** What a client may ask for here: never the whole account, and no machine's part. */
export const OAUTH_SCOPES = ["read", "run"] as const satisfies Scope[];

/** What a client asks of a person (RFC 6749, section 4.1.1). */
export interface AuthorizationRequest {
  client: OAuthClient;
  redirectUri: string;
  state: string | undefined;
  scopes: readonly Scope[];
  codeChallenge: string;
}

/** A request that cannot be met, by a client whose address is known to be its own. */
export class Unanswerable extends OAuthError {
  constructor(
    code: OAuthErrorCode,
    sentence: string,
    readonly redirectUri: string,
    readonly state: string | undefined,
  ) {
    super(code, sentence);
  }
}

export interface AuthorizationRequestsDeps {
  clients: OAuthClients;
  publicUrl: () => string;
}

/** Reads the requests that come to the authorization endpoint. */
export class AuthorizationRequests {
  readonly #deps: AuthorizationRequestsDeps;

  constructor(deps: AuthorizationRequestsDeps) {
    this.#deps = deps;
  }

  /** Throws `OAuthError`, and {@link Unanswerable} where the client may be told. */
  async read(search: string): Promise<AuthorizationRequest> {
    const query = new URLSearchParams(search);
    const clientId = single(query, "client_id");
    const redirectUri = single(query, "redirect_uri");
    if (!clientId) throw new OAuthError("invalid_request", "client_id is missing.");
    if (!redirectUri) throw new OAuthError("invalid_request", "redirect_uri is missing.");
    const client = await this.#deps.clients.find(clientId);
    if (!isRedirectOf(client.redirectUris, redirectUri)) {
      throw new OAuthError(
        "invalid_request",
        `redirect_uri is none that ${client.name} has given: answers go to its own addresses only.`,
      );
    }
    const state = query.get("state") ?? undefined;
    try {
      return { client, redirectUri, ...this.#readRest(query) };
    } catch (error) {
      if (!(error instanceof OAuthError)) throw error;
      throw new Unanswerable(error.code, error.message, redirectUri, state);
    }
  }

  #readRest(query: URLSearchParams): Pick<AuthorizationRequest, "state" | "scopes" | "codeChallenge"> {
    const state = single(query, "state");
    if ((state?.length ?? 0) > 2_048)
      throw new OAuthError("invalid_request", "state is longer than 2048 characters.");
    if (single(query, "response_type") !== "code")
      throw new OAuthError("unsupported_response_type", "response_type has to be code.");
    const codeChallenge = single(query, "code_challenge") ?? "";
    if (single(query, "code_challenge_method") !== "S256" || !/^[\w-]{43}$/.test(codeChallenge)) {
      throw new OAuthError(
        "invalid_request",
        "PKCE is missing: send code_challenge with code_challenge_method=S256 (RFC 7636).",
      );
    }
    refuseOtherResource(query, this.#deps.publicUrl());
    return { state, codeChallenge, scopes: readScopes(single(query, "scope")) };
  }
}

/** Tokens are for this gateway's own MCP endpoint; undefined for the whole gateway (RFC 8707). Throws `invalid_target`. */
export function refuseOtherResource(params: URLSearchParams, publicUrl: string): void {
  const mine = mcpResource(publicUrl);
  for (const one of params.getAll("resource")) {
    if (URL.canParse(one) && new URL(one).href.replace(/\/$/, "") === new URL(mine).href) continue;
    throw new OAuthError(
      "invalid_target",
      `resource has to be ${mine}: there are tokens for nothing else here.`,
    );
  }
}

export function mcpResource(publicUrl: string): string {
  return `${publicUrl}/mcp`;
}

/** The one value of a parameter; undefined when it is not there. Throws when it is there twice (RFC 6749, section 3.1). */
export function single(params: URLSearchParams, name: string): string | undefined {
  const values = params.getAll(name);
  if (values.length > 1) throw new OAuthError("invalid_request", `${name} is there more than once.`);
  return values[0];
}

/** Without a word about scopes a client gets what most need; a scope that says how long to last changes nothing here. */
function readScopes(scope: string | undefined): readonly Scope[] {
  const words = (scope ?? "").split(" ").filter((word) => word !== "" && word !== "offline_access");
  const unknown = words.find((word) => !(OAUTH_SCOPES as readonly string[]).includes(word));
  if (unknown !== undefined) {
    throw new OAuthError(
      "invalid_scope",
      `The scope ${unknown.slice(0, 40)} is not for clients. Ask for ${OAUTH_SCOPES.join(" or ")}.`,
    );
  }
  return words.length === 0 ? OAUTH_SCOPES : OAUTH_SCOPES.filter((known) => words.includes(known));
}
