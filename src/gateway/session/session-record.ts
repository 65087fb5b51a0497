import type { Selectable } from "kysely";
import type { SessionMetrics } from "../../protocol/metrics.js";
import type { Attempt, Routing } from "../../protocol/routing.js";
import type {
  CreatedSession,
  Labels,
  Metadata,
  SessionRecord,
  SessionStatus,
  SessionSummary,
} from "../../protocol/sessions.js";
import type { TranscriptEntry } from "../../protocol/transcript.js";
import type { SessionRow } from "../store/schema.js";

/** A session as it was loaded for the account that owns it: holding one is the permission to use it. */
export type Session = Selectable<SessionRow>;

/** The answer of `POST /v2/sessions`. */
export function toCreated(session: Session, metrics: SessionMetrics, warnings: string[]): CreatedSession {
  const attempts = JSON.parse(session.attempts_json ?? "[]") as Attempt[];
  return {
    session_id: session.id,
    session_name: session.name,
    status: session.status,
    provider: session.provider,
    compute_id: session.compute_id,
    sandbox_id: session.sandbox_id,
    metrics,
    routing: JSON.parse(session.routing_json) as Routing,
    ...(attempts.length > 1 && { attempts }),
    ...(warnings.length > 0 && { warnings }),
  };
}

/** One line of `GET /v2/sessions`. */
export function toSummary(session: Session, status: SessionStatus): SessionSummary {
  return {
    sessionId: session.id,
    sessionName: session.name,
    status,
    provider: session.provider,
    computeId: session.compute_id,
    createdAt: new Date(session.created_at).toISOString(),
    updatedAt: new Date(session.updated_at).toISOString(),
    workload: session.workload,
    task: session.task,
    harness: session.harness,
    metadata: JSON.parse(session.metadata_json) as Metadata,
    ...(session.labels_json && { labels: JSON.parse(session.labels_json) as Labels }),
    messageCount: session.entry_count,
  };
}

/** `GET /v2/sessions/:id`. */
export function toRecord(
  session: Session,
  status: SessionStatus,
  metrics: SessionMetrics,
  transcript: TranscriptEntry[],
): SessionRecord {
  return {
    ...toSummary(session, status),
    sandboxId: session.sandbox_id,
    endReason: session.end_reason,
    ...(session.parent_id && { parentSessionId: session.parent_id }),
    ...(session.paused_at !== null && { pausedAt: new Date(session.paused_at).toISOString() }),
    ...(session.deadline_at !== null && { deadlineAt: new Date(session.deadline_at).toISOString() }),
    metrics,
    routing: JSON.parse(session.routing_json) as Routing,
    transcript,
    transcriptTotal: session.entry_count,
  };
}
