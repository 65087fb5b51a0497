import { Hono } from "hono";
import { type ConnectedClientList, CreateKeyRequest } from "../../../protocol/account.js";
import type { ClientDisconnected } from "../../../protocol/answers.js";
import { CerverError } from "../../../protocol/errors.js";
import type { ApiTokens } from "../../account/api-tokens.js";
import type { OAuthGrants } from "../../account/oauth-grants.js";
import type { SigninLinks } from "../../account/signin-links.js";
import { tokenPrefix } from "../../account/token-format.js";
import { type AccountVariables, has, requireScope } from "../auth.js";
import { json } from "../validate.js";

export interface KeyRoutesDeps {
  oauthGrants: OAuthGrants;
  tokens: ApiTokens;
  links: SigninLinks;
  publicUrl: () => string;
}

/** `/v2/auth`, the part for those who have a token: keys, who am I, sign-in links (contract section 2.2). */
export function keyRoutes({ tokens, links, oauthGrants, publicUrl }: KeyRoutesDeps) {
  const admin = requireScope("admin");
  return new Hono<{ Variables: AccountVariables }>()
    .get("/whoami", (c) => {
      const { accountId, scopes, computeId, expiresAt } = c.var.principal;
      return c.json({
        account_id: accountId,
        scope: "global",
        project_slug: null,
        scopes: [...scopes],
        compute_id: computeId,
        expires_at: expiresAt === null ? null : new Date(expiresAt).toISOString(),
      });
    })
    .get("/account", (c) => c.json({ account_id: c.var.principal.accountId }))
    .get("/keys", admin, async (c) => c.json({ keys: await tokens.list(c.var.principal.accountId) }))
    .post("/keys", admin, json(CreateKeyRequest), async (c) => {
      const { label, scopes, expires_in: expiresInSeconds } = c.req.valid("json");
      const { accountId } = c.var.principal;
      const { key, expiresAt } = await tokens.create(accountId, { label, scopes, expiresInSeconds });
      return c.json(
        {
          key,
          label,
          scopes,
          expires_at: expiresAt === null ? null : new Date(expiresAt).toISOString(),
          project_id: null,
          project_slug: null,
          kind: "secret",
        },
        201,
      );
    })
    .delete("/keys/:key", async (c) => {
      const { accountId, scopes } = c.var.principal;
      const key = c.req.param("key");
      const own = c.req.header("authorization")?.replace(/^Bearer +/i, "");
      // Whoever has a token may end it; ending another one takes more.
      if (!has(scopes, "admin") && (own === undefined || tokenPrefix(own) !== tokenPrefix(key))) {
        throw new CerverError("forbidden", "This token may revoke itself, and no other.", {
          hint: "Use a token with the scope admin.",
        });
      }
      if (await tokens.revoke(accountId, key)) return c.json({ success: true });
      throw new CerverError("not_found", "This account has no such key, or it is revoked already.", {
        hint: "List them with GET /v2/auth/keys.",
      });
    })
    .get("/clients", admin, async (c) => {
      const connected = await oauthGrants.list(c.var.principal.accountId);
      const clients = connected.map(({ id, clientName, scopes, createdAt, lastUsedAt }) => ({
        client_id: id,
        name: clientName,
        scopes: scopes.split(" "),
        created_at: new Date(createdAt).toISOString(),
        last_used_at: lastUsedAt === null ? null : new Date(lastUsedAt).toISOString(),
      }));
      return c.json({ clients } satisfies ConnectedClientList);
    })
    .delete("/clients/:client_id", admin, async (c) => {
      const clientId = c.req.param("client_id");
      if (await oauthGrants.disconnect(c.var.principal.accountId, clientId))
        return c.json({ success: true, client_id: clientId } satisfies ClientDisconnected);
      throw new CerverError("not_found", `This account has no connected client ${clientId}.`, {
        hint: "List them with GET /v2/auth/clients.",
      });
    })
    .post("/signin-links", admin, async (c) => {
      const secret = await links.create(c.var.principal.accountId);
      return c.json({ url: `${publicUrl()}/signin?token=${secret}`, expires_in: 600 }, 201);
    });
}
