import type { Kysely, Migration } from "kysely";

/** The connections that people have allowed to clients which speak OAuth. */
export const oauth: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema
      .createTable("oauth_grants")
      .addColumn("id", "text", (c) => c.primaryKey())
      .addColumn("account_id", "text", (c) => c.notNull().references("accounts.id").onDelete("cascade"))
      .addColumn("client_id", "text", (c) => c.notNull())
      .addColumn("client_name", "text", (c) => c.notNull())
      .addColumn("scopes", "text", (c) => c.notNull())
      .addColumn("redirect_uri", "text", (c) => c.notNull())
      .addColumn("code_hash", "text", (c) => c.notNull().unique())
      .addColumn("code_challenge", "text", (c) => c.notNull())
      .addColumn("token_id", "text", (c) => c.unique())
      .addColumn("family_hash", "text", (c) => c.unique())
      .addColumn("refresh_hash", "text")
      .addColumn("created_at", "bigint", (c) => c.notNull())
      .addColumn("expires_at", "bigint", (c) => c.notNull())
      .execute();
    await db.schema.createIndex("oauth_grants_by_expiry").on("oauth_grants").column("expires_at").execute();
  },
};
