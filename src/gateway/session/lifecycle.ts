import { CerverError } from "../../protocol/errors.js";
import { isProviderHandle } from "../../protocol/providers.js";
import type {
  ChangeComputeRequest,
  CreateSessionRequest,
  Metadata,
  PauseRequest,
  ResumeRequest,
  SessionMoved,
} from "../../protocol/sessions.js";
import { Lines } from "../../util/lines.js";
import { type CarryReport, carryFolder } from "../compute/carry.js";
import type { Computes } from "../compute/computes.js";
import type { Database } from "../store/schema.js";
import type { Costs } from "./costs.js";
import { lifetimeMs, type Provisioned, type Provisioning } from "./provisioning.js";
import type { Runs } from "./runs/runs.js";
import type { Session } from "./session-record.js";
import type { SandboxPlace, SessionSandboxes } from "./session-sandbox.js";
import { variablesOf, withEnv, withVariables } from "./session-variables.js";
import type { Transcripts } from "./transcripts.js";

/** How long putting a sandbox to sleep or waking it may take. */
const REST_TIMEOUT_MS = 60_000;

export interface LifecycleDeps {
  db: Database;
  computes: Computes;
  provisioning: Provisioning;
  sandboxes: SessionSandboxes;
  costs: Costs;
  runs: Runs;
  transcripts: Transcripts;
  now: () => number;
  /** Told when a session rests, is back, or has another compute. */
  onChange: (session: Session, change: "paused" | "resumed" | "moved") => void;
}

type MoveWish = Pick<ChangeComputeRequest, "carry" | "leave_secrets" | "skip_ignored" | "env">;

/** What becomes of an open session's compute: it rests, comes back, moves. The session and its transcript stay. */
export class Lifecycle {
  readonly #deps: LifecycleDeps;
  readonly #lines = new Lines();

  constructor(deps: LifecycleDeps) {
    this.#deps = deps;
  }

