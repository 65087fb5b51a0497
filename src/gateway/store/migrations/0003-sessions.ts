import type { Kysely, Migration } from "kysely";

/** Sessions, their transcripts and their runs. */
export const sessions: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema
      .createTable("sessions")
      .addColumn("id", "text", (c) => c.primaryKey())
      .addColumn("account_id", "text", (c) => c.notNull().references("accounts.id").onDelete("cascade"))
      .addColumn("name", "text", (c) => c.notNull())
      .addColumn("status", "text", (c) => c.notNull())
      .addColumn("end_reason", "text")
      .addColumn("session_type", "text")
      .addColumn("task", "text")
      .addColumn("workload", "text")
      .addColumn("harness", "text")
      .addColumn("source", "text")
      .addColumn("metadata_json", "text", (c) => c.notNull())
      .addColumn("request_json", "text", (c) => c.notNull())
      .addColumn("routing_json", "text", (c) => c.notNull())
      .addColumn("provider", "text", (c) => c.notNull())
      .addColumn("compute_id", "text")
      .addColumn("sandbox_id", "text")
      .addColumn("provision_time_ms", "double precision")
      .addColumn("predicted_startup_ms", "double precision")
      .addColumn("first_exec_at", "bigint")
      .addColumn("last_exec_latency_ms", "double precision")
      .addColumn("exec_latency_total_ms", "double precision", (c) => c.notNull().defaultTo(0))
      .addColumn("stream_open_total_ms", "double precision", (c) => c.notNull().defaultTo(0))
      .addColumn("exec_count", "integer", (c) => c.notNull().defaultTo(0))
      .addColumn("stream_count", "integer", (c) => c.notNull().defaultTo(0))
      .addColumn("interaction_count", "integer", (c) => c.notNull().defaultTo(0))
      .addColumn("entry_count", "integer", (c) => c.notNull().defaultTo(0))
      .addColumn("created_at", "bigint", (c) => c.notNull())
      .addColumn("updated_at", "bigint", (c) => c.notNull())
      .addColumn("ended_at", "bigint")
      .execute();
    await db.schema
      .createIndex("sessions_by_account")
      .on("sessions")
      .columns(["account_id", "created_at", "id"])
      .execute();

    await db.schema
      .createTable("transcript_entries")
      .addColumn("session_id", "text", (c) => c.notNull().references("sessions.id").onDelete("cascade"))
      .addColumn("seq", "integer", (c) => c.notNull())
      .addColumn("role", "text", (c) => c.notNull())
      .addColumn("kind", "text", (c) => c.notNull())
      .addColumn("content", "text", (c) => c.notNull())
      .addColumn("at", "bigint", (c) => c.notNull())
      .addColumn("tool_id", "text")
      .addColumn("tool_name", "text")
      .addColumn("tool_input_json", "text")
      .addColumn("is_error", "integer")
      .addColumn("run_id", "text")
      .addColumn("idempotency_key", "text")
      .addPrimaryKeyConstraint("transcript_entries_pkey", ["session_id", "seq"])
      .addUniqueConstraint("transcript_entries_once", ["session_id", "idempotency_key"])
      .execute();

    await db.schema
      .createTable("runs")
      .addColumn("id", "text", (c) => c.primaryKey())
      .addColumn("session_id", "text", (c) => c.notNull().references("sessions.id").onDelete("cascade"))
      .addColumn("account_id", "text", (c) => c.notNull())
      .addColumn("compute_id", "text")
      .addColumn("runtime", "text", (c) => c.notNull())
      .addColumn("status", "text", (c) => c.notNull())
      .addColumn("streamed", "integer", (c) => c.notNull())
      .addColumn("exit_code", "integer")
      .addColumn("signal", "text")
      .addColumn("stdout_bytes", "bigint")
      .addColumn("stderr_bytes", "bigint")
      .addColumn("started_at", "bigint", (c) => c.notNull())
      .addColumn("ended_at", "bigint")
      .execute();
    await db.schema
      .createIndex("runs_by_session")
      .on("runs")
      .columns(["session_id", "started_at", "id"])
      .execute();
  },
};
