import type { Database } from "../store/schema.js";
import { hashSecret, randomSecret } from "./token-format.js";

/** How long a browser stays signed in, in seconds. */
export const SIGNIN_LIFE_SECONDS = 30 * 24 * 3600;

/** The browsers that are signed in, by the hash of their cookie. */
export class BrowserSignins {
  readonly #db: Database;
  readonly #now: () => number;

  constructor({ db, now = Date.now }: { db: Database; now?: () => number }) {
    this.#db = db;
    this.#now = now;
  }

  /** Signs a browser in; returns the secret for its cookie. */
  async create(accountId: string): Promise<string> {
    const secret = randomSecret();
    const now = this.#now();
    await this.#db.deleteFrom("browser_signins").where("expires_at", "<", now).execute();
    await this.#db
      .insertInto("browser_signins")
      .values({
        hash: hashSecret(secret),
        account_id: accountId,
        created_at: now,
        expires_at: now + SIGNIN_LIFE_SECONDS * 1000,
      })
      .execute();
    return secret;
  }

  /** The account a cookie is signed in to. */
  async verify(secret: string): Promise<string | undefined> {
    const row = await this.#db
      .selectFrom("browser_signins")
      .select("account_id")
      .where("hash", "=", hashSecret(secret))
      .where("expires_at", ">", this.#now())
      .executeTakeFirst();
    return row?.account_id;
  }

  async end(secret: string): Promise<void> {
    await this.#db.deleteFrom("browser_signins").where("hash", "=", hashSecret(secret)).execute();
  }
}