  /**
   * Releases a session's compute: its runs end, it costs nothing more, and its files wait where they are.
   *
   * A provider that cannot keep files is a `conflict`, unless they may be lost. `isWanted` is asked when its turn has come.
   */
  pause(
    session: Session,
    { discard_files }: PauseRequest,
    why: string,
    isWanted: (session: Session) => boolean = () => true,
  ): Promise<SessionMoved> {
    return this.#inLine(session, undefined, (now) =>
      isWanted(now) ? this.#pause(now, discard_files, why) : Promise.resolve(moved(now)),
    );
  }

  /** Brings a session back, on the compute it had or on another one. */
  resume(session: Session, request: ResumeRequest, signal: AbortSignal): Promise<SessionMoved> {
    return this.#inLine(session, signal, (now) => this.#resume(now, request, signal));
  }

  /** Gives a session another compute, or none. Its runs end; the working folder goes along when both computes can. */
  changeCompute(session: Session, request: ChangeComputeRequest, signal: AbortSignal): Promise<SessionMoved> {
    return this.#inLine(session, signal, (now) => this.#changeCompute(now, request, signal));
  }

  /** One change of a session after the other: each begins with what the one before it left. */
  #inLine<T>(
    { id }: Session,
    signal: AbortSignal | undefined,
    work: (now: Session) => Promise<T>,
  ): Promise<T> {
    return this.#lines.inLine(id, async () => {
      signal?.throwIfAborted();
      const now = await this.#read(id);
      if (!now) throw endedMeanwhile(id);
      refuseEnded(now);
      return work(now);
    });
  }

  async #pause(session: Session, discardFiles: boolean, why: string): Promise<SessionMoved> {
    if (session.compute_id === null) throw nothingToPause(session);
    if (session.paused_at !== null) return moved(session);
    const { sandboxes, runs, transcripts } = this.#deps;
    const keeps = sandboxes.canRest(session);
    if (!keeps && !discardFiles) {
      throw new CerverError(
        "conflict",
        `${session.provider} cannot keep the files of a sandbox that rests.`,
        {
          hint: 'Send {"discard_files": true} to pause without them, or move the session first: POST …/change-compute.',
        },
      );
    }
    await runs.endAll(session, "paused");
    if (keeps && isProviderHandle(session.compute_id)) await this.#suspend(session);
    const paused = await this.#become(session, "paused", {
      paused_at: this.#deps.now(),
      ...(!keeps && { sandbox_id: null }),
    });
    if (!keeps) await sandboxes.end(session);
    await transcripts.append(session, [note(`Paused (${why}): the compute is released.`)]);
    return moved(paused);
  }

  async #resume(session: Session, request: ResumeRequest, signal: AbortSignal): Promise<SessionMoved> {
    if (request.compute)
      return this.#changeCompute(session, { ...request, compute: request.compute }, signal);
    const warnings = request.env && { warnings: [ENV_NOT_USED] };
    if (session.compute_id !== null && session.paused_at === null) return { ...moved(session), ...warnings };
    if (session.compute_id === null || session.sandbox_id === null)
      return this.#move(session, {}, request, signal);
    const { costs, transcripts } = this.#deps;
    const useId = await costs.admit({
      accountId: session.account_id,
      sessionId: session.id,
      provider: session.provider,
      computeId: session.compute_id,
      reservedUsd: this.#reserve(session),
    });
    let awake: SandboxPlace;
    try {
      awake = { ...session, sandbox_id: await this.#wake(session, signal) };
    } catch (error) {
      await costs.discard(useId);
      throw error;
    }
    try {
      await costs.began(useId, awake.sandbox_id!);
      const values = {
        sandbox_id: awake.sandbox_id,
        ...this.#fresh(session.request_json, session.compute_id),
      };
      const back = await this.#become(session, "resumed", values, useId);
      await transcripts.append(session, [note("Resumed on the same compute.")]);
      return { ...moved(back), ...warnings };
    } catch (error) {
      await this.#undo(awake, useId);
      throw error;
    }
  }

  /** Wakes a sandbox, or finds that it is still there. Returns its id, which may be another one. */
  async #wake(session: Session, signal: AbortSignal): Promise<string> {
    const within = AbortSignal.any([signal, AbortSignal.timeout(REST_TIMEOUT_MS)]);
    const reached = this.#deps.sandboxes.reach(session, within);
    if (!reached) throw new Error(`session ${session.id} has no adapter`);
    const { adapter, record, env } = reached;
    if (adapter.cloud?.wake && isProviderHandle(record.computeId))
      return (await adapter.cloud.wake(record, env)).sandboxId;
    const state = await adapter.getState(record, env);
    await state.body?.cancel();
    if (!state.ok) throw sandboxGone(session);
    return record.sandboxId;
  }

  async #changeCompute(
    session: Session,
    request: ChangeComputeRequest,
    signal: AbortSignal,
  ): Promise<SessionMoved> {
    const { compute, compute_priority: priority } = request;
    if (compute === null) return this.#release(session);
    if (compute) return this.#move(session, { compute }, request, signal);
    let failure: unknown;
    for (const id of priority ?? []) {
      try {
        return await this.#move(session, { compute: { compute_id: id } }, request, signal);
      } catch (error) {
        if (signal.aborted || !(error instanceof CerverError)) throw error;
        if (error instanceof ChangedMeanwhile || error.code === "session_ended") throw error;
        failure = error;
      }
    }
    throw failure;
  }

  /** The session keeps its transcript, and has no compute any more. */
  async #release(session: Session): Promise<SessionMoved> {
    const { sandboxes, runs, transcripts } = this.#deps;
    if (session.compute_id === null) return moved(session);
    await runs.endAll(session, "compute_released");
    const free = await this.#become(session, "moved", {
      provider: "none",
      compute_id: null,
      sandbox_id: null,
      paused_at: null,
      deadline_at: null,
    });
    await sandboxes.end(session);
    await transcripts.append(session, [note(`Compute ${session.compute_id} released.`)]);
    return moved(free);
  }

  async #move(
    session: Session,
    where: Pick<CreateSessionRequest, "compute">,
    wish: MoveWish,
    signal: AbortSignal,
  ): Promise<SessionMoved> {
    const { sandboxes, runs, provisioning, transcripts } = this.#deps;
    const {
      target_compute_id: _,
      compute: __,
      policy = {},
      ...created
    } = JSON.parse(session.request_json) as CreateSessionRequest;
    // The compute that is asked for now takes the place of what the policy once named.
    const { pinned_provider: ___, allowed_providers: ____, ...rest } = policy;
    const openPolicy = where.compute
      ? { ...rest, ...(rest.mode === "pinned" && { mode: "balanced" as const }) }
      : policy;
    const request: CreateSessionRequest = { ...created, policy: openPolicy, ...where };
    const metadata = JSON.parse(session.metadata_json) as Metadata;
    const { env = {} } = wish;
    const made = await provisioning.provision({
      accountId: session.account_id,
      sessionId: session.id,
      request,
      metadata: withEnv(metadata, wish.env),
      signal,
    });
    const place: SandboxPlace = {
      account_id: session.account_id,
      id: session.id,
      provider: made.provider,
      compute_id: made.computeId,
      sandbox_id: made.sandboxId,
    };
    // A vendor that names sandboxes by their session gave the one that there was: nothing has to move.
    const isSame = made.computeId === session.compute_id && made.sandboxId === session.sandbox_id;
    let carried: CarryReport | string | undefined;
    let there: Session;
    try {
      await runs.endAll(session, "compute_changed");
      carried = isSame ? undefined : await this.#carry(session, place, wish, signal);
      const bound = this.#bound(request, made);
      there = await this.#become(session, "moved", bound, made.useId, Object.keys(env));
    } catch (error) {
      // The session stays where it was: nothing of it is lost.
      await this.#undo(place, made.useId);
      throw error;
    }
    if (session.sandbox_id !== null && !isSame) await sandboxes.end(session);
    const from = session.compute_id === null ? "" : ` from ${session.compute_id}`;
    await transcripts.append(session, [note(`Compute changed${from} to ${made.computeId}.`)]);
    const unset = isSame ? [] : variablesOf(metadata).filter((name) => !Object.hasOwn(env, name));
    const warnings = [
      ...(typeof carried === "string" ? [carried] : []),
      ...(unset.length > 0 ? [variablesUnset(unset)] : []),
    ];
    return {
      ...moved(there),
      carried: typeof carried === "object" ? toCarried(carried) : null,
      routing: made.routing,
      ...(made.attempts.length > 1 && { attempts: made.attempts }),
      ...(warnings.length > 0 && { warnings }),
    };
  }

  /** Ends what was made for a session that it did not get, and what that costs. */
  async #undo(place: SandboxPlace, useId: string): Promise<void> {
    await this.#deps.costs.ended(place.id, { only: useId });
    const now = await this.#read(place.id);
    const isItsOwn = now?.compute_id === place.compute_id && now.sandbox_id === place.sandbox_id;
    if (!isItsOwn || now.ended_at !== null) await this.#deps.sandboxes.end(place);
  }

  /** Takes the working folder along. Returns why not in words, where that is no failure. */
  async #carry(
    session: Session,
    to: SandboxPlace,
    { carry, leave_secrets, skip_ignored }: MoveWish,
    signal: AbortSignal,
  ): Promise<CarryReport | string | undefined> {
    if (carry === "never" || session.compute_id === null || session.sandbox_id === null) return undefined;
    const { sandboxes, computes } = this.#deps;
    const [source, target] = [sandboxes.reach(session, signal), sandboxes.reach(to, signal)];
    if (!source?.adapter.folder || !target?.adapter.folder)
      return "The working folder stayed behind: one of the two computes cannot hand it over.";
    if (!computes.isOnline(session.compute_id))
      return `The working folder stayed behind: ${session.compute_id} is offline.`;
    try {
      return await carryFolder(source, target, { leaveSecrets: leave_secrets, skipIgnored: skip_ignored });
    } catch (error) {
      if (error instanceof CerverError && error.code === "unsupported")
        return `The working folder stayed behind: ${error.message}`;
      throw error;
    }
  }

  async #suspend(session: Session): Promise<void> {
    const reached = this.#deps.sandboxes.reach(session, AbortSignal.timeout(REST_TIMEOUT_MS));
    await reached?.adapter.cloud?.suspend?.(reached.record, reached.env);
  }

  #bound(request: CreateSessionRequest, made: Provisioned) {
    const request_json = JSON.stringify(request);
    return {
      provider: made.provider,
      compute_id: made.computeId,
      sandbox_id: made.sandboxId,
      routing_json: JSON.stringify(made.routing),
      decision_json: JSON.stringify(made.decision),
      attempts_json: JSON.stringify(made.attempts),
      request_json,
      ...this.#fresh(request_json, made.computeId),
    };
  }

  /** A session that has a compute again, from now on. */
  #fresh(requestJson: string, computeId: string) {
    const now = this.#deps.now();
    const ms = lifetimeMs(JSON.parse(requestJson) as CreateSessionRequest, computeId);
    return {
      paused_at: null,
      cost_since: now,
      last_active_at: now,
      deadline_at: ms === null ? null : now + ms,
    };
  }

  #reserve(session: Session): number {
    const ms = lifetimeMs(JSON.parse(session.request_json) as CreateSessionRequest, session.compute_id!);
    return ms === null ? 0 : this.#deps.costs.priceOf(session.provider, ms / 1000);
  }

  #read(id: string, db: Database = this.#deps.db): Promise<Session | undefined> {
    return db.selectFrom("sessions").selectAll().where("id", "=", id).executeTakeFirst();
  }

  /**
   * Puts what has become of a session on the record, and the end of all its uses but one: in one transaction, and only if
   * the session still is as it was. Closing it waits for nobody, and other gateways change sessions too.
   */
  async #become(
    before: Session,
    change: "paused" | "resumed" | "moved",
    values: Partial<Session>,
    useId?: string,
    variables: readonly string[] = [],
  ): Promise<Session> {
    const { id } = before;
    const { db, costs, now, onChange } = this.#deps;
    const after = await db.transaction().execute(async (tx) => {
      // This takes the session's row, so that it can be read and changed.
      await costs.endedWithin(tx, id, { except: useId });
      const there = await this.#read(id, tx);
      if (!there || there.ended_at !== null) throw endedMeanwhile(id);
      if (PLACE.some((column) => there[column] !== before[column])) throw new ChangedMeanwhile(id);
      const metadata = JSON.parse(there.metadata_json) as Metadata;
      const named = withVariables(metadata, [...new Set([...variablesOf(metadata), ...variables])]);
      return tx
        .updateTable("sessions")
        .set({ ...values, metadata_json: JSON.stringify(named), updated_at: now() })
        .where("id", "=", id)
        .returningAll()
        .executeTakeFirstOrThrow();
    });
    onChange(after, change);
    return after;
  }
}

