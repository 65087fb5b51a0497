import { StatusSet } from "../protocol/answers.js";
import { WhyAwake } from "../protocol/awake.js";
import { SessionCost } from "../protocol/costs.js";
import { SessionRouting } from "../protocol/routing.js";
import { CreatedSession, SessionMoved } from "../protocol/sessions.js";
import { at, type GatewayHttp } from "./http.js";
import type * as wire from "./wire.js";

/** What waits for a compute, or carries files to one, may take this long. */
const MOVE_TIMEOUT_MS = 300_000;

/** A session's rest, its moves, and why it is as it is. */
export interface SessionLifeCalls {
  /** Releases the compute; the record stays, and where the provider can, the files. */
  pauseSession(id: string, body?: wire.PauseRequest): Promise<wire.SessionMoved>;
  resumeSession(id: string, body?: wire.ResumeRequest, signal?: AbortSignal): Promise<wire.SessionMoved>;
  /** Moves a session to another compute; `{compute: null}` releases the one it has. */
  changeCompute(
    id: string,
    body: wire.ChangeComputeRequest,
    signal?: AbortSignal,
  ): Promise<wire.SessionMoved>;
  /** Creates a child of a session. */
  spawnSession(
    id: string,
    body?: wire.CreateSessionRequest,
    signal?: AbortSignal,
  ): Promise<wire.CreatedSession>;
  setStatus(id: string, body: wire.StatusRequest): Promise<wire.StatusSet>;
  /** How a session came by its compute. */
  sessionRouting(id: string): Promise<wire.SessionRouting>;
  /** Why a session holds a compute, and until when. */
  whyAwake(id: string): Promise<wire.WhyAwake>;
  sessionCost(id: string): Promise<wire.SessionCost>;
}

export function sessionLifeCalls(http: GatewayHttp): SessionLifeCalls {
  const timeoutMs = MOVE_TIMEOUT_MS;
  return {
    pauseSession: (id, body = {}) =>
      http.json("POST", at`/v2/sessions/${id}/pause`, SessionMoved, { body, timeoutMs }),
    resumeSession: (id, body = {}, signal) =>
      http.json("POST", at`/v2/sessions/${id}/resume`, SessionMoved, { body, signal, timeoutMs }),
    changeCompute: (id, body, signal) =>
      http.json("POST", at`/v2/sessions/${id}/compute`, SessionMoved, { body, signal, timeoutMs }),
    spawnSession: (id, body = {}, signal) =>
      http.json("POST", at`/v2/sessions/${id}/spawn`, CreatedSession, { body, signal, timeoutMs }),
    setStatus: (id, body) => http.json("POST", at`/v2/sessions/${id}/status`, StatusSet, { body }),
    sessionRouting: (id) => http.json("GET", at`/v2/sessions/${id}/routing`, SessionRouting),
    whyAwake: (id) => http.json("GET", at`/v2/sessions/${id}/why`, WhyAwake),
    sessionCost: (id) => http.json("GET", at`/v2/sessions/${id}/cost`, SessionCost),
  };
}
