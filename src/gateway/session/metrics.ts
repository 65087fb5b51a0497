import type { SessionMetrics } from "../../protocol/metrics.js";
import { engagement } from "./engagement.js";
import type { Session } from "./session-record.js";

/** What the session's row measured so far, as the metrics object. `uptimePercent` is its compute's. */
export function sessionMetrics(
  row: Session,
  uptimePercent: number | null,
  costUsd: number,
  now: number,
): SessionMetrics {
  const runs = row.exec_count + row.stream_count;
  const { score, label } = engagement({
    runs,
    inputs: row.interaction_count - runs,
    ended: row.ended_at !== null,
  });
  return {
    provision_time_ms: row.provision_time_ms,
    time_to_first_exec_ms: row.first_exec_at === null ? null : row.first_exec_at - row.created_at,
    last_exec_latency_ms: row.last_exec_latency_ms,
    average_exec_latency_ms: average(row.exec_latency_total_ms, row.exec_count),
    average_stream_open_latency_ms: average(row.stream_open_total_ms, row.stream_count),
    total_exec_count: row.exec_count,
    total_stream_count: row.stream_count,
    interaction_count: row.interaction_count,
    session_length_ms: (row.ended_at ?? now) - row.created_at,
    cost_estimate_usd: costUsd,
    uptime_percent: uptimePercent,
    predicted_startup_ms: row.predicted_startup_ms,
    engagement_score: score,
    engagement_label: label,
  };
}

function average(total: number, count: number): number | null {
  return count === 0 ? null : round(total / count);
}

/** Milliseconds with microseconds: more digits than that would be noise. */
export function round(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
