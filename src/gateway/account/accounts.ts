import { newId } from "../../protocol/ids.js";
import type { AccountRow, Database } from "../store/schema.js";

/** The accounts of a gateway. One that a person runs for themselves has a single one. */
export class Accounts {
  readonly #db: Database;

  constructor({ db }: { db: Database }) {
    this.#db = db;
  }

  /** The first account, made when there is none yet. */
  async ensureLocal(): Promise<AccountRow> {
    const first = () =>
      this.#db.selectFrom("accounts").selectAll().orderBy("created_at").orderBy("id").executeTakeFirst();
    const known = await first();
    if (known) return known;
    await this.#db
      .insertInto("accounts")
      .values({ id: newId("acct"), name: "local", created_at: Date.now() })
      .execute();
    return (await first())!;
  }
}
