import type { WhyAwake } from "../../protocol/awake.js";
import type { Activity } from "./activity.js";
import type { Costs } from "./costs.js";
import type { Housekeeping } from "./housekeeping.js";
import type { RunRecords } from "./runs/run-records.js";
import type { Runs } from "./runs/runs.js";
import type { Session } from "./session-record.js";

export interface WhyAwakeDeps {
  runs: Runs;
  records: RunRecords;
  activity: Activity;
  costs: Costs;
  housekeeping: Housekeeping;
}

/** Why a session holds a compute now, who keeps it, and until when it will. Asking moves no clock. */
export async function whyAwake(session: Session, deps: WhyAwakeDeps): Promise<WhyAwake> {
  const running = await deps.records.openIn(session.id);
  const activity = await deps.activity.of(session.id);
  const sleepsAt = deps.housekeeping.sleepsAt(session);
  const state = stateOf(session, running.length);
  const last = activity[0];
  return {
    session_id: session.id,
    state,
    reason: reasonOf(session, state, running.length, last, sleepsAt),
    running: running.map(({ id, started_at }) => ({ run_id: id, since: iso(started_at) })),
    last_activity: last ? { kind: last.kind, caller: last.caller, at: iso(last.last_at) } : null,
    sleeps_at: sleepsAt === null ? null : iso(sleepsAt),
    ends_at: session.deadline_at === null ? null : iso(session.deadline_at),
    cost_usd: deps.costs.soFar(session),
    activity: activity.map(({ kind, caller, count, first_at, last_at }) => ({
      kind,
      caller,
      count,
      first_at: iso(first_at),
      last_at: iso(last_at),
    })),
  };
}

function stateOf(session: Session, running: number): WhyAwake["state"] {
  if (session.ended_at !== null) return "ended";
  if (session.compute_id === null) return "no_compute";
  if (session.paused_at !== null) return "paused";
  return running > 0 ? "active" : "waiting";
}

function reasonOf(
  session: Session,
  state: WhyAwake["state"],
  running: number,
  last: { kind: string; caller: string; last_at: number } | undefined,
  sleepsAt: number | null,
): string {
  switch (state) {
    case "ended":
      return `It has ended (${session.end_reason ?? "closed"}) and holds nothing.`;
    case "no_compute":
      return "It keeps a transcript only, and holds no compute.";
    case "paused":
      return `It rests since ${iso(session.paused_at!)}: its compute is released.`;
    case "active":
      return `${running === 1 ? "A run is" : `${running} runs are`} under way.`;
    case "waiting": {
      const since = last
        ? `the last activity was ${last.kind} by ${last.caller} at ${iso(last.last_at)}`
        : "nothing has run yet";
      const until =
        sleepsAt === null ? "it has no idle timeout" : `it rests at ${iso(sleepsAt)} if nothing happens`;
      return `Nothing runs; ${since}, and ${until}.`;
    }
  }
}

function iso(at: number): string {
  return new Date(at).toISOString();
}
