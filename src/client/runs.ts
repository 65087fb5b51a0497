import type { CerverError } from "../protocol/errors.js";
import {
  CancelAnswer,
  RunAnswer,
  RunEvent,
  RunList,
  RunRecord,
  StdinAnswer,
  timeoutOf,
} from "../protocol/runs.js";
import { failure } from "./failures.js";
import { at, type GatewayHttp } from "./http.js";
import { RUN_ALLOWANCE_MS, RUN_STREAM } from "./run-stream.js";
import { type RunPosition, unbroken } from "./unbroken.js";
import type * as wire from "./wire.js";

/** A foreground run goes on this long without its caller, so there is no use in looking for it later. */
const REJOIN_MS = 30_000;
const CANCEL_TIMEOUT_MS = 120_000;

export interface FollowOptions {
  signal?: AbortSignal | undefined;
  /** How long the connection may be away, in milliseconds, before it is an error. */
  patienceMs?: number;
  /** Told when the connection broke, before it is opened again. */
  onBreak?: ((error: CerverError) => void) | undefined;
}

export interface RunsQuery {
  status?: wire.RunStatus | undefined;
  /** 1 to 200. @default 20 */
  limit?: number | undefined;
  /** The `next_cursor` of the page before. */
  cursor?: string | undefined;
}

/** Executions. */
export interface RunCalls {
  /** Runs to the end. A non-zero exit and a timeout are answers. */
  run(sessionId: string, body: wire.RunRequest, signal?: AbortSignal): Promise<wire.RunAnswer>;
  /**
   * Runs and yields the events while they happen; `exit` is the last. A connection that breaks after the run began is
   * opened again where it broke, for as long as the run waits for its caller. When that is over it throws
   * `compute_lost`: the outcome is unknown then, and no end is made up. Leaving the loop early ends the run.
   */
  runStream(
    sessionId: string,
    body: wire.RunRequest,
    signal?: AbortSignal,
    options?: Pick<FollowOptions, "onBreak">,
  ): AsyncGenerator<wire.RunEvent>;
  /** Starts a run of its own, and answers when it has begun. With `key`, the same request happens once. */
  startRun(sessionId: string, body: wire.RunRequest, key?: string): Promise<wire.RunRecord>;
  runs(sessionId: string, query?: RunsQuery): Promise<wire.RunList>;
  /** The account's runs, whatever their session. */
  allRuns(query?: RunsQuery): Promise<wire.RunList>;
  getRun(sessionId: string, runId: string): Promise<wire.RunRecord>;
  /** A run by its id alone. */
  findRun(runId: string): Promise<wire.RunRecord>;
  /** Ends a run's processes, and tells what was found and what is left. */
  cancelRun(sessionId: string, runId: string): Promise<wire.CancelAnswer>;
  /** Gives a run input, as UTF-8. */
  sendStdin(sessionId: string, runId: string, data: string): Promise<wire.StdinAnswer>;
  closeStdin(sessionId: string, runId: string): Promise<wire.StdinAnswer>;
  /** The raw bytes of an output stream, as far as they are kept. */
  runOutput(sessionId: string, runId: string, stream?: "stdout" | "stderr"): Promise<Response>;
  /**
   * The events of a run that was begun before, from its first byte to its end. A connection that breaks is opened again
   * where it broke, for `patienceMs`. Leaving early changes nothing for a run in the background.
   */
  followRun(sessionId: string, runId: string, options?: FollowOptions): AsyncGenerator<wire.RunEvent>;
}

export function runCalls(http: GatewayHttp): RunCalls {
  const begin = (sessionId: string, body: wire.RunRequest, signal: AbortSignal | undefined) =>
    http.items("POST", at`/v2/sessions/${sessionId}/run/stream`, RunEvent, { body, signal, ...RUN_STREAM });
  const follow = (
    sessionId: string,
    runId: string,
    { stdout, stderr }: RunPosition,
    signal: AbortSignal | undefined,
  ) =>
    http.items("GET", at`/v2/sessions/${sessionId}/runs/${runId}/stream`, RunEvent, {
      query: { stdout_offset: stdout, stderr_offset: stderr },
      signal,
      ...RUN_STREAM,
    });
  const cancelRun = (sessionId: string, runId: string) =>
    http.json("POST", at`/v2/sessions/${sessionId}/runs/${runId}/cancel`, CancelAnswer, {
      body: {},
      timeoutMs: CANCEL_TIMEOUT_MS,
    });

  return {
    run: (sessionId, body, signal) =>
      http.json("POST", at`/v2/sessions/${sessionId}/run`, RunAnswer, {
        body,
        signal,
        timeoutMs: timeoutOf(body) * 1000 + RUN_ALLOWANCE_MS,
      }),
    startRun: (sessionId, body, key) =>
      http.json("POST", at`/v2/sessions/${sessionId}/runs`, RunRecord, { body, key }),
    runs: (sessionId, query = {}) =>
      http.json("GET", at`/v2/sessions/${sessionId}/runs`, RunList, { query: { ...query } }),
    allRuns: (query = {}) => http.json("GET", "/v2/runs", RunList, { query: { ...query } }),
    getRun: (sessionId, runId) => http.json("GET", at`/v2/sessions/${sessionId}/runs/${runId}`, RunRecord),
    findRun: (runId) => http.json("GET", at`/v2/runs/${runId}`, RunRecord),
    cancelRun,
    sendStdin: (sessionId, runId, data) =>
      http.json("POST", at`/v2/sessions/${sessionId}/runs/${runId}/stdin`, StdinAnswer, { body: { data } }),
    closeStdin: (sessionId, runId) =>
      http.json("POST", at`/v2/sessions/${sessionId}/runs/${runId}/stdin/close`, StdinAnswer, { body: {} }),
    async runOutput(sessionId, runId, stream = "stdout") {
      const response = await http.send("GET", at`/v2/sessions/${sessionId}/runs/${runId}/output`, {
        query: { stream },
        timeoutMs: null,
        accept: "*/*",
      });
      if (!response.ok) throw await failure(response);
      return response;
    },

    followRun: (sessionId, runId, { signal, patienceMs = REJOIN_MS, onBreak } = {}) =>
      unbroken({
        open: (from) => follow(sessionId, runId, from, signal),
        runId,
        patienceMs,
        signal,
        onBreak,
      }),

    async *runStream(sessionId, body, signal, { onBreak } = {}) {
      let followed: string | undefined;
      let settled = false;
      const open = (from: RunPosition) => {
        followed = from.runId;
        return from.runId === undefined
          ? begin(sessionId, body, signal)
          : follow(sessionId, from.runId, from, signal);
      };
      try {
        for await (const event of unbroken({ open, patienceMs: REJOIN_MS, signal, onBreak })) {
          settled = RUN_STREAM.last(event);
          yield event;
        }
      } catch (error) {
        settled = !signal?.aborted;
        throw error;
      } finally {
        // A gateway takes the hanging up of its first caller for the end, and not that of one who came later.
        if (!settled && followed !== undefined) await cancelRun(sessionId, followed).catch(() => {});
      }
    },
  };
}
