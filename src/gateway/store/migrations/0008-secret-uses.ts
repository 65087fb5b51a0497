import type { Kysely, Migration } from "kysely";

/** Who used which secret for what, never its value; and how much was taken out of an entry. */
export const secretUses: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema
      .createTable("secret_uses")
      .addColumn("id", "text", (c) => c.primaryKey())
      .addColumn("account_id", "text", (c) => c.notNull().references("accounts.id").onDelete("cascade"))
      .addColumn("name", "text", (c) => c.notNull())
      .addColumn("backend", "text", (c) => c.notNull())
      .addColumn("used_by", "text", (c) => c.notNull())
      .addColumn("token_id", "text")
      .addColumn("session_id", "text")
      .addColumn("run_id", "text")
      .addColumn("at", "bigint", (c) => c.notNull())
      .execute();
    await db.schema
      .createIndex("secret_uses_by_account")
      .on("secret_uses")
      .columns(["account_id", "at"])
      .execute();
    await db.schema.alterTable("transcript_entries").addColumn("redacted", "integer").execute();
  },
};
