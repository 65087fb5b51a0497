import type { Database, ProviderCredentialsRow } from "../store/schema.js";
import type { MasterKey } from "./master-key.js";

/** Credentials that an account has for a provider, without what they are. */
export interface KeptCredentials {
  provider: string;
  names: string[];
  verifiedAt: number;
  createdAt: number;
}

/** How long credentials that were opened are not opened again. Changing them here takes effect at once. */
const OPENED_MS = 60_000;
const MAX_OPENED = 1_000;

/** The credentials that accounts brought for cloud providers: sealed at rest, opened only for a call to the vendor. */
export class ProviderCredentials {
  readonly #db: Database;
  readonly #key: MasterKey;
  readonly #now: () => number;
  readonly #opened = new Map<string, { credentials: Record<string, string>; until: number }>();
  #changes = 0;

  constructor({ db, key, now = Date.now }: { db: Database; key: MasterKey; now?: () => number }) {
    this.#db = db;
    this.#key = key;
    this.#now = now;
  }

  /** Keeps credentials that the vendor has just accepted, in the place of those before. */
  async keep(
    accountId: string,
    provider: string,
    credentials: Record<string, string>,
  ): Promise<KeptCredentials> {
    const now = this.#now();
    const values = {
      sealed: this.#key.seal(JSON.stringify(credentials), ownerOf(accountId, provider)),
      names_json: JSON.stringify(Object.keys(credentials).sort()),
      verified_at: now,
    };
    const row = await this.#db
      .insertInto("provider_credentials")
      .values({ account_id: accountId, provider, created_at: now, ...values })
      .onConflict((conflict) => conflict.columns(["account_id", "provider"]).doUpdateSet(values))
      .returningAll()
      .executeTakeFirstOrThrow();
    this.#forget(accountId, provider);
    return toKept(row);
  }

  async list(accountId: string): Promise<KeptCredentials[]> {
    const rows = await this.#db
      .selectFrom("provider_credentials")
      .selectAll()
      .where("account_id", "=", accountId)
      .orderBy("provider")
      .execute();
    return rows.map(toKept);
  }

  /** The credentials themselves; undefined when the account has none for this provider. */
  async open(accountId: string, provider: string): Promise<Readonly<Record<string, string>> | undefined> {
    const owner = ownerOf(accountId, provider);
    const known = this.#opened.get(owner);
    if (known && known.until > performance.now()) return known.credentials;
    const changes = this.#changes;
    const row = await this.#row(accountId, provider);
    if (!row) return undefined;
    const credentials = JSON.parse(await this.#key.open(row.sealed, owner)) as Record<string, string>;
    if (this.#opened.size >= MAX_OPENED) this.#opened.delete(this.#opened.keys().next().value!);
    if (changes === this.#changes)
      this.#opened.set(owner, { credentials, until: performance.now() + OPENED_MS });
    return credentials;
  }

  /** Removes an account's credentials for a provider. False when there were none. */
  async remove(accountId: string, provider: string): Promise<boolean> {
    const removed = await this.#db
      .deleteFrom("provider_credentials")
      .where("account_id", "=", accountId)
      .where("provider", "=", provider)
      .returning("provider")
      .executeTakeFirst();
    this.#forget(accountId, provider);
    return removed !== undefined;
  }

  /** Seals everything with a new key of the key file, then drops the old ones. Returns how many were sealed anew. */
  async rotate(): Promise<number> {
    if (this.#key.isFromFile) await this.#key.addKey();
    const rows = await this.#db.selectFrom("provider_credentials").selectAll().execute();
    let sealedAnew = 0;
    for (const { account_id, provider, sealed } of rows) {
      if (!this.#key.isOld(sealed)) continue;
      const owner = ownerOf(account_id, provider);
      const anew = this.#key.seal(await this.#key.open(sealed, owner), owner);
      // Credentials that were replaced meanwhile are sealed with the new key already, or are found by the next rotation.
      const changed = await this.#db
        .updateTable("provider_credentials")
        .set({ sealed: anew })
        .where("account_id", "=", account_id)
        .where("provider", "=", provider)
        .where("sealed", "=", sealed)
        .returning("provider")
        .executeTakeFirst();
      if (changed) sealedAnew++;
    }
    const left = await this.#db.selectFrom("provider_credentials").select("sealed").execute();
    if (this.#key.isFromFile && !left.some(({ sealed }) => this.#key.isOld(sealed)))
      await this.#key.dropOldKeys();
    return sealedAnew;
  }

  #row(accountId: string, provider: string): Promise<ProviderCredentialsRow | undefined> {
    return this.#db
      .selectFrom("provider_credentials")
      .selectAll()
      .where("account_id", "=", accountId)
      .where("provider", "=", provider)
      .executeTakeFirst();
  }

  #forget(accountId: string, provider: string): void {
    this.#changes++;
    this.#opened.delete(ownerOf(accountId, provider));
  }
}

/** What is sealed for one account and provider opens for no other. */
function ownerOf(accountId: string, provider: string): string {
  return `${accountId}/${provider}`;
}

function toKept(row: ProviderCredentialsRow): KeptCredentials {
  return {
    provider: row.provider,
    names: JSON.parse(row.names_json) as string[],
    verifiedAt: row.verified_at,
    createdAt: row.created_at,
  };
}
