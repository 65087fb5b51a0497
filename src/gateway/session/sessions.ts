import { setTimeout as sleep } from "node:timers/promises";
import type { SessionDigest } from "../../protocol/digest.js";
import { CerverError } from "../../protocol/errors.js";
import { newId } from "../../protocol/ids.js";
import type { SessionMetrics } from "../../protocol/metrics.js";
import type { SessionNews } from "../../protocol/news.js";
import type {
  Attempt,
  ReplayReport,
  Routing,
  RoutingDecision,
  RoutingMode,
  SessionRouting,
} from "../../protocol/routing.js";
import type { SearchAnswer, SearchQuery } from "../../protocol/search.js";
import {
  type CreatedSession,
  type CreateSessionRequest,
  canonicalStatus,
  knownCreateFields,
  type Labels,
  type ListSessionsQuery,
  type Metadata,
  PatchSessionRequest,
  type SessionList,
  type SessionRecord,
  type SessionStatus,
  type TranscriptQuery,
  unknownCreateFields,
} from "../../protocol/sessions.js";
import { durationMs } from "../../util/duration.js";
import type { Logger } from "../../util/logger.js";
import type { CloudProviders } from "../compute/cloud-providers.js";
import type { Computes } from "../compute/computes.js";
import { costUsd, type ProviderProfile } from "../compute/profile.js";
import type { ProviderRegistry } from "../compute/registry.js";
import type { Database } from "../store/schema.js";
import { Activity } from "./activity.js";
import { type CostOf, Costs } from "./costs.js";
import { digest } from "./digest.js";
import { Housekeeping } from "./housekeeping.js";
import { IdempotencyKeys } from "./idempotency.js";
import { Lifecycle } from "./lifecycle.js";
import { sessionMetrics } from "./metrics.js";
import { News } from "./news.js";
import { Orphans } from "./orphans.js";
import { lifetimeMs, type Provisioned, Provisioning } from "./provisioning.js";
import { replay } from "./routing/replay.js";
import { RoutingMemory } from "./routing/routing-memory.js";
import { RunRecords } from "./runs/run-records.js";
import { Runs } from "./runs/runs.js";
import { search } from "./search.js";
import { SecretUses } from "./secret-uses.js";
import { encodeCursor } from "./session-cursor.js";
import { pageOfSessions } from "./session-list.js";
import { type Session, toCreated, toRecord, toSummary } from "./session-record.js";
import { SessionSandboxes } from "./session-sandbox.js";
import { writeTags } from "./session-tags.js";
import { withEnv, withoutEnvValues } from "./session-variables.js";
import { StressTests } from "./stress/stress-tests.js";
import { Transcripts } from "./transcripts.js";

/** How long a session that somebody works in is not read again, and how many such sessions are kept. */
const OPENED_MS = 5_000;
const MAX_OPENED = 10_000;
/** How long a gateway that stops waits for lost creates to be undone: others are found by their own deadline. */
const STOP_MS = 5_000;
/** How many sessions a replay looks at. */
const MAX_REPLAYED = 5_000;

export interface SessionsDeps {
  db: Database;
  computes: Computes;
  clouds: CloudProviders;
  providers: ProviderRegistry;
  catalog: readonly ProviderProfile[];
  /** The address to put into commands that people paste. */
  gatewayUrl: () => string;
  /** How long the caller of a run is kept waiting for a machine whose link broke. */
  runGraceMs: number;
  logger: Logger;
  now?: () => number;
  /** How often deadlines and idle clocks are looked at. */
  lookMs?: number | undefined;
}

/** The session layer: apps create sessions, work in them, read them and end them. */
export class Sessions {
  readonly news = new News();
  readonly transcripts: Transcripts;
  readonly secretUses: SecretUses;
  readonly records: RunRecords;
  readonly runs: Runs;
  readonly keys: IdempotencyKeys;
  readonly costs: Costs;
  readonly activity: Activity;
  readonly life: Lifecycle;
  readonly provisioning: Provisioning;
  readonly housekeeping: Housekeeping;
  readonly orphans: Orphans;
  readonly sandboxes: SessionSandboxes;
  readonly memory: RoutingMemory;
  readonly stressTests: StressTests;
  readonly #deps: Omit<Required<SessionsDeps>, "lookMs">;
  readonly #opened = new Map<string, { session: Session; until: number }>();
  #closes = 0;