/** What says where a session is. */
const PLACE = ["compute_id", "sandbox_id", "paused_at"] as const;

function moved(session: Session): SessionMoved {
  return {
    session_id: session.id,
    status: "ready",
    provider: session.provider,
    compute_id: session.compute_id,
    sandbox_id: session.sandbox_id,
    paused: session.paused_at !== null,
  };
}

function toCarried(report: CarryReport): NonNullable<SessionMoved["carried"]> {
  return {
    tree_hash: report.tree_hash,
    files: report.files,
    bytes_total: report.bytes_total,
    bytes_sent: report.bytes_sent,
    left_behind: report.left_behind.map(({ path, reason }) => `${path}: ${reason}`),
    left_behind_count: report.left_behind_count,
  };
}

function note(content: string) {
  return { role: "system" as const, kind: "compute", content };
}

function refuseEnded(session: Session): void {
  if (session.ended_at === null) return;
  throw new CerverError("session_ended", `Session ${session.id} has ended, and stays so.`, {
    hint: "Create a new one with POST /v2/sessions. Its transcript can still be read.",
  });
}

function endedMeanwhile(id: string): CerverError {
  return new CerverError("session_ended", `Session ${id} was ended meanwhile.`, {
    hint: "Create a new one with POST /v2/sessions.",
  });
}

/** Another gateway was faster. */
class ChangedMeanwhile extends CerverError {
  constructor(id: string) {
    super("conflict", `Something else changed session ${id} at the same time.`, {
      hint: `Look where it is now with GET /v2/sessions/${id}, then send this again if it is still wanted.`,
      details: { retryable: true },
    });
  }
}

const ENV_NOT_USED =
  '"env" was not used: the session is on the compute that it had, with the variables it has there.';

function variablesUnset(names: readonly string[]): string {
  return `The values of variables are not kept, so these are not set on the new compute: ${names.join(", ")}. Give them as "env" when you move a session, or as "envs" with a run.`;
}

function nothingToPause(session: Session): CerverError {
  return new CerverError("conflict", `Session ${session.id} has no compute that could rest.`, {
    hint: "Give it one with POST …/compute, or leave it as it is.",
  });
}

function sandboxGone(session: Session): CerverError {
  return new CerverError(
    "sandbox_not_found",
    `The files of session ${session.id} are no longer on ${session.compute_id}.`,
    {
      hint: 'Resume it somewhere with an empty folder: {"compute": {"provider": "p69"}, "carry": "never"}.',
    },
  );
}
