import { CerverError } from "../../protocol/errors.js";
import { newId } from "../../protocol/ids.js";
import type { SessionMetrics } from "../../protocol/metrics.js";
import type { ProviderName } from "../../protocol/providers.js";
import {
  type CreatedSession,
  type CreateSessionRequest,
  canonicalStatus,
  type ListSessionsQuery,
  type Metadata,
  PatchSessionRequest,
  type Routing,
  type SessionList,
  type SessionRecord,
  type SessionStatus,
  type TranscriptQuery,
  unknownCreateFields,
} from "../../protocol/sessions.js";
import type { Logger } from "../../util/logger.js";
import type { Computes } from "../compute/computes.js";
import type { SandboxRecord } from "../compute/contract.js";
import type { ProviderRegistry } from "../compute/registry.js";
import type { Database } from "../store/schema.js";
import { IdempotencyKeys } from "./idempotency.js";
import { round, sessionMetrics } from "./metrics.js";
import { noCompute } from "./recommendation.js";
import { type RoutableProvider, route } from "./router.js";
import { RunRecords } from "./run-records.js";
import { Runs } from "./runs.js";
import { decodeCursor, encodeCursor } from "./session-cursor.js";
import { type Session, toCreated, toRecord, toSummary } from "./session-record.js";
import { Transcripts } from "./transcripts.js";

/** How long a compute may take to make a sandbox. */
const PROVISION_TIMEOUT_MS = 60_000;
/** How long the end of a session waits for the compute to end the sandbox. */
const CLOSE_TIMEOUT_MS = 15_000;
/** How long a session that somebody works in is not read again, and how many such sessions are kept. */
const OPENED_MS = 5_000;
const MAX_OPENED = 10_000;
/** Over how many of the account's newest sessions startup times are averaged. */
const STARTUP_SAMPLE = 200;

export interface SessionsDeps {
  db: Database;
  computes: Computes;
  providers: ProviderRegistry;
  catalog: readonly RoutableProvider[];
  /** The address to put into commands that people paste. */
  gatewayUrl: () => string;
  /** How long the caller of a run is kept waiting for a machine whose link broke. */
  runGraceMs: number;
  logger: Logger;
  now?: () => number;
}

/** The session layer: apps create sessions, work in them, read them and end them. */
export class Sessions {
  readonly transcripts: Transcripts;
  readonly records: RunRecords;
  readonly runs: Runs;
  readonly keys: IdempotencyKeys;
  readonly #deps: Required<SessionsDeps>;
  readonly #opened = new Map<string, { session: Session; until: number }>();
  #closes = 0;

