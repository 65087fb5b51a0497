import type { KeyList } from "../../protocol/account.js";
import { newId } from "../../protocol/ids.js";
import type { Scope } from "../../protocol/scopes.js";
import type { ApiTokenRow, Database } from "../store/schema.js";
import { hashSecret, isTokenShaped, newToken, tokenPrefix } from "./token-format.js";

/** Who asks, and what they may. */
export interface Principal {
  readonly accountId: string;
  readonly scopes: ReadonlySet<Scope>;
  /** The token behind it; null for a browser's sign-in and for a gateway without tokens. */
  readonly tokenId: string | null;
  /** The one compute that a relay's token serves. */
  readonly computeId: string | null;
  /** When the token ends, in milliseconds since 1970; null for what does not. */
  readonly expiresAt: number | null;
}

export interface CreateTokenOptions {
  label: string;
  scopes: readonly Scope[];
  expiresInSeconds?: number | undefined;
  computeId?: string | undefined;
}

/** How long a token that was looked up is trusted without looking again. Revoking here takes effect at once. */
const CACHE_MS = 5_000;
const MAX_CACHED = 10_000;
/** `last_used_at` is written at most this often. */
const LAST_USED_MS = 60_000;

interface Cached {
  row: ApiTokenRow;
  principal: Principal;
  until: number;
}

/** API tokens: made once, kept as hashes, found fast. */
export class ApiTokens {
  readonly #db: Database;
  readonly #now: () => number;
  readonly #cache = new Map<string, Cached>();

  constructor({ db, now = Date.now }: { db: Database; now?: () => number }) {
    this.#db = db;
    this.#now = now;
  }

  /** Makes a token. `key` is the token itself: it is not kept and cannot be had again. */
  async create(
    accountId: string,
    options: CreateTokenOptions,
    db: Database = this.#db,
  ): Promise<{ id: string; key: string; expiresAt: number | null }> {
    const key = newToken();
    const now = this.#now();
    const id = newId("tok", now);
    const expiresAt = options.expiresInSeconds === undefined ? null : now + options.expiresInSeconds * 1000;
    await db
      .insertInto("api_tokens")
      .values({
        id,
        account_id: accountId,
        hash: hashSecret(key),
        prefix: tokenPrefix(key),
        label: options.label,
        scopes: options.scopes.join(" "),
        compute_id: options.computeId ?? null,
        created_at: now,
        last_used_at: null,
        expires_at: expiresAt,
        revoked_at: null,
      })
      .execute();
    return { id, key, expiresAt };
  }

  /** Puts a new key in the place of a token's; the old one ends. Undefined for a token that was revoked. */
  async renew(
    tokenId: string,
    { scopes, expiresInSeconds }: { scopes: readonly Scope[]; expiresInSeconds: number },
    db: Database = this.#db,
  ): Promise<string | undefined> {
    const key = newToken();
    const renewed = await db
      .updateTable("api_tokens")
      .set({
        hash: hashSecret(key),
        prefix: tokenPrefix(key),
        scopes: scopes.join(" "),
        expires_at: this.#now() + expiresInSeconds * 1000,
      })
      .where("id", "=", tokenId)
      .where("revoked_at", "is", null)
      .returning("id")
      .executeTakeFirst();
    this.#forget((row) => row.id === tokenId);
    return renewed && key;
  }

  /** Who a token stands for; undefined for one that is unknown, revoked or expired. */
  async verify(token: string): Promise<Principal | undefined> {
    if (!isTokenShaped(token)) return undefined;
    const hash = hashSecret(token);
    const now = this.#now();
    const cached = this.#cache.get(hash);
    const found = cached && cached.until > now ? cached : await this.#lookUp(hash, now);
    if (!found || (found.row.expires_at !== null && found.row.expires_at <= now)) return undefined;
    this.#markUsed(found.row, now);
    return found.principal;
  }

  /** Binds a relay's token to the compute that it has registered. */
  async bindToCompute(tokenId: string, computeId: string): Promise<void> {
    await this.#db
      .updateTable("api_tokens")
      .set({ compute_id: computeId })
      .where("id", "=", tokenId)
      .execute();
    this.#forget((row) => row.id === tokenId);
  }

  /** The account's tokens that are not revoked, newest first, without what would let one use them. */
  async list(accountId: string): Promise<KeyList["keys"]> {
    const rows = await this.#db
      .selectFrom("api_tokens")
      .selectAll()
      .where("account_id", "=", accountId)
      .where("revoked_at", "is", null)
      .orderBy("created_at", "desc")
      .orderBy("id", "desc")
      .execute();
    const time = (at: number | null) => (at === null ? null : new Date(at).toISOString());
    return rows.map((row) => ({
      key_masked: `${row.prefix}…`,
      label: row.label,
      scopes: row.scopes.split(" "),
      compute_id: row.compute_id,
      created_at: time(row.created_at)!,
      last_used_at: time(row.last_used_at),
      expires_at: time(row.expires_at),
      project_id: null,
      project_slug: null,
      project_name: null,
    }));
  }

  /** Revokes a token by its beginning, as it is listed, or by the whole of it. False when there is none. */
  async revoke(accountId: string, prefixOrKey: string): Promise<boolean> {
    if (isTokenShaped(prefixOrKey)) return this.#revokeWhere(accountId, "hash", hashSecret(prefixOrKey));
    return this.#revokeWhere(accountId, "prefix", prefixOrKey.replace(/…$/, ""));
  }

  async revokeById(accountId: string, tokenId: string): Promise<void> {
    await this.#revokeWhere(accountId, "id", tokenId);
  }

  /** Revokes the relay tokens of a compute. */
  async revokeForCompute(accountId: string, computeId: string): Promise<void> {
    await this.#revokeWhere(accountId, "compute_id", computeId);
  }

  async #revokeWhere(
    accountId: string,
    column: "id" | "hash" | "prefix" | "compute_id",
    value: string,
  ): Promise<boolean> {
    const revoked = await this.#db
      .updateTable("api_tokens")
      .set({ revoked_at: this.#now() })
      .where("account_id", "=", accountId)
      .where(column, "=", value)
      .where("revoked_at", "is", null)
      .returning("id")
      .execute();
    const ids = new Set(revoked.map((row) => row.id));
    this.#forget((row) => ids.has(row.id));
    return ids.size > 0;
  }

  async #lookUp(hash: string, now: number): Promise<Cached | undefined> {
    const row = await this.#db
      .selectFrom("api_tokens")
      .selectAll()
      .where("hash", "=", hash)
      .where("revoked_at", "is", null)
      .executeTakeFirst();
    if (!row) return undefined;
    const principal: Principal = {
      accountId: row.account_id,
      scopes: new Set(row.scopes.split(" ") as Scope[]),
      tokenId: row.id,
      computeId: row.compute_id,
      expiresAt: row.expires_at,
    };
    const cached = { row, principal, until: now + CACHE_MS };
    if (this.#cache.size >= MAX_CACHED) this.#cache.delete(this.#cache.keys().next().value!);
    this.#cache.set(hash, cached);
    return cached;
  }

  #markUsed(row: ApiTokenRow, now: number): void {
    if (row.last_used_at !== null && now - row.last_used_at < LAST_USED_MS) return;
    row.last_used_at = now;
    // Nobody waits for this, and a token works without it.
    this.#db
      .updateTable("api_tokens")
      .set({ last_used_at: now })
      .where("id", "=", row.id)
      .execute()
      .catch(() => {});
  }

  #forget(matches: (row: ApiTokenRow) => boolean): void {
    for (const [hash, { row }] of this.#cache) if (matches(row)) this.#cache.delete(hash);
  }
}
