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
import { type CarryReport, carryFolder } from "../compute/carry.js";
import type { Computes } from "../compute/computes.js";
import type { Database } from "../store/schema.js";
import type { Costs } from "./costs.js";
import { lifetimeMs, type Provisioned, type Provisioning } from "./provisioning.js";
import type { Runs } from "./runs/runs.js";
import type { Session } from "./session-record.js";
import type { SandboxPlace, SessionSandboxes } from "./session-sandbox.js";
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

type CarryWish = Pick<ChangeComputeRequest, "carry" | "leave_secrets" | "skip_ignored">;

/** What becomes of an open session's compute: it rests, comes back, moves. The session and its transcript stay. */
export class Lifecycle {
  readonly #deps: LifecycleDeps;

  constructor(deps: LifecycleDeps) {
    this.#deps = deps;
  }

  /**
   * Releases a session's compute: its runs end, it costs nothing more, and its files wait where they are.
   *
   * A provider that cannot keep files is a `conflict`, unless they may be lost.
   */
  async pause(session: Session, { discard_files }: PauseRequest, why: string): Promise<SessionMoved> {
    refuseEnded(session);
    if (session.compute_id === null) throw nothingToPause(session);
    if (session.paused_at !== null) return moved(session);
    const { sandboxes, runs, costs, transcripts } = this.#deps;
    const keeps = sandboxes.canRest(session);
    if (!keeps && !discard_files) {
      throw new CerverError(
        "conflict",
        `${session.provider} cannot keep the files of a sandbox that rests.`,
        {
          hint: 'Send {"discard_files": true} to pause without them, or move the session first: POST …/change-compute.',
        },
      );
    }
    await runs.endAll(session, "paused");
    if (!keeps) await sandboxes.end(session);
    else if (isProviderHandle(session.compute_id)) await this.#suspend(session);
    await costs.ended(session.id);
    const paused = await this.#update(session, {
      paused_at: this.#deps.now(),
      ...(!keeps && { sandbox_id: null }),
    });
    await transcripts.append(session, [note(`Paused (${why}): the compute is released.`)]);
    return moved(paused);
  }

  /** Brings a session back, on the compute it had or on another one. */
  async resume(session: Session, request: ResumeRequest, signal: AbortSignal): Promise<SessionMoved> {
    refuseEnded(session);
    if (request.compute) return this.changeCompute(session, { ...request, compute: request.compute }, signal);
    if (session.compute_id !== null && session.paused_at === null) return moved(session);
    if (session.compute_id === null || session.sandbox_id === null)
      return this.#move(session, {}, request, signal);
    const { costs, sandboxes, transcripts } = this.#deps;
    const reached = sandboxes.reach(session, AbortSignal.any([signal, AbortSignal.timeout(REST_TIMEOUT_MS)]));
    if (!reached) throw new Error(`session ${session.id} has no adapter`);
    const useId = await costs.admit({
      accountId: session.account_id,
      sessionId: session.id,
      provider: session.provider,
      computeId: session.compute_id,
      reservedUsd: this.#reserve(session),
    });
    try {
      const { adapter, record, env } = reached;
      let { sandboxId } = record;
      if (adapter.cloud?.wake && isProviderHandle(record.computeId))
        sandboxId = (await adapter.cloud.wake(record, env)).sandboxId;
      else {
        const state = await adapter.getState(record, env);
        await state.body?.cancel();
        if (!state.ok) throw sandboxGone(session);
      }
      await costs.began(useId, sandboxId);
      const back = await this.#update(session, {
        paused_at: null,
        sandbox_id: sandboxId,
        cost_since: this.#deps.now(),
        last_active_at: this.#deps.now(),
        ...this.#deadline(session, session.compute_id),
      });
      await transcripts.append(session, [note("Resumed on the same compute.")]);
      return moved(back);
    } catch (error) {
      await costs.discard(useId);
      throw error;
    }
  }

  /** Gives a session another compute, or none. Its runs end; the working folder goes along when both computes can. */
  async changeCompute(
    session: Session,
    request: ChangeComputeRequest,
    signal: AbortSignal,
  ): Promise<SessionMoved> {
    refuseEnded(session);
    const { compute, compute_priority: priority } = request;
    if (compute === null) return this.#release(session);
    if (compute) return this.#move(session, { compute }, request, signal);
    let failure: unknown;
    for (const id of priority ?? []) {
      try {
        return await this.#move(session, { compute: { compute_id: id } }, request, signal);
      } catch (error) {
        if (signal.aborted || !(error instanceof CerverError)) throw error;
        failure = error;
      }
    }
    throw failure;
  }

  /** The session keeps its transcript, and has no compute any more. */
  async #release(session: Session): Promise<SessionMoved> {
    const { sandboxes, runs, costs, transcripts } = this.#deps;
    if (session.compute_id === null) return moved(session);
    await runs.endAll(session, "compute_released");
    await costs.ended(session.id);
    const free = await this.#update(session, {
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
    wish: CarryWish,
    signal: AbortSignal,
  ): Promise<SessionMoved> {
    const { sandboxes, runs, costs, provisioning, transcripts } = this.#deps;
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
    const made = await provisioning.provision({
      accountId: session.account_id,
      sessionId: session.id,
      request,
      metadata: JSON.parse(session.metadata_json) as Metadata,
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
    let carried: CarryReport | undefined;
    let warning: string | undefined;
    try {
      await runs.endAll(session, "compute_changed");
      const report = isSame ? undefined : await this.#carry(session, place, wish, signal);
      if (typeof report === "string") warning = report;
      else carried = report;
    } catch (error) {
      // The session stays where it was: nothing of it is lost.
      await costs.ended(session.id, { only: made.sandboxId });
      if (!isSame) await sandboxes.end(place);
      throw error;
    }
    await costs.ended(session.id, { except: made.sandboxId });
    const there = await this.#update(session, this.#bound(session, request, made));
    if (session.sandbox_id !== null && !isSame) await sandboxes.end(session);
    const from = session.compute_id === null ? "" : ` from ${session.compute_id}`;
    await transcripts.append(session, [note(`Compute changed${from} to ${made.computeId}.`)]);
    return {
      ...moved(there),
      carried: carried ? toCarried(carried) : null,
      routing: made.routing,
      ...(made.attempts.length > 1 && { attempts: made.attempts }),
      ...(warning && { warnings: [warning] }),
    };
  }

  /** Takes the working folder along. Returns why not in words, where that is no failure. */
  async #carry(
    session: Session,
    to: SandboxPlace,
    { carry, leave_secrets, skip_ignored }: CarryWish,
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

  #bound(session: Session, request: CreateSessionRequest, made: Provisioned) {
    return {
      provider: made.provider,
      compute_id: made.computeId,
      sandbox_id: made.sandboxId,
      routing_json: JSON.stringify(made.routing),
      decision_json: JSON.stringify(made.decision),
      attempts_json: JSON.stringify(made.attempts),
      request_json: JSON.stringify(request),
      paused_at: null,
      cost_since: this.#deps.now(),
      last_active_at: this.#deps.now(),
      ...this.#deadline({ ...session, request_json: JSON.stringify(request) }, made.computeId),
    };
  }

  #deadline(session: Session, computeId: string): { deadline_at: number | null } {
    const ms = lifetimeMs(JSON.parse(session.request_json) as CreateSessionRequest, computeId);
    return { deadline_at: ms === null ? null : this.#deps.now() + ms };
  }

  #reserve(session: Session): number {
    const ms = lifetimeMs(JSON.parse(session.request_json) as CreateSessionRequest, session.compute_id!);
    return ms === null ? 0 : this.#deps.costs.priceOf(session.provider, ms / 1000);
  }

  async #update(session: Session, values: Partial<Session>): Promise<Session> {
    const row = await this.#deps.db
      .updateTable("sessions")
      .set({ ...values, updated_at: this.#deps.now() })
      .where("id", "=", session.id)
      .where("ended_at", "is", null)
      .returningAll()
      .executeTakeFirst();
    const change = values.paused_at ? "paused" : values.compute_id === undefined ? "resumed" : "moved";
    this.#deps.onChange(session, change);
    if (row) return row;
    throw new CerverError("session_ended", `Session ${session.id} was ended meanwhile.`);
  }
}

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