  constructor(deps: SessionsDeps) {
    this.#deps = { now: Date.now, ...deps };
    this.transcripts = new Transcripts(this.#deps);
    this.records = new RunRecords({ ...this.#deps, transcripts: this.transcripts });
    this.runs = new Runs({ ...this.#deps, records: this.records, graceMs: this.#deps.runGraceMs });
    this.keys = new IdempotencyKeys(this.#deps);
  }

  /**
   * Binds a new session to a compute, or to none when the request says so.
   *
   * Fails with `no_compute` and a recommendation report when nothing fits, and leaves no sandbox behind when it fails
   * later.
   */
  async create(
    accountId: string,
    request: CreateSessionRequest,
    signal: AbortSignal,
  ): Promise<CreatedSession> {
    const createdAt = this.#deps.now();
    const id = newId("sess", createdAt);
    const bound = wantsNoCompute(request)
      ? { ...TRANSCRIPT_ONLY }
      : await this.#bind(accountId, id, request, signal);
    const { metadata = {}, ...kept } = request;
    const visible = withoutEnvValues(metadata);
    const row = {
      id,
      account_id: accountId,
      name: request.session_name || nameFrom(request.task),
      status: "ready",
      end_reason: null,
      session_type: request.session_type ?? null,
      task: request.task ?? null,
      workload: request.workload ?? null,
      harness: request.harness ?? null,
      source: typeof metadata.source === "string" ? metadata.source : null,
      metadata_json: JSON.stringify(visible),
      request_json: JSON.stringify(kept),
      routing_json: JSON.stringify(bound.routing),
      provider: bound.provider,
      compute_id: bound.computeId,
      sandbox_id: bound.sandboxId,
      provision_time_ms: bound.provisionTimeMs,
      predicted_startup_ms: bound.predictedStartupMs,
      first_exec_at: null,
      last_exec_latency_ms: null,
      created_at: createdAt,
      updated_at: createdAt,
      ended_at: null,
    };
    const session = await this.#deps.db
      .insertInto("sessions")
      .values(row)
      .returningAll()
      .executeTakeFirstOrThrow()
      .catch(async (error: unknown) => {
        if (bound.computeId !== null) await this.#endSandbox(bound);
        throw error;
      });
    return toCreated(session, this.#metrics(session), warningsFor(request));
  }

  /** The session with this id if this account owns it, with all that has happened in it. */
  async get(accountId: string, id: string): Promise<Session> {
    await this.records.recorded(id);
    return this.#read(accountId, id);
  }

  /** {@link get} for who works in it: that waits for no record, and the session's counters may be some seconds old. */
  async open(accountId: string, id: string): Promise<Session> {
    const known = this.#opened.get(id);
    if (known && known.until > performance.now() && known.session.account_id === accountId)
      return known.session;
    const closes = this.#closes;
    const session = await this.#read(accountId, id);
    if (this.#opened.size >= MAX_OPENED) this.#opened.delete(this.#opened.keys().next().value!);
    // A session that was closed while it was read must not be taken for one that is open.
    if (closes === this.#closes) this.#opened.set(id, { session, until: performance.now() + OPENED_MS });
    return session;
  }

  /** {@link open} for who has no account and holds what was signed for this session: the signature is the permission. */
  async openSigned(id: string): Promise<Session> {
    const known = this.#opened.get(id)?.session.account_id;
    if (known !== undefined) return this.open(known, id);
    const row = await this.#deps.db
      .selectFrom("sessions")
      .select("account_id")
      .where("id", "=", id)
      .executeTakeFirst();
    return this.open(row?.account_id ?? "", id);
  }

  /** What is known of an open session has changed. */
  #forget(id: string): void {
    this.#closes++;
    this.#opened.delete(id);
  }

  /** Anybody else's session is not found. */
  async #read(accountId: string, id: string): Promise<Session> {
    const session = await this.#deps.db
      .selectFrom("sessions")
      .selectAll()
      .where("id", "=", id)
      .where("account_id", "=", accountId)
      .executeTakeFirst();
    if (session) return session;
    throw new CerverError("session_not_found", `Session not found: this account has no session ${id}.`, {
      hint: "List the sessions there are with GET /v2/sessions or `cerver sessions`.",
    });
  }

  /** A page of the account's sessions, newest first, without their transcripts. */
  async list(accountId: string, { limit, status, source, cursor }: ListSessionsQuery): Promise<SessionList> {
    await this.records.recorded();
    let query = this.#deps.db
      .selectFrom("sessions")
      .selectAll()
      .where("account_id", "=", accountId)
      .orderBy("created_at", "desc")
      .orderBy("id", "desc")
      .limit(limit + 1);
    if (source !== undefined) query = query.where("source", "=", source);
    if (status !== undefined) {
      const wanted = canonicalStatus(status);
      if (!wanted) {
        throw new CerverError("invalid_request", `status: "${status}" is not a status of a session.`, {
          hint: "Use ready, running, failed or ended.",
        });
      }
      const running = [...this.runs.runningSessions];
      query = query.where("status", "=", wanted === "running" ? "ready" : wanted);
      // An empty list is not SQL: no id is the empty text.
      if (wanted === "running") query = query.where("id", "in", running.length > 0 ? running : [""]);
      if (wanted === "ready" && running.length > 0) query = query.where("id", "not in", running);
    }
    if (cursor !== undefined) {
      const { createdAt, id } = decodeCursor(cursor);
      query = query.where(({ eb, or, and }) =>
        or([eb("created_at", "<", createdAt), and([eb("created_at", "=", createdAt), eb("id", "<", id)])]),
      );
    }
    const rows = await query.execute();
    const page = rows.slice(0, limit);
    return {
      sessions: page.map((row) => toSummary(row, this.#status(row))),
      ...(rows.length > limit && { next_cursor: encodeCursor(page.at(-1)!) }),
    };
  }

  /** The whole record, with the part of the transcript that the query asks for. */
  async record(session: Session, query: TranscriptQuery): Promise<SessionRecord> {
    const transcript = await this.transcripts.read(session.id, query);
    return toRecord(session, this.#status(session), this.#metrics(session), transcript);
  }

  metrics(session: Session): SessionMetrics {
    return this.#metrics(session);
  }

  /** Merges into the metadata, key by key. */
  async patchMetadata(session: Session, metadata: Metadata): Promise<Metadata> {
    const merged: Metadata = {
      ...(JSON.parse(session.metadata_json) as Metadata),
      ...withoutEnvValues(metadata),
    };
    const checked = PatchSessionRequest.parse({ metadata: merged }).metadata;
    await this.#deps.db
      .updateTable("sessions")
      .set({
        metadata_json: JSON.stringify(checked),
        source: typeof checked.source === "string" ? checked.source : null,
        updated_at: this.#deps.now(),
      })
      .where("id", "=", session.id)
      .execute();
    return checked;
  }

  /** Counts a turn of a user, for the engagement of the session. */
  async countInteractions(session: Session, turns: number): Promise<void> {
    if (turns === 0) return;
    await this.#deps.db
      .updateTable("sessions")
      .set(({ eb }) => ({ interaction_count: eb("interaction_count", "+", turns) }))
      .where("id", "=", session.id)
      .execute();
  }

  /** Ends a session: its runs, then its sandbox. Its transcript stays. Ending it again changes nothing. */
  async close(session: Session, reason: string): Promise<void> {
    if (session.ended_at !== null) return;
    const now = this.#deps.now();
    this.#forget(session.id);
    await this.#deps.db
      .updateTable("sessions")
      .set({ status: "ended", end_reason: reason, ended_at: now, updated_at: now })
      .where("id", "=", session.id)
      .where("ended_at", "is", null)
      .execute();
    this.#forget(session.id);
    this.runs.closeAll(session.id);
    if (session.compute_id === null || session.sandbox_id === null) return;
    await this.#endSandbox({
      provider: session.provider,
      computeId: session.compute_id,
      sandboxId: session.sandbox_id,
    });
  }

  /** Removes a session and its transcript for good. */
  async purge(session: Session): Promise<void> {
    await this.close(session, "purged");
    await this.#deps.db.deleteFrom("sessions").where("id", "=", session.id).execute();
    this.#forget(session.id);
  }

  async #bind(accountId: string, sessionId: string, request: CreateSessionRequest, signal: AbortSignal) {
    const input = {
      request,
      computes: await this.#deps.computes.list(accountId),
      providers: this.#deps.catalog,
      measuredStartupMs: await this.#measuredStartup(accountId),
    };
    const result = route(input);
    if (!result.chosen) {
      throw noCompute(result.why, result.candidates, input, this.#deps.gatewayUrl());
    }
    const { chosen, routing, predictedStartupMs } = result;
    const provider = this.#deps.providers.get(chosen.provider as ProviderName);
    if (!provider) throw new Error(`the router chose ${chosen.provider}, which has no adapter`);
    const began = performance.now();
    const sandbox = await provider.createSandbox(
      {
        engine: "shell",
        metadata: { ...request.metadata, cerver_session_id: sessionId },
      },
      {
        computeId: chosen.compute_id,
        signal: AbortSignal.any([signal, AbortSignal.timeout(PROVISION_TIMEOUT_MS)]),
        credentials: {},
      },
    );
    return {
      provider: chosen.provider,
      computeId: chosen.compute_id,
      sandboxId: sandbox.sandboxId,
      provisionTimeMs: round(performance.now() - began),
      predictedStartupMs,
      routing,
    };
  }

  /** Average provisioning time by compute, over the account's newest sessions. */
  async #measuredStartup(accountId: string): Promise<Map<string, number>> {
    const rows = await this.#deps.db
      .selectFrom((eb) =>
        eb
          .selectFrom("sessions")
          .select(["compute_id", "provision_time_ms"])
          .where("account_id", "=", accountId)
          .orderBy("created_at", "desc")
          .orderBy("id", "desc")
          .limit(STARTUP_SAMPLE)
          .as("newest"),
      )
      .select(({ fn }) => ["compute_id", fn.avg<number>("provision_time_ms").as("average")])
      .where("compute_id", "is not", null)
      .groupBy("compute_id")
      .execute();
    return new Map(rows.map((row) => [row.compute_id!, round(Number(row.average))]));
  }

  async #endSandbox({ provider: name, computeId, sandboxId }: SandboxRef): Promise<void> {
    const provider = this.#deps.providers.get(name as ProviderName);
    if (!provider) return;
    const record: SandboxRecord = { sandboxId, computeId, provider: provider.providerName };
    try {
      const response = await provider.deleteSandbox(record, {
        computeId,
        signal: AbortSignal.timeout(CLOSE_TIMEOUT_MS),
        credentials: {},
      });
      await response.body?.cancel();
    } catch (error) {
      // A compute that is away ends its sandboxes' runs itself; the session ends all the same.
      this.#deps.logger.warn(
        { err: error, compute_id: computeId, sandbox_id: sandboxId },
        "sandbox not ended",
      );
    }
  }

  #status(session: Session): SessionStatus {
    if (session.ended_at !== null) return "ended";
    return this.runs.isRunning(session.id) ? "running" : (session.status as SessionStatus);
  }

  #metrics(session: Session): SessionMetrics {
    const { computes, now } = this.#deps;
    const uptime = session.compute_id === null ? null : computes.presence.uptimePercent(session.compute_id);
    return sessionMetrics(session, uptime, now());
  }
}

interface SandboxRef {
  provider: string;
  computeId: string;
  sandboxId: string;
}

const TRANSCRIPT_ONLY = {
  provider: "none",
  computeId: null,
  sandboxId: null,
  provisionTimeMs: null,
  predictedStartupMs: null,
  routing: {
    recommended_provider: null,
    confidence: "high",
    primary_reason: "The session keeps a transcript only, as asked for",
    secondary_reasons: [],
    fallback_order: [],
    canary_run: false,
  } satisfies Routing,
} as const;

function wantsNoCompute({ compute, session_type, target_compute_id }: CreateSessionRequest): boolean {
  return compute === null || (session_type === "transcript" && !compute && !target_compute_id);
}

function warningsFor(request: CreateSessionRequest): string[] {
  return unknownCreateFields(request).map(
    (field) => `"${field}" is not a field this gateway knows, so it was ignored.`,
  );
}

/** A session's name when none was given: the first line of its task, 48 characters at most. */
function nameFrom(task: string | undefined): string {
  const line = task?.trim().split("\n", 1)[0] ?? "";
  return line === "" ? "session" : line.slice(0, 48);
}

/** `metadata.env` may hold secrets: its values go to the compute, the record keeps the names. */
function withoutEnvValues(metadata: Metadata): Metadata {
  const { env } = metadata;
  if (typeof env !== "object" || env === null) return metadata;
  return { ...metadata, env: Object.fromEntries(Object.keys(env).map((name) => [name, "[hidden]"])) };
}
