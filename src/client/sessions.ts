import { SessionClosed, SessionPatched, TranscriptPage } from "../protocol/answers.js";
import { SessionMetrics } from "../protocol/metrics.js";
import { SessionNews } from "../protocol/news.js";
import { CreatedSession, SessionList, SessionRecord } from "../protocol/sessions.js";
import { AppendTranscriptAnswer } from "../protocol/transcript.js";
import { at, type GatewayHttp, type ListenOptions } from "./http.js";
import type * as wire from "./wire.js";

/** A create waits for a compute. */
const CREATE_TIMEOUT_MS = 90_000;

export interface SessionsQuery {
  /** 1 to 200. @default 20 */
  limit?: number | undefined;
  status?: string | undefined;
  source?: string | undefined;
  provider?: string | undefined;
  /** Sessions that carry all of these labels. */
  labels?: Record<string, string> | undefined;
  /** Sessions whose metadata has all of these values. */
  metadata?: Record<string, string> | undefined;
  /** The `next_cursor` of the page before. */
  cursor?: string | undefined;
}

/** Which entries a read returns; the newest 200 when nothing is said. */
export interface TranscriptQuery {
  /** So many of the newest. */
  tail?: number | undefined;
  /** From this `seq` on. */
  since?: number | undefined;
  /** At most so many, with `since`. */
  limit?: number | undefined;
  /** All of them, 10,000 at most. */
  full?: "1" | undefined;
  /** Only entries of this source and of more trusted ones: user, own_tool, model, external. */
  min_trust?: wire.EntrySource | undefined;
}

/** Sessions: their records, their transcripts and their news. */
export interface SessionCalls {
  /** Creates a session; with `key`, the same request creates one only, however often it is sent. */
  createSession(
    body?: wire.CreateSessionRequest,
    signal?: AbortSignal,
    key?: string,
  ): Promise<wire.CreatedSession>;
  /** The account's sessions, newest first. */
  sessions(query?: SessionsQuery, signal?: AbortSignal): Promise<wire.SessionList>;
  session(id: string, query?: TranscriptQuery, signal?: AbortSignal): Promise<wire.SessionRecord>;
  metrics(id: string): Promise<wire.SessionMetrics>;
  /** Merges into what is there. */
  patchSession(
    id: string,
    metadata: Record<string, unknown>,
    labels?: Record<string, string>,
  ): Promise<wire.SessionPatched>;
  /** Ends a session; its transcript stays. */
  closeSession(id: string): Promise<void>;
  /** Ends a session and removes its record, for good. Takes the scope admin. */
  purgeSession(id: string): Promise<wire.SessionClosed>;
  transcript(id: string, query?: TranscriptQuery): Promise<wire.TranscriptPage>;
  appendTranscript(
    id: string,
    entries: readonly wire.NewTranscriptEntry[],
  ): Promise<wire.AppendTranscriptAnswer>;
  /** Appends one entry of the user's; with `key`, once. */
  sendInput(id: string, content: string, key?: string): Promise<wire.AppendTranscriptAnswer>;
  /** What happens in a session, while it happens. News is not kept: after `missed`, read the record. */
  sessionEvents(id: string, signal?: AbortSignal, options?: ListenOptions): AsyncGenerator<wire.SessionNews>;
  /** What happens in all of the account's sessions, and to its computes. */
  events(signal?: AbortSignal, options?: ListenOptions): AsyncGenerator<wire.SessionNews>;
}

export function sessionCalls(http: GatewayHttp): SessionCalls {
  return {
    createSession: (body = {}, signal, key) =>
      http.json("POST", "/v2/sessions", CreatedSession, { body, signal, key, timeoutMs: CREATE_TIMEOUT_MS }),
    sessions: (query = {}, signal) =>
      http.json("GET", "/v2/sessions", SessionList, { query: filters(query), signal }),
    session: (id, query = {}, signal) =>
      http.json("GET", at`/v2/sessions/${id}`, SessionRecord, { query: { ...query }, signal }),
    metrics: (id) => http.json("GET", at`/v2/sessions/${id}/metrics`, SessionMetrics),
    patchSession: (id, metadata, labels) =>
      http.json("PATCH", at`/v2/sessions/${id}`, SessionPatched, {
        body: { metadata, ...(labels && { labels }) },
      }),
    // Gateways of others say it in other words.
    async closeSession(id) {
      await http.raw("POST", at`/v2/sessions/${id}/close`);
    },
    purgeSession: (id) =>
      http.json("DELETE", at`/v2/sessions/${id}`, SessionClosed, { query: { purge: "1" } }),
    transcript: (id, query = {}) =>
      http.json("GET", at`/v2/sessions/${id}/transcript`, TranscriptPage, { query: { ...query } }),
    appendTranscript: (id, entries) =>
      http.json("POST", at`/v2/sessions/${id}/transcript`, AppendTranscriptAnswer, { body: { entries } }),
    sendInput: (id, content, idempotency_key) =>
      http.json("POST", at`/v2/sessions/${id}/input`, AppendTranscriptAnswer, {
        body: { content, idempotency_key },
      }),
    sessionEvents: (id, signal, options) =>
      http.items("GET", at`/v2/sessions/${id}/events`, SessionNews, { signal, ...options }),
    events: (signal, options) => http.items("GET", "/v2/events", SessionNews, { signal, ...options }),
  };
}

function filters({ labels = {}, metadata = {}, ...query }: SessionsQuery) {
  return {
    ...query,
    label: Object.entries(labels).map(([name, value]) => `${name}=${value}`),
    ...Object.fromEntries(Object.entries(metadata).map(([name, value]) => [`metadata.${name}`, value])),
  };
}
