import { createHash } from "node:crypto";
import { newId } from "../../protocol/ids.js";
import type { Scope } from "../../protocol/scopes.js";
import type { Database, OAuthGrantRow } from "../store/schema.js";
import type { ApiTokens } from "./api-tokens.js";
import { OAuthError } from "./oauth-error.js";
import { hashSecret, randomSecret } from "./token-format.js";

/** The client asks for its tokens right after the browser has come back to it. */
const CODE_LIFE_MS = 60_000;
const ACCESS_LIFE_SECONDS = 3600;
/** A client that is not used for so long has to be allowed again. */
const REFRESH_LIFE_MS = 30 * 24 * 3600_000;
const REFRESH_PREFIX = "cr_";

/** What a person has allowed to a client. */
export interface NewGrant {
  accountId: string;
  clientId: string;
  clientName: string;
  scopes: readonly Scope[];
  redirectUri: string;
  /** BASE64URL(SHA-256(verifier)) (RFC 7636). */
  codeChallenge: string;
}

/** A client that is let in, as a person sees it. */
export interface Connection {
  id: string;
  clientName: string;
  scopes: string;
  createdAt: number;
  lastUsedAt: number | null;
}

/** The answer of the token endpoint (RFC 6749, section 5.1). */
export interface IssuedTokens {
  access_token: string;
  token_type: "Bearer";
  /** Seconds. */
  expires_in: number;
  refresh_token: string;
  scope: string;
}

/**
 * What people have allowed to OAuth clients: a code, then an API token of the account and a refresh token.
 *
 * One grant has one API token, whose key is replaced at each refresh: it is one line in the list of keys, and revoking it
 * there ends the grant. A code or a refresh token that comes back after its use is in two hands, so it ends the grant too.
 */
export class OAuthGrants {
  readonly #db: Database;
  readonly #tokens: ApiTokens;
  readonly #now: () => number;

  constructor({ db, tokens, now = Date.now }: { db: Database; tokens: ApiTokens; now?: () => number }) {
    this.#db = db;
    this.#tokens = tokens;
    this.#now = now;
  }

  /** Begins a grant; returns its code, good once and for a minute. */
  async create(grant: NewGrant): Promise<string> {
    await this.#endExpired();
    const code = randomSecret();
    const now = this.#now();
    await this.#db
      .insertInto("oauth_grants")
      .values({
        id: newId("grant", now),
        account_id: grant.accountId,
        client_id: grant.clientId,
        client_name: grant.clientName,
        scopes: grant.scopes.join(" "),
        redirect_uri: grant.redirectUri,
        code_hash: hashSecret(code),
        code_challenge: grant.codeChallenge,
        token_id: null,
        family_hash: null,
        refresh_hash: null,
        created_at: now,
        expires_at: now + CODE_LIFE_MS,
      })
      .execute();
    return code;
  }

  /** Turns a code into tokens. Throws `invalid_grant`; a code that comes with anything wrong is used up by it. */
  async exchange(request: {
    code: string;
    verifier: string;
    clientId: string;
    redirectUri: string;
  }): Promise<IssuedTokens> {
    const grant = await this.#find("code_hash", request.code);
    if (!grant) throw invalidGrant("The code is not known. It may have been used or refused before.");
    const wrong = this.#whatIsWrong(grant, request);
    const issued = wrong === undefined ? await this.#firstTokens(grant) : undefined;
    if (issued) return issued;
    await this.#end(grant.id);
    throw invalidGrant(wrong ?? USED_TWICE);
  }

