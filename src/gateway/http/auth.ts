import type { IncomingHttpHeaders } from "node:http";
import type { HttpBindings } from "@hono/node-server";
import type { Context, MiddlewareHandler } from "hono";
import { parse as parseCookies } from "hono/utils/cookie";
import { CerverError } from "../../protocol/errors.js";
import type { Scope } from "../../protocol/scopes.js";
import type { ApiTokens, Principal } from "../account/api-tokens.js";
import type { BrowserSignins } from "../account/browser-signins.js";

/** What every handler behind {@link authenticate} finds in `c.var`. */
export interface AccountVariables {
  principal: Principal;
  requestId: string;
}

export const SIGNIN_COOKIE = "cerver_signin";

export interface AuthDeps {
  tokens: ApiTokens;
  signins: BrowserSignins;
  /** The account behind a gateway without tokens. */
  localAccountId?: string | undefined;
}

/**
 * Finds out who asks: by `Authorization: Bearer`, else by the page's cookie, else the local account of a gateway
 * without tokens. A token in the query is never looked at.
 */
export function authenticate(deps: AuthDeps): MiddlewareHandler<{ Variables: AccountVariables }> {
  return async (c, next) => {
    c.set("principal", await principalOf(c, deps));
    await next();
  };
}

/** Lets those pass who have one of these scopes. `admin` includes `run`, `run` includes `read`, nothing includes `relay`. */
export function requireScope(...wanted: Scope[]): MiddlewareHandler<{ Variables: AccountVariables }> {
  return async (c, next) => {
    const { scopes } = c.var.principal;
    if (!wanted.some((scope) => has(scopes, scope))) {
      throw new CerverError(
        "forbidden",
        `This token has the scope ${[...scopes].join(" and ")}, and this needs ${wanted[0]}.`,
        {
          hint: "Use another token, or make one with that scope: POST /v2/auth/keys.",
        },
      );
    }
    await next();
  };
}

/** Who asks, for the ledger of what keeps a session awake: a token's id, or the page, or this machine. */
export function callerOf({ var: { principal } }: { var: { principal: Principal } }): string {
  return principal.tokenId ?? "page";
}

/** Whether scopes include another, directly or because a wider one contains it. */
export function has(scopes: ReadonlySet<Scope>, wanted: Scope): boolean {
  if (scopes.has(wanted)) return true;
  if (wanted === "relay") return false;
  return scopes.has("admin") || (wanted === "read" && scopes.has("run"));
}

async function principalOf(c: Context, deps: AuthDeps): Promise<Principal> {
  return principalOfHeaders((c.env as HttpBindings).incoming.headers, deps, c.req.method);
}

/**
 * Who asks, by the headers of a request. Throws `unauthenticated`. `method` is `WS` for a websocket, which every page may
 * open: like what changes something, it has to come from our own.
 */
export async function principalOfHeaders(
  headers: IncomingHttpHeaders,
  { tokens, signins, localAccountId }: AuthDeps,
  method: string,
): Promise<Principal> {
  const { authorization } = headers;
  if (authorization !== undefined) {
    const token = /^Bearer +(\S+)$/i.exec(authorization)?.[1];
    const principal = token === undefined ? undefined : await tokens.verify(token);
    if (principal) return principal;
    throw unauthenticated("The token in the Authorization header is wrong, expired or revoked.");
  }
  const cookie = parseCookies(headers.cookie ?? "", SIGNIN_COOKIE)[SIGNIN_COOKIE];
  const accountId = cookie && mayUseCookie(headers, method) ? await signins.verify(cookie) : undefined;
  if (accountId) return owner(accountId);
  if (localAccountId) return owner(localAccountId);
  throw unauthenticated("This needs a token, in the header `Authorization: Bearer ck_…`.");
}

function unauthenticated(message: string): CerverError {
  return new CerverError("unauthenticated", message, {
    hint: "Get one with `cerver login`; `cerver up` prints one for your own gateway.",
  });
}

function owner(accountId: string): Principal {
  return { accountId, scopes: new Set<Scope>(["admin"]), tokenId: null, computeId: null, expiresAt: null };
}

/** A cookie is sent by the browser unasked, so what changes something has to come from our own pages. */
function mayUseCookie(headers: IncomingHttpHeaders, method: string): boolean {
  if (method === "GET" || method === "HEAD") return headers["sec-fetch-site"] !== "cross-site";
  return isOwnPage(headers);
}

/** Whether a request says that a page of this very gateway has made it. */
export function isSameOrigin(c: Context): boolean {
  return isOwnPage({ origin: c.req.header("origin"), host: c.req.header("host") });
}

function isOwnPage({ origin, host }: Pick<IncomingHttpHeaders, "origin" | "host">): boolean {
  return origin !== undefined && URL.canParse(origin) && new URL(origin).host === host;
}
