import { type Context, Hono, type MiddlewareHandler } from "hono";
import { cors } from "hono/cors";
import { CerverError } from "../../../protocol/errors.js";
import type { OAuthClients } from "../../account/oauth-clients.js";
import { OAuthError } from "../../account/oauth-error.js";
import type { IssuedTokens, OAuthGrants } from "../../account/oauth-grants.js";
import { mcpResource, OAUTH_SCOPES, refuseOtherResource, single } from "../authorization-request.js";
import { readForm } from "../form.js";
import { readBody } from "../validate.js";

export interface OAuthRoutesDeps {
  oauthClients: OAuthClients;
  oauthGrants: OAuthGrants;
  publicUrl: () => string;
}

const MAX_REGISTRATION_BYTES = 16 * 1024;

/**
 * What an MCP client finds its way in by: who guards `/mcp` (RFC 9728), the authorization server that this gateway is
 * (RFC 8414), and that server's endpoints for programs. Nobody has a token here yet.
 */
export function oauthRoutes({ oauthClients, oauthGrants, publicUrl }: OAuthRoutesDeps) {
  const routes = new Hono();
  for (const path of ["/.well-known/*", "/oauth/token", "/oauth/register", "/oauth/revoke"])
    routes.use(path, openToPages());

  for (const path of ["", "/mcp"]) {
    routes.get(`/.well-known/oauth-protected-resource${path}`, (c) =>
      c.json({
        resource: mcpResource(publicUrl()),
        resource_name: "cerver",
        authorization_servers: [publicUrl()],
        scopes_supported: OAUTH_SCOPES,
        bearer_methods_supported: ["header"],
      }),
    );
  }
  return routes
    .get("/.well-known/oauth-authorization-server", (c) => c.json(serverMetadata(publicUrl())))
    .post("/oauth/token", (c) => answered(c, () => issue(c, { oauthClients, oauthGrants, publicUrl })))
    .post("/oauth/register", (c) =>
      answered(c, async () => c.json(oauthClients.register(await readRegistration(c)), 201)),
    )
    .post("/oauth/revoke", (c) =>
      answered(c, async () => {
        const form = await readForm(c);
        await oauthGrants.revoke(needed(form, "token"), needed(form, "client_id"));
        return c.body(null, 200);
      }),
    );
}

function serverMetadata(issuer: string) {
  return {
    issuer,
    authorization_endpoint: `${issuer}/oauth/authorize`,
    token_endpoint: `${issuer}/oauth/token`,
    registration_endpoint: `${issuer}/oauth/register`,
    revocation_endpoint: `${issuer}/oauth/revoke`,
    scopes_supported: OAUTH_SCOPES,
    response_types_supported: ["code"],
    response_modes_supported: ["query"],
    grant_types_supported: ["authorization_code", "refresh_token"],
    token_endpoint_auth_methods_supported: ["none"],
    revocation_endpoint_auth_methods_supported: ["none"],
    code_challenge_methods_supported: ["S256"],
    client_id_metadata_document_supported: true,
    authorization_response_iss_parameter_supported: true,
  };
}

/** Pages of any site may read these: nothing here goes by a cookie. */
function openToPages(): MiddlewareHandler {
  return cors({
    origin: "*",
    allowMethods: ["GET", "POST"],
    allowHeaders: ["Content-Type", "Authorization", "MCP-Protocol-Version"],
    maxAge: 600,
  });
}

/** `POST /oauth/token`: a code or a refresh token becomes an access token. */
async function issue(c: Context, { oauthClients, oauthGrants, publicUrl }: OAuthRoutesDeps) {
  const form = await readForm(c);
  refuseOtherResource(form, publicUrl());
  const clientId = needed(form, "client_id");
  try {
    return c.json((await tokensFor(form, clientId, oauthGrants)) satisfies IssuedTokens);
  } catch (error) {
    // A client that hears this registers again, instead of asking a person with an id that is worth nothing.
    if (error instanceof OAuthError && error.code === "invalid_grant") oauthClients.refuseForged(clientId);
    throw error;
  }
}

function tokensFor(form: URLSearchParams, clientId: string, grants: OAuthGrants): Promise<IssuedTokens> {
  const grantType = needed(form, "grant_type");
  if (grantType === "authorization_code") {
    return grants.exchange({
      clientId,
      code: needed(form, "code"),
      verifier: needed(form, "code_verifier"),
      redirectUri: needed(form, "redirect_uri"),
    });
  }
  if (grantType === "refresh_token") {
    const scopes = single(form, "scope")?.split(" ").filter(Boolean);
    return grants.refresh({ clientId, refreshToken: needed(form, "refresh_token"), scopes });
  }
  throw new OAuthError("unsupported_grant_type", "grant_type has to be authorization_code or refresh_token.");
}

function needed(form: URLSearchParams, name: string): string {
  const value = single(form, name);
  if (value) return value;
  throw new OAuthError(
    "invalid_request",
    `${name} is missing. The body is a form (application/x-www-form-urlencoded).`,
  );
}

async function readRegistration(c: Context): Promise<unknown> {
  try {
    return JSON.parse((await readBody(c, MAX_REGISTRATION_BYTES)).toString("utf8"));
  } catch (error) {
    if (error instanceof CerverError) throw error;
    throw new OAuthError("invalid_client_metadata", "The body is not JSON.", { cause: error });
  }
}

/** Says failures as OAuth clients read them; nothing of this may be kept on the way (RFC 6749, section 5.1). */
async function answered(c: Context, answer: () => Promise<Response>): Promise<Response> {
  c.header("Cache-Control", "no-store");
  try {
    return await answer();
  } catch (error) {
    if (!(error instanceof OAuthError)) throw error;
    return c.json(error.toBody(), error.code === "invalid_client" ? 401 : 400);
  }
}
