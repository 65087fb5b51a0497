import type { Selectable } from "kysely";
import { CerverError } from "../../../protocol/errors.js";
import type { KillReceipt, RunRecord, RunRequest, RunStatus, Runtime } from "../../../protocol/runs.js";
import type { RunRow } from "../../store/schema.js";

/** A run as it was loaded within the session of the account that owns it. */
export type StoredRun = Selectable<RunRow>;

/** `GET /v2/sessions/:id/runs/:run_id`. */
export function toRunRecord(row: StoredRun): RunRecord {
  const iso = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString());
  return {
    run_id: row.id,
    session_id: row.session_id,
    status: row.status as RunStatus,
    runtime: row.runtime as Runtime,
    background: row.background === 1,
    created_at: iso(row.started_at)!,
    started_at: iso(row.confirmed_at ?? (row.status === "queued" ? null : row.started_at)),
    ended_at: iso(row.ended_at),
    ...(row.status === "lost" && row.lost_since !== null && { since: iso(row.lost_since)! }),
    exit_code: row.exit_code,
    signal: row.signal,
    duration_ms: row.duration_ms,
    timeout: (row.timeout_ms ?? 0) / 1000,
    stdout_bytes: row.stdout_bytes ?? 0,
    stderr_bytes: row.stderr_bytes ?? 0,
    end_reason: row.end_reason,
    ...(row.receipt_json !== null && { receipt: JSON.parse(row.receipt_json) as KillReceipt }),
  };
}

/** What is kept of a request: not the values of its variables, nor its input. */
export function withoutSecrets({ envs, stdin, ...request }: RunRequest): RunRequest {
  const names = envs && Object.fromEntries(Object.keys(envs).map((name) => [name, ""]));
  return { ...request, ...(names && { envs: names }), ...(stdin !== undefined && { stdin: "" }) };
}

export function runNotFound(runId: string): CerverError {
  return new CerverError("run_not_found", `Run not found: this session has no run ${runId}.`, {
    hint: "List its runs with GET /v2/sessions/SESSION_ID/runs or `cerver runs`.",
  });
}
