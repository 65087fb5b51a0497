import type { Kysely, Migration } from "kysely";

/** What a session's life is made of: deadlines, rest, labels, routing, what it has cost, and what kept it awake. */
export const sessionLife: Migration = {
  async up(db: Kysely<unknown>) {
    const columns: [name: string, type: "text" | "bigint" | "double precision"][] = [
      ["labels_json", "text"],
      ["parent_id", "text"],
      ["deadline_at", "bigint"],
      ["idle_timeout_ms", "double precision"],
      ["last_active_at", "bigint"],
      ["paused_at", "bigint"],
      ["max_cost_usd", "double precision"],
      ["cost_since", "bigint"],
      ["decision_json", "text"],
      ["attempts_json", "text"],
    ];
    for (const [name, type] of columns)
      await db.schema.alterTable("sessions").addColumn(name, type).execute();
    await db.schema
      .alterTable("sessions")
      .addColumn("cost_usd", "double precision", (c) => c.notNull().defaultTo(0))
      .execute();
    await db.schema
      .createIndex("sessions_open")
      .on("sessions")
      .columns(["ended_at", "deadline_at"])
      .execute();

    // Labels and plain metadata, one row each, so that lists can filter on them in both databases alike.
    await db.schema
      .createTable("session_tags")
      .addColumn("session_id", "text", (c) => c.notNull().references("sessions.id").onDelete("cascade"))
      .addColumn("account_id", "text", (c) => c.notNull())
      .addColumn("name", "text", (c) => c.notNull())
      .addColumn("value", "text", (c) => c.notNull())
      .addPrimaryKeyConstraint("session_tags_pkey", ["session_id", "name"])
      .execute();
    await db.schema
      .createIndex("session_tags_by_value")
      .on("session_tags")
      .columns(["account_id", "name", "value"])
      .execute();

    await db.schema
      .createTable("session_activity")
      .addColumn("session_id", "text", (c) => c.notNull().references("sessions.id").onDelete("cascade"))
      .addColumn("kind", "text", (c) => c.notNull())
      .addColumn("caller", "text", (c) => c.notNull())
      .addColumn("first_at", "bigint", (c) => c.notNull())
      .addColumn("last_at", "bigint", (c) => c.notNull())
      .addColumn("count", "integer", (c) => c.notNull())
      .addPrimaryKeyConstraint("session_activity_pkey", ["session_id", "kind", "caller"])
      .execute();

    // One row for each stretch of time that a session had a compute. Rows outlive their session: the month's spend is theirs.
    await db.schema
      .createTable("compute_uses")
      .addColumn("id", "text", (c) => c.primaryKey())
      .addColumn("account_id", "text", (c) => c.notNull())
      .addColumn("session_id", "text", (c) => c.notNull())
      .addColumn("provider", "text", (c) => c.notNull())
      .addColumn("compute_id", "text", (c) => c.notNull())
      .addColumn("sandbox_id", "text")
      .addColumn("started_at", "bigint", (c) => c.notNull())
      .addColumn("ended_at", "bigint")
      .addColumn("reserved_usd", "double precision", (c) => c.notNull())
      .addColumn("cost_usd", "double precision")
      .execute();
    await db.schema
      .createIndex("compute_uses_by_account")
      .on("compute_uses")
      .columns(["account_id", "started_at"])
      .execute();
    await db.schema.createIndex("compute_uses_by_session").on("compute_uses").column("session_id").execute();

    await db.schema
      .createTable("account_limits")
      .addColumn("account_id", "text", (c) => c.primaryKey().references("accounts.id").onDelete("cascade"))
      .addColumn("spend_per_month_usd", "double precision")
      .addColumn("max_sessions", "integer")
      .addColumn("updated_at", "bigint", (c) => c.notNull())
      .execute();

    // Sandboxes made without a session, and those that a create which failed may have left somewhere.
    await db.schema
      .createTable("sandboxes")
      .addColumn("account_id", "text", (c) => c.notNull())
      .addColumn("sandbox_id", "text", (c) => c.notNull())
      .addColumn("provider", "text", (c) => c.notNull())
      .addColumn("compute_id", "text", (c) => c.notNull())
      .addColumn("created_at", "bigint", (c) => c.notNull())
      .addPrimaryKeyConstraint("sandboxes_pkey", ["account_id", "sandbox_id"])
      .execute();
    await db.schema
      .createTable("orphans")
      .addColumn("id", "text", (c) => c.primaryKey())
      .addColumn("account_id", "text", (c) => c.notNull())
      .addColumn("session_id", "text", (c) => c.notNull())
      .addColumn("provider", "text", (c) => c.notNull())
      .addColumn("compute_id", "text", (c) => c.notNull())
      .addColumn("sandbox_id", "text")
      .addColumn("found_at", "bigint", (c) => c.notNull())
      .addColumn("why", "text", (c) => c.notNull())
      .execute();

    // What routing has learned, by account and key, and how providers have been doing.
    await db.schema
      .createTable("routing_memory")
      .addColumn("account_id", "text", (c) => c.notNull())
      .addColumn("kind", "text", (c) => c.notNull())
      .addColumn("key", "text", (c) => c.notNull())
      .addColumn("value_json", "text", (c) => c.notNull())
      .addColumn("updated_at", "bigint", (c) => c.notNull())
      .addPrimaryKeyConstraint("routing_memory_pkey", ["account_id", "kind", "key"])
      .execute();

    await db.schema
      .createTable("stress_tests")
      .addColumn("id", "text", (c) => c.primaryKey())
      .addColumn("account_id", "text", (c) => c.notNull().references("accounts.id").onDelete("cascade"))
      .addColumn("status", "text", (c) => c.notNull())
      .addColumn("request_json", "text", (c) => c.notNull())
      .addColumn("report_json", "text")
      .addColumn("created_at", "bigint", (c) => c.notNull())
      .addColumn("ended_at", "bigint")
      .execute();
    await db.schema
      .createIndex("stress_tests_by_account")
      .on("stress_tests")
      .columns(["account_id", "created_at"])
      .execute();
  },
};