  constructor({ lookMs, ...given }: SessionsDeps) {
    const deps = { now: Date.now, news: this.news, ...given };
    this.#deps = deps;
    this.transcripts = new Transcripts(deps);
    this.secretUses = new SecretUses(deps.db);
    this.records = new RunRecords({ ...deps, transcripts: this.transcripts, secretUses: this.secretUses });
    this.activity = new Activity(deps);
    this.runs = new Runs({
      ...deps,
      records: this.records,
      graceMs: deps.runGraceMs,
      onQuiet: (id) => this.activity.touch(id),
    });
    this.keys = new IdempotencyKeys(deps);
    this.costs = new Costs({ ...deps, costOf: costsOf(deps.catalog) });
    this.memory = new RoutingMemory(deps);
    this.orphans = new Orphans(deps);
    this.sandboxes = new SessionSandboxes({ ...deps, orphans: this.orphans });
    this.provisioning = new Provisioning({
      ...deps,
      memory: this.memory,
      costs: this.costs,
      orphans: this.orphans,
    });
    this.life = new Lifecycle({
      ...deps,
      ...this.#parts(),
      onChange: (session, change) => this.#changed(session, change),
    });
    this.housekeeping = new Housekeeping({
      ...deps,
      ...this.#parts(),
      life: this.life,
      close: (session, reason) => this.close(session, reason),
      lookMs,
    });
    this.stressTests = new StressTests({ ...deps, ...this.#parts(), memory: this.memory });
  }

  #parts() {
    const { transcripts, runs, costs, activity, provisioning, orphans, sandboxes } = this;
    return { transcripts, runs, costs, activity, provisioning, orphans, sandboxes };
  }

  /** Takes up what an earlier process left. To be called once, at start. */
  async takeUp(): Promise<void> {
    await this.records.loseAll();
    await this.keys.forgetUnanswered();
    await this.stressTests.endAbandoned();
    await this.costs.endAbandoned(this.orphans);
  }

  /** Writes what is on its way to the database, and stops looking after sessions. */
  async stop(): Promise<void> {
    await this.stressTests.stop();
    await this.housekeeping.stop();
    await Promise.race([this.orphans.settled(), sleep(STOP_MS)]);
    await this.records.recorded();
    await this.activity.flush();
    await this.memory.flush();
  }

  /**
   * Binds a new session to a compute, or to none when the request says so.
   *
   * Fails with `no_compute` and a recommendation report when nothing fits, with `spend_limit` when the account may not
   * spend so much, and leaves no sandbox behind when it fails later.
   */
  async create(
    accountId: string,
    request: CreateSessionRequest,
    signal: AbortSignal,
    parentId: string | null = null,
  ): Promise<CreatedSession> {
    const createdAt = this.#deps.now();
    const id = newId("sess", createdAt);
    const { metadata = {}, labels = {}, ...kept } = knownCreateFields(request);
    const made: Provisioned | undefined = wantsNoCompute(request)
      ? undefined
      : await this.provisioning.provision({ accountId, sessionId: id, request, metadata, signal });
    const boundAt = this.#deps.now();
    const visible = withoutEnvValues(metadata);
    const lifeMs = made ? lifetimeMs(request, made.computeId) : null;
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
      labels_json: JSON.stringify(labels),
      parent_id: parentId,
      request_json: JSON.stringify(kept),
      routing_json: JSON.stringify(made?.routing ?? TRANSCRIPT_ONLY),
      decision_json: made ? JSON.stringify(made.decision) : null,
      attempts_json: made ? JSON.stringify(made.attempts) : null,
      provider: made?.provider ?? "none",
      compute_id: made?.computeId ?? null,
      sandbox_id: made?.sandboxId ?? null,
      provision_time_ms: made?.provisionTimeMs ?? null,
      predicted_startup_ms: made?.predictedStartupMs ?? null,
      first_exec_at: null,
      last_exec_latency_ms: null,
      deadline_at: lifeMs === null ? null : boundAt + lifeMs,
      idle_timeout_ms:
        request.idle_timeout_minutes === undefined ? null : request.idle_timeout_minutes * 60_000,
      last_active_at: createdAt,
      max_cost_usd: request.policy?.max_cost_usd ?? null,
      cost_since: made ? boundAt : null,
      created_at: createdAt,
      updated_at: createdAt,
      ended_at: null,
    };
    try {
      const session = await this.#deps.db.transaction().execute(async (tx) => {
        const inserted = await tx.insertInto("sessions").values(row).returningAll().executeTakeFirstOrThrow();
        await writeTags(tx, inserted, labels, visible);
        return inserted;
      });
      this.#changed(session, "created");
      return toCreated(session, this.#metrics(session), warningsFor(request));
    } catch (error) {
      if (made) {
        await this.sandboxes.end({ ...row, compute_id: made.computeId, sandbox_id: made.sandboxId });
        await this.costs.ended(id);
      }
      throw error;
    }
  }

  /** A session beside another one, on a compute of its own: what the request leaves out is as in the parent. */
  async spawn(parent: Session, request: CreateSessionRequest, signal: AbortSignal): Promise<CreatedSession> {
    const asked = JSON.parse(parent.request_json) as CreateSessionRequest;
    const metadata = { ...(JSON.parse(parent.metadata_json) as Metadata), ...request.metadata };
    return this.create(
      parent.account_id,
      { ...asked, ...request, metadata: withEnv(metadata, request.metadata?.env) },
      signal,
      parent.id,
    );
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

  /** What an agent on a public relay tells of a session: only the compute that the session has may tell of it. */
  async tellAgentEvent(
    computeId: string,
    { session_id, event }: { session_id: string; event: unknown },
  ): Promise<void> {
    const session = await this.openSigned(session_id).catch(() => undefined);
    if (session?.compute_id !== computeId) return;
    this.news.tell(session, { type: "stream_event", session_id, event });
  }

  #changed(session: Pick<Session, "id" | "account_id">, change: SessionChange): void {
    this.#forget(session.id);
    this.news.tell(session, { type: "session", session_id: session.id, change });
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
  async list(
    accountId: string,
    query: ListSessionsQuery,
    metadata: Record<string, string> = {},
  ): Promise<SessionList> {
    await this.records.recorded();
    const running = [...this.runs.runningSessions];
    const { rows, more } = await pageOfSessions(this.#deps.db, accountId, query, metadata, running);
    return {
      sessions: rows.map((row) => toSummary(row, this.#status(row))),
      ...(more && { next_cursor: encodeCursor(rows.at(-1)!) }),
    };
  }

  /** Entries of all of the account's sessions, the best and newest first, with what has ended a moment ago. */
  async search(accountId: string, query: SearchQuery): Promise<SearchAnswer> {
    await this.records.recorded();
    return search(this.#deps.db, accountId, query);
  }

  /** What a session is about and where it stands, in so many tokens. */
  digest(session: Session, maxTokens: number): Promise<SessionDigest> {
    return digest(this.#deps.db, session, this.#status(session), maxTokens);
  }

  /** The whole record, with the part of the transcript that the query asks for. */
  async record(session: Session, query: TranscriptQuery): Promise<SessionRecord> {
    const transcript = await this.transcripts.read(session.id, query);
    return toRecord(session, this.#status(session), this.#metrics(session), transcript);
  }

  /** What another policy would have chosen for the account's sessions of late, and what that would have cost. */
  async replay(accountId: string, policy: RoutingMode, since: string): Promise<ReplayReport> {
    const rows = await this.#deps.db
      .selectFrom("sessions")
      .selectAll()
      .where("account_id", "=", accountId)
      .where("decision_json", "is not", null)
      .where("created_at", ">=", this.#deps.now() - durationMs(since)!)
      .orderBy("created_at", "desc")
      .limit(MAX_REPLAYED)
      .execute();
    const recorded = rows.map((row) => ({
      decision: JSON.parse(row.decision_json!) as RoutingDecision,
      sessionId: row.id,
      actual: {
        startupMs: row.provision_time_ms ?? undefined,
        minutes: ((row.ended_at ?? this.#deps.now()) - row.created_at) / 60_000,
      },
    }));
    return replay(recorded, policy);
  }

  metrics(session: Session): SessionMetrics {
    return this.#metrics(session);
  }

  /** Merges into the metadata and the labels, key by key. */
  async patch(session: Session, given: PatchSession): Promise<Required<PatchSession>> {
    const merged: Metadata = {
      ...(JSON.parse(session.metadata_json) as Metadata),
      ...withoutEnvValues(given.metadata),
    };
    const { metadata, labels = {} } = PatchSessionRequest.parse({
      metadata: merged,
      labels: { ...(JSON.parse(session.labels_json ?? "{}") as Labels), ...given.labels },
    });
    await this.#deps.db.transaction().execute(async (tx) => {
      await tx
        .updateTable("sessions")
        .set({
          metadata_json: JSON.stringify(metadata),
          labels_json: JSON.stringify(labels),
          source: typeof metadata.source === "string" ? metadata.source : null,
          updated_at: this.#deps.now(),
        })
        .where("id", "=", session.id)
        .execute();
      await writeTags(tx, session, labels, metadata);
    });
    this.#changed(session, "changed");
    return { metadata, labels };
  }

  /** An edge of the life of a session that somebody else tells of, in any word that was ever used for one. */
  async setStatus(session: Session, word: string, endReason: string | undefined): Promise<void> {
    const status = word === "completed" ? "ready" : canonicalStatus(word);
    if (!status) {
      throw new CerverError("invalid_request", `status: "${word}" is not a status of a session.`, {
        hint: "Use ready, running, failed or ended.",
      });
    }
    if (status === "ended") return this.close(session, endReason ?? word);
    if (session.ended_at !== null) return;
    await this.#deps.db
      .updateTable("sessions")
      .set({
        // Whether something runs is known here.
        status: status === "failed" ? "failed" : "ready",
        ...(endReason !== undefined && { end_reason: endReason }),
        updated_at: this.#deps.now(),
      })
      .where("id", "=", session.id)
      .where("ended_at", "is", null)
      .execute();
  }

  /** How a session came by its compute. */
  routing(session: Session): SessionRouting {
    return {
      session_id: session.id,
      routing: JSON.parse(session.routing_json) as Routing,
      attempts: JSON.parse(session.attempts_json ?? "[]") as Attempt[],
      decision:
        session.decision_json === null ? null : (JSON.parse(session.decision_json) as RoutingDecision),
    };
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
    const now = this.#deps.now();
    const ended = await this.#deps.db
      .updateTable("sessions")
      .set({ status: "ended", end_reason: reason, ended_at: now, updated_at: now })
      .where("id", "=", session.id)
      .where("ended_at", "is", null)
      .returningAll()
      .executeTakeFirst();
    if (!ended) return this.#forget(session.id);
    this.#changed(ended, "ended");
    this.runs.closeAll(ended.id);
    // Its row says where it was in the end: it may have moved since it was loaded. The sandbox first: its use is how the
    // next gateway finds it when this one is killed in between.
    await this.sandboxes.end(ended);
    await this.costs.ended(ended.id, { at: now });
  }

  /** Removes a session and its transcript for good. */
  async purge(session: Session): Promise<void> {
    await this.close(session, "purged");
    await this.#deps.db.deleteFrom("sessions").where("id", "=", session.id).execute();
    this.#forget(session.id);
  }

  #status(session: Session): SessionStatus {
    if (session.ended_at !== null) return "ended";
    return this.runs.isRunning(session.id) ? "running" : (session.status as SessionStatus);
  }

  #metrics(session: Session): SessionMetrics {
    const { computes, now } = this.#deps;
    const uptime = session.compute_id === null ? null : computes.presence.uptimePercent(session.compute_id);
    return sessionMetrics(session, uptime, this.costs.soFar(session), now());
  }
}

type SessionChange = Extract<SessionNews, { type: "session" }>["change"];
type PatchSession = { metadata: Metadata; labels?: Labels | undefined };

const TRANSCRIPT_ONLY: Routing = {
  recommended_provider: null,
  confidence: "high",
  primary_reason: "The session keeps a transcript only, as asked for",
  secondary_reasons: [],
  fallback_order: [],
  canary_run: false,
};

/** What time costs at each provider, by the catalog's prices. */
function costsOf(catalog: readonly ProviderProfile[]): CostOf {
  const prices = new Map<string, ProviderProfile["price"]>(
    catalog.map(({ provider, price }) => [provider, price]),
  );
  return (provider, seconds) => {
    const price = prices.get(provider);
    return price ? costUsd(price, seconds) : 0;
  };
}

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
