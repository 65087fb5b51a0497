import type { AccountRow, Database } from "../store/schema.js";

const LOCAL_ACCOUNT_ID = "acct_local";

/** The accounts of a gateway. One that a person runs for themselves has a single one. */
export class Accounts {
  readonly #db: Database;

  constructor({ db }: { db: Database }) {
    this.#db = db;
  }

  /** The account of whoever runs this gateway, made when it is not there yet. */
  async ensureLocal(): Promise<AccountRow> {
    // A fixed id, so that two gateways that start on one database make one account.
    await this.#db
      .insertInto("accounts")
      .values({ id: LOCAL_ACCOUNT_ID, name: "local", created_at: Date.now() })
      .onConflict((conflict) => conflict.doNothing())
      .execute();
    return this.#db
      .selectFrom("accounts")
      .selectAll()
      .where("id", "=", LOCAL_ACCOUNT_ID)
      .executeTakeFirstOrThrow();
  }
}