  /** Turns a refresh token into new tokens, for the same scopes or fewer. Throws `invalid_grant` and `invalid_scope`. */
  async refresh({
    refreshToken,
    clientId,
    scopes,
  }: {
    refreshToken: string;
    clientId: string;
    scopes: readonly string[] | undefined;
  }): Promise<IssuedTokens> {
    const grant = await this.#find("family_hash", familyOf(refreshToken));
    if (!grant || grant.expires_at <= this.#now())
      throw invalidGrant("The refresh token is not known, or it was not used for 30 days.");
    const allowed = grant.scopes.split(" ") as Scope[];
    const wanted = scopes === undefined ? allowed : allowed.filter((scope) => scopes.includes(scope));
    if (wanted.length === 0 || scopes?.some((scope) => !(allowed as string[]).includes(scope)))
      throw new OAuthError("invalid_scope", `This connection was allowed ${allowed.join(" and ")}.`);
    const mine = grant.client_id === clientId;
    const issued = mine ? await this.#nextTokens(grant, refreshToken, wanted) : undefined;
    if (issued) return issued;
    await this.#end(grant.id);
    throw invalidGrant(
      mine
        ? "The refresh token was used before, or the connection was revoked. It is over now."
        : "The refresh token belongs to another client.",
    );
  }

  /** Ends the grant that an access or a refresh token belongs to. A token that is not known is none already. */
  async revoke(token: string, clientId: string): Promise<void> {
    const grant = token.startsWith(REFRESH_PREFIX)
      ? await this.#find("family_hash", familyOf(token))
      : await this.#grantOfAccessToken(token);
    if (!grant) return;
    if (grant.client_id !== clientId)
      throw new OAuthError("unauthorized_client", "This token belongs to another client.");
    await this.#end(grant.id);
  }

  /** The clients that an account has let in, newest first. */
  async list(accountId: string): Promise<Connection[]> {
    return this.#db
      .selectFrom("oauth_grants")
      .innerJoin("api_tokens", "api_tokens.id", "oauth_grants.token_id")
      .select([
        "oauth_grants.id",
        "client_name as clientName",
        "oauth_grants.scopes",
        "oauth_grants.created_at as createdAt",
        "last_used_at as lastUsedAt",
      ])
      .where("oauth_grants.account_id", "=", accountId)
      .where("oauth_grants.expires_at", ">", this.#now())
      .where("revoked_at", "is", null)
      .orderBy("oauth_grants.created_at", "desc")
      .limit(100)
      .execute();
  }

  /** Ends a connection of this account's. False when there is none. */
  async disconnect(accountId: string, grantId: string): Promise<boolean> {
    const mine = await this.#db
      .selectFrom("oauth_grants")
      .select("id")
      .where("id", "=", grantId)
      .where("account_id", "=", accountId)
      .executeTakeFirst();
    if (mine) await this.#end(mine.id);
    return mine !== undefined;
  }

  #whatIsWrong(
    grant: OAuthGrantRow,
    { verifier, clientId, redirectUri }: { verifier: string; clientId: string; redirectUri: string },
  ): string | undefined {
    if (grant.expires_at <= this.#now()) return "The code has expired: it is good for a minute.";
    if (grant.client_id !== clientId) return "The code belongs to another client.";
    if (grant.redirect_uri !== redirectUri) return "redirect_uri is not the one that the code was sent to.";
    if (challengeOf(verifier) !== grant.code_challenge)
      return "code_verifier does not belong to this code's code_challenge.";
    return undefined;
  }

  /** Undefined when somebody else was faster with the same code. */
  async #firstTokens(grant: OAuthGrantRow): Promise<IssuedTokens | undefined> {
    const refreshToken = newRefreshToken();
    const scopes = grant.scopes.split(" ") as Scope[];
    return this.#db.transaction().execute(async (tx) => {
      const claimed = await tx
        .updateTable("oauth_grants")
        .set({
          family_hash: hashSecret(familyOf(refreshToken)),
          refresh_hash: hashSecret(refreshToken),
          expires_at: this.#now() + REFRESH_LIFE_MS,
        })
        .where("id", "=", grant.id)
        .where("family_hash", "is", null)
        .returning("id")
        .executeTakeFirst();
      if (!claimed) return undefined;
      const { id, key } = await this.#tokens.create(
        grant.account_id,
        { label: grant.client_name, scopes, expiresInSeconds: ACCESS_LIFE_SECONDS },
        tx,
      );
      await tx.updateTable("oauth_grants").set({ token_id: id }).where("id", "=", grant.id).execute();
      return answer(key, refreshToken, scopes);
    });
  }

  /** Undefined for a refresh token that is not the current one, and for a grant that was revoked. */
  async #nextTokens(
    grant: OAuthGrantRow,
    refreshToken: string,
    scopes: readonly Scope[],
  ): Promise<IssuedTokens | undefined> {
    const next = newRefreshToken(familyOf(refreshToken));
    return this.#db.transaction().execute(async (tx) => {
      const claimed = await tx
        .updateTable("oauth_grants")
        .set({ refresh_hash: hashSecret(next), expires_at: this.#now() + REFRESH_LIFE_MS })
        .where("id", "=", grant.id)
        .where("refresh_hash", "=", hashSecret(refreshToken))
        .returning("token_id")
        .executeTakeFirst();
      if (!claimed?.token_id) return undefined;
      const renewal = { scopes, expiresInSeconds: ACCESS_LIFE_SECONDS };
      const key = await this.#tokens.renew(claimed.token_id, renewal, tx);
      return key === undefined ? undefined : answer(key, next, scopes);
    });
  }

  async #find(column: "code_hash" | "family_hash", secret: string): Promise<OAuthGrantRow | undefined> {
    return this.#db
      .selectFrom("oauth_grants")
      .selectAll()
      .where(column, "=", hashSecret(secret))
      .executeTakeFirst();
  }

  async #grantOfAccessToken(token: string): Promise<OAuthGrantRow | undefined> {
    return this.#db
      .selectFrom("oauth_grants")
      .innerJoin("api_tokens", "api_tokens.id", "oauth_grants.token_id")
      .selectAll("oauth_grants")
      .where("api_tokens.hash", "=", hashSecret(token))
      .executeTakeFirst();
  }

  async #end(grantId: string): Promise<void> {
    const ended = await this.#db
      .deleteFrom("oauth_grants")
      .where("id", "=", grantId)
      .returning(["account_id", "token_id"])
      .execute();
    await this.#revokeTokens(ended);
  }

  async #endExpired(): Promise<void> {
    const expired = await this.#db
      .deleteFrom("oauth_grants")
      .where("expires_at", "<=", this.#now())
      .returning(["account_id", "token_id"])
      .execute();
    await this.#revokeTokens(expired);
  }

  async #revokeTokens(grants: readonly Pick<OAuthGrantRow, "account_id" | "token_id">[]): Promise<void> {
    for (const { account_id, token_id } of grants)
      if (token_id !== null) await this.#tokens.revokeById(account_id, token_id);
  }
}

const USED_TWICE = "The code was used before, so what it gave has been revoked. Begin again in the client.";

function invalidGrant(sentence: string): OAuthError {
  return new OAuthError("invalid_grant", sentence);
}

function answer(key: string, refreshToken: string, scopes: readonly Scope[]): IssuedTokens {
  return {
    access_token: key,
    token_type: "Bearer",
    expires_in: ACCESS_LIFE_SECONDS,
    refresh_token: refreshToken,
    scope: scopes.join(" "),
  };
}

/**
 * A refresh token names its family and is itself: `cr_FAMILY.SECRET`. Whoever knows the family had a token of it, so one that
 * is not the current one is an old one, however old: nothing has to be kept of those.
 */
function newRefreshToken(family = `${REFRESH_PREFIX}${randomSecret()}`): string {
  return `${family}.${randomSecret()}`;
}

function familyOf(refreshToken: string): string {
  return refreshToken.split(".", 1)[0]!;
}

function challengeOf(verifier: string): string {
  return createHash("sha256").update(verifier).digest("base64url");
}
