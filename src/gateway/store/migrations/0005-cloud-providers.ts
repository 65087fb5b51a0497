import type { Kysely, Migration } from "kysely";

/** The credentials by which an account uses a cloud provider, sealed. */
export const cloudProviders: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema
      .createTable("provider_credentials")
      .addColumn("account_id", "text", (c) => c.notNull().references("accounts.id").onDelete("cascade"))
      .addColumn("provider", "text", (c) => c.notNull())
      .addColumn("sealed", "text", (c) => c.notNull())
      .addColumn("names_json", "text", (c) => c.notNull())
      .addColumn("verified_at", "bigint", (c) => c.notNull())
      .addColumn("created_at", "bigint", (c) => c.notNull())
      .addPrimaryKeyConstraint("provider_credentials_pkey", ["account_id", "provider"])
      .execute();
  },
};
