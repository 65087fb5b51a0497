import type { Kysely, Migration } from "kysely";

/** Runs as resources of their own, which settle when their machine is back, and keys that make a request happen once. */
export const durableRuns: Migration = {
  async up(db: Kysely<unknown>) {
    const columns: [name: string, type: "text" | "bigint" | "integer" | "double precision"][] = [
      ["request_json", "text"],
      ["timeout_ms", "double precision"],
      ["duration_ms", "double precision"],
      ["end_reason", "text"],
      ["receipt_json", "text"],
      ["confirmed_at", "bigint"],
      ["lost_since", "bigint"],
      ["cancel_wanted", "text"],
    ];
    for (const [name, type] of columns) await db.schema.alterTable("runs").addColumn(name, type).execute();
    for (const name of ["background", "on_transcript"]) {
      await db.schema
        .alterTable("runs")
        .addColumn(name, "integer", (c) => c.notNull().defaultTo(0))
        .execute();
    }
    await db.schema.createIndex("runs_by_compute").on("runs").columns(["compute_id", "ended_at"]).execute();

    await db.schema
      .createTable("idempotency_keys")
      .addColumn("account_id", "text", (c) => c.notNull().references("accounts.id").onDelete("cascade"))
      .addColumn("key", "text", (c) => c.notNull())
      .addColumn("request_hash", "text", (c) => c.notNull())
      .addColumn("run_id", "text")
      .addColumn("answer_json", "text")
      .addColumn("created_at", "bigint", (c) => c.notNull())
      .addPrimaryKeyConstraint("idempotency_keys_pkey", ["account_id", "key"])
      .execute();
    await db.schema
      .createIndex("idempotency_keys_by_age")
      .on("idempotency_keys")
      .column("created_at")
      .execute();
  },
};
