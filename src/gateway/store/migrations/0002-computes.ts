import type { Kysely, Migration } from "kysely";

/** The computers attached to an account. */
export const computes: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema
      .createTable("computes")
      .addColumn("id", "text", (c) => c.primaryKey())
      .addColumn("account_id", "text", (c) => c.notNull().references("accounts.id").onDelete("cascade"))
      .addColumn("label", "text", (c) => c.notNull())
      .addColumn("kind", "text", (c) => c.notNull())
      .addColumn("provider", "text", (c) => c.notNull())
      .addColumn("scope", "text", (c) => c.notNull())
      .addColumn("capabilities_json", "text", (c) => c.notNull())
      .addColumn("metadata_json", "text", (c) => c.notNull())
      .addColumn("registered_at", "bigint", (c) => c.notNull())
      .addColumn("last_heartbeat_at", "bigint")
      .execute();
    await db.schema.createIndex("computes_by_account").on("computes").column("account_id").execute();
  },
};
