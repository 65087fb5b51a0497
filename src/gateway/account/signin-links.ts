import type { Database } from "../store/schema.js";
import { hashSecret, randomSecret } from "./token-format.js";

const LINK_LIFE_MS = 10 * 60_000;

/** One-time links by which the owner of an account signs a browser in. */
export class SigninLinks {
  readonly #db: Database;
  readonly #now: () => number;

  constructor({ db, now = Date.now }: { db: Database; now?: () => number }) {
    this.#db = db;
    this.#now = now;
  }

  /** The secret of a new link, good once and for ten minutes. */
  async create(accountId: string): Promise<string> {
    const secret = randomSecret();
    const now = this.#now();
    await this.#db.deleteFrom("signin_links").where("expires_at", "<", now).execute();
    await this.#db
      .insertInto("signin_links")
      .values({
        hash: hashSecret(secret),
        account_id: accountId,
        created_at: now,
        expires_at: now + LINK_LIFE_MS,
        used_at: null,
      })
      .execute();
    return secret;
  }

  /** Whether a link would still work. Looking does not use it up. */
  async isGood(secret: string): Promise<boolean> {
    const row = await this.#db
      .selectFrom("signin_links")
      .select("hash")
      .where("hash", "=", hashSecret(secret))
      .where("used_at", "is", null)
      .where("expires_at", ">", this.#now())
      .executeTakeFirst();
    return row !== undefined;
  }

  /** Uses a link up: the account it signs in to, once. */
  async redeem(secret: string): Promise<string | undefined> {
    const now = this.#now();
    const row = await this.#db
      .updateTable("signin_links")
      .set({ used_at: now })
      .where("hash", "=", hashSecret(secret))
      .where("used_at", "is", null)
      .where("expires_at", ">", now)
      .returning("account_id")
      .executeTakeFirst();
    return row?.account_id;
  }
}
