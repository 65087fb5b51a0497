import type { z } from "zod";
import { CreatedKey, type CreateKeyRequest, KeyList, WhoAmI } from "../protocol/account.js";
import {
  Compute,
  ComputeList,
  type HeartbeatRequest,
  type RegisterComputeRequest,
  RegisteredCompute,
} from "../protocol/computes.js";
import { DeviceLogin, DevicePollAnswer, type StartDeviceLoginRequest } from "../protocol/device-login.js";
import { CerverError } from "../protocol/errors.js";
import { SessionMetrics } from "../protocol/metrics.js";
import { PortLink, type PortLinkRequest, PortList } from "../protocol/ports.js";
import { ProviderList } from "../protocol/providers.js";
import {
  CancelAnswer,
  type ListRunsQuery,
  RunAnswer,
  RunEvent,
  RunList,
  RunRecord,
  type RunRequestInput,
  StdinAnswer,
  timeoutOf,
} from "../protocol/runs.js";
import {
  CreatedSession,
  type CreateSessionRequest,
  type ListSessionsQuery,
  SessionList,
  SessionRecord,
  type TranscriptQuery,
} from "../protocol/sessions.js";
import { AppendTranscriptAnswer, type NewTranscriptEntry } from "../protocol/transcript.js";
import { readEventStream } from "../util/event-stream.js";
import { type RunPosition, StreamBroke, unbroken } from "./unbroken.js";

/** How long a call that is not a run may take. */
const CALL_TIMEOUT_MS = 30_000;
/** A run's answer may take this much longer than its own timeout: the way there and back, and ending the tree. */
const RUN_ALLOWANCE_MS = 30_000;
/** A foreground run goes on this long without its caller, so there is no use in looking for it later. */
const REJOIN_MS = 30_000;

export interface FollowOptions {
  signal?: AbortSignal | undefined;
  /** How long the connection may be away, in milliseconds, before it is an error. */
  patienceMs?: number;
  /** Told when the connection broke, before it is opened again. */
  onBreak?: ((error: CerverError) => void) | undefined;
}

export interface GatewayClientOptions {
  /** `http://` or `https://`, without credentials in it. */
  gatewayUrl: string;
  token?: string | undefined;
  /** Who calls, for the gateway's log. */
  userAgent?: string;
  /** Milliseconds that a call may take, runs aside. @default 30000 */
  timeoutMs?: number;
}

interface Call {
  body?: unknown;
  query?: Record<string, string | number | readonly string[] | undefined>;
  signal?: AbortSignal | undefined;
  timeoutMs?: number | null;
  accept?: string;
  /** Makes the request happen once, however often it is sent. */
  key?: string | undefined;
}

/**
 * The gateway's HTTP API, typed. Every answer is read by the schema that the gateway wrote it with.
 *
 * Failures are {@link CerverError}s: the gateway's own words where it answered, `gateway_unreachable` where it did not.
 */
export class GatewayClient {
  readonly gatewayUrl: string;
  readonly #token: string | undefined;
  readonly #userAgent: string;
  readonly #timeoutMs: number;

  constructor({
    gatewayUrl,
    token,
    userAgent = "cerver",
    timeoutMs = CALL_TIMEOUT_MS,
  }: GatewayClientOptions) {
    this.gatewayUrl = checkedUrl(gatewayUrl);
    this.#token = token;
    this.#userAgent = userAgent;
    this.#timeoutMs = timeoutMs;
  }

  whoami() {
    return this.#json("GET", "/v2/auth/whoami", WhoAmI);
  }
  keys() {
    return this.#json("GET", "/v2/auth/keys", KeyList);
  }
  createKey(body: Partial<CreateKeyRequest>) {
    return this.#json("POST", "/v2/auth/keys", CreatedKey, { body });
  }
  /** Revokes a token by its beginning, or by the whole of it. One that is gone already is no failure. */
  async revokeKey(prefixOrKey: string): Promise<void> {
    const response = await this.#send("DELETE", `/v2/auth/keys/${encodeURIComponent(prefixOrKey)}`);
    await response.body?.cancel();
    if (!response.ok && response.status !== 404) throw await failure(response);
  }
  /** A one-time link that signs a browser in to the gateway's page. */
  async createSigninLink(): Promise<string> {
    const { url } = (await this.#raw("POST", "/v2/auth/signin-links", { body: {} })) as { url?: unknown };
    if (typeof url !== "string") throw notOurs(this.gatewayUrl);
    return url;
  }

  startDeviceLogin(body: Partial<StartDeviceLoginRequest>) {
    return this.#json("POST", "/v2/auth/device", DeviceLogin, { body });
  }
  /** One poll. The contract's words come as an answer whatever their status; anything else is a failure. */
  async pollDeviceLogin(deviceCode: string, signal?: AbortSignal): Promise<DevicePollAnswer> {
    const response = await this.#send("GET", "/v2/auth/device", {
      query: { device_code: deviceCode },
      signal,
    });
    const answer = DevicePollAnswer.safeParse(await response.json().catch(() => undefined));
    if (answer.success && (answer.data.error ?? answer.data.status ?? answer.data.access_token))
      return answer.data;
    throw notOurs(this.gatewayUrl);
  }

  providers() {
    return this.#json("GET", "/gateway/providers", ProviderList);
  }
  async computes(): Promise<Compute[]> {
    return (await this.#json("GET", "/v2/computes", ComputeList)).computes;
  }
  compute(id: string) {
    return this.#json("GET", `/v2/computes/${encodeURIComponent(id)}`, Compute);
  }
  registerCompute(body: z.input<typeof RegisterComputeRequest>) {
    return this.#json("POST", "/v2/computes/register", RegisteredCompute, { body });
  }
  async heartbeat(id: string, body: Partial<HeartbeatRequest>, signal?: AbortSignal): Promise<void> {
    await this.#raw("POST", `/v2/computes/${encodeURIComponent(id)}/heartbeat`, { body, signal });
  }
  async deleteCompute(id: string): Promise<void> {
    await this.#raw("DELETE", `/v2/computes/${encodeURIComponent(id)}`);
  }

  createSession(body: CreateSessionRequest, signal?: AbortSignal) {
    return this.#json("POST", "/v2/sessions", CreatedSession, { body, signal, timeoutMs: 90_000 });
  }
  sessions(query: Partial<ListSessionsQuery> = {}, signal?: AbortSignal) {
    return this.#json("GET", "/v2/sessions", SessionList, { query, signal });
  }
  session(id: string, query: Partial<TranscriptQuery> = {}, signal?: AbortSignal) {
    return this.#json("GET", sessionPath(id), SessionRecord, { query, signal });
  }
  metrics(id: string) {
    return this.#json("GET", sessionPath(id, "/metrics"), SessionMetrics);
  }
  async patchSession(id: string, metadata: Record<string, unknown>): Promise<void> {
    await this.#raw("PATCH", sessionPath(id), { body: { metadata } });
  }
  /** Ends a session; its transcript stays. */
  async closeSession(id: string): Promise<void> {
    await this.#raw("POST", sessionPath(id, "/close"));
  }
  appendTranscript(id: string, entries: readonly z.input<typeof NewTranscriptEntry>[]) {
    return this.#json("POST", sessionPath(id, "/transcript"), AppendTranscriptAnswer, { body: { entries } });
  }

  /** The TCP ports that the session's processes listen on. */
  async ports(sessionId: string): Promise<PortList["ports"]> {
    return (await this.#json("GET", sessionPath(sessionId, "/ports"), PortList)).ports;
  }
  /** A link that shows a port of the session to whoever has it. */
  linkPort(sessionId: string, port: number, body: Partial<PortLinkRequest> = {}): Promise<PortLink> {
    return this.#json("POST", sessionPath(sessionId, `/ports/${port}/link`), PortLink, { body });
  }

  /** Runs to the end. A non-zero exit and a timeout are answers. */
  run(sessionId: string, body: RunRequestInput, signal?: AbortSignal): Promise<RunAnswer> {
    const timeoutMs = timeoutOf({ ...body, background: body.background }) * 1000 + RUN_ALLOWANCE_MS;
    return this.#json("POST", sessionPath(sessionId, "/run"), RunAnswer, { body, signal, timeoutMs });
  }

  /** Starts a run of its own, and answers when it has begun. With `key`, the same request happens once. */
  startRun(sessionId: string, body: RunRequestInput, key?: string): Promise<RunRecord> {
    return this.#json("POST", sessionPath(sessionId, "/runs"), RunRecord, { body, key });
  }
  runs(sessionId: string, query: Partial<ListRunsQuery> = {}) {
    return this.#json("GET", sessionPath(sessionId, "/runs"), RunList, { query });
  }
  /** The account's runs, whatever their session. */
  allRuns(query: Partial<ListRunsQuery> = {}) {
    return this.#json("GET", "/v2/runs", RunList, { query });
  }
  getRun(sessionId: string, runId: string): Promise<RunRecord> {
    return this.#json("GET", runPath(sessionId, runId), RunRecord);
  }
  /** A run by its id alone. */
  findRun(runId: string): Promise<RunRecord> {
    return this.#json("GET", `/v2/runs/${encodeURIComponent(runId)}`, RunRecord);
  }
  /** Ends a run's processes, and tells what was found and what is left. */
  cancelRun(sessionId: string, runId: string): Promise<CancelAnswer> {
    return this.#json("POST", runPath(sessionId, runId, "/cancel"), CancelAnswer, {
      body: {},
      timeoutMs: 120_000,
    });
  }
  /** Gives a run input, as UTF-8. */
  sendStdin(sessionId: string, runId: string, data: string): Promise<StdinAnswer> {
    return this.#json("POST", runPath(sessionId, runId, "/stdin"), StdinAnswer, { body: { data } });
  }
  closeStdin(sessionId: string, runId: string): Promise<StdinAnswer> {
    return this.#json("POST", runPath(sessionId, runId, "/stdin/close"), StdinAnswer, { body: {} });
  }
  /** The raw bytes of an output stream, as far as they are kept. */
  async runOutput(
    sessionId: string,
    runId: string,
    stream: "stdout" | "stderr" = "stdout",
  ): Promise<Response> {
    const response = await this.#send("GET", runPath(sessionId, runId, "/output"), {
      query: { stream },
      timeoutMs: null,
      accept: "*/*",
    });
    if (!response.ok) throw await failure(response);
    return response;
  }

  /**
   * The events of a run that was begun before, from its first byte to its end. A connection that breaks is opened again
   * where it broke, for `patienceMs`. Leaving early changes nothing for a run in the background.
   */
  async *followRun(
    sessionId: string,
    runId: string,
    { signal, patienceMs = REJOIN_MS, onBreak }: FollowOptions = {},
  ): AsyncGenerator<RunEvent> {
    const open = ({ stdout, stderr }: RunPosition) =>
      this.#follow(sessionId, runId, { stdout, stderr }, signal);
    yield* unbroken({ open, runId, patienceMs, signal, onBreak });
  }

  /**
   * Runs and yields the events while they happen; `exit` is the last. A connection that breaks after the run began is
   * opened again where it broke, for as long as the run waits for its caller. When that is over it throws
   * `compute_lost`: the outcome is unknown then, and no end is made up. Leaving the loop early ends the run.
   */
  async *runStream(
    sessionId: string,
    body: RunRequestInput,
    signal?: AbortSignal,
    { onBreak }: Pick<FollowOptions, "onBreak"> = {},
  ): AsyncGenerator<RunEvent> {
    let followed: string | undefined;
    let settled = false;
    const open = ({ runId, stdout, stderr }: RunPosition) => {
      followed = runId;
      return runId === undefined
        ? this.#begin(sessionId, body, signal)
        : this.#follow(sessionId, runId, { stdout, stderr }, signal);
    };
    try {
      for await (const event of unbroken({ open, patienceMs: REJOIN_MS, signal, onBreak })) {
        settled = event.type === "exit" || event.type === "error";
        yield event;
      }
    } catch (error) {
      settled = !signal?.aborted;
      throw error;
    } finally {
      // A gateway takes the hanging up of its first caller for the end, and not that of one who came later.
      if (!settled && followed !== undefined) await this.cancelRun(sessionId, followed).catch(() => {});
    }
  }

  async *#begin(
    sessionId: string,
    body: RunRequestInput,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<RunEvent> {
    const response = await this.#send("POST", sessionPath(sessionId, "/run/stream"), {
      body,
      signal,
      timeoutMs: null,
      accept: "text/event-stream",
    });
    yield* this.#events(response, signal);
  }

  async *#follow(
    sessionId: string,
    runId: string,
    offsets: { stdout: number; stderr: number },
    signal: AbortSignal | undefined,
  ): AsyncGenerator<RunEvent> {
    const response = await this.#send("GET", runPath(sessionId, runId, "/stream"), {
      query: { stdout_offset: offsets.stdout, stderr_offset: offsets.stderr },
      signal,
      timeoutMs: null,
      accept: "text/event-stream",
    });
    yield* this.#events(response, signal);
  }

  async *#events(response: Response, signal: AbortSignal | undefined): AsyncGenerator<RunEvent> {
    if (!response.ok || !response.body) throw await failure(response);
    try {
      for await (const { data } of readEventStream(response.body)) {
        const event = RunEvent.parse(JSON.parse(data));
        yield event;
        if (event.type === "exit" || event.type === "error") return;
      }
    } catch (error) {
      if (signal?.aborted || error instanceof CerverError) throw error;
      throw outcomeUnknown(error);
    }
    throw outcomeUnknown(undefined);
  }

  async #json<S extends z.ZodType>(
    method: string,
    path: string,
    schema: S,
    call: Call = {},
  ): Promise<z.output<S>> {
    const answer = schema.safeParse(await this.#raw(method, path, call));
    if (answer.success) return answer.data;
    throw notOurs(this.gatewayUrl, answer.error);
  }

  async #raw(method: string, path: string, call: Call = {}): Promise<unknown> {
    const response = await this.#send(method, path, call);
    if (!response.ok) throw await failure(response);
    try {
      return await response.json();
    } catch (error) {
      throw notOurs(this.gatewayUrl, error);
    }
  }

  async #send(method: string, path: string, call: Call = {}): Promise<Response> {
    const { body, query = {}, signal, timeoutMs = this.#timeoutMs, accept = "application/json", key } = call;
    const url = new URL(this.gatewayUrl + path);
    for (const [name, value] of Object.entries(query))
      if (value !== undefined) url.searchParams.set(name, String(value));
    const signals = [signal, timeoutMs === null ? undefined : AbortSignal.timeout(timeoutMs)].filter(
      (one) => one !== undefined,
    );
    try {
      return await fetch(url, {
        method,
        headers: {
          accept,
          "user-agent": this.#userAgent,
          ...(this.#token && { authorization: `Bearer ${this.#token}` }),
          ...(body !== undefined && { "content-type": "application/json" }),
          ...(key !== undefined && { "idempotency-key": key }),
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
        ...(signals.length > 0 && { signal: AbortSignal.any(signals) }),
        // A token goes to the gateway that was chosen and nowhere else.
        redirect: "manual",
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw unreachable(this.gatewayUrl, error);
    }
  }
}

function sessionPath(id: string, rest = ""): string {
  return `/v2/sessions/${encodeURIComponent(id)}${rest}`;
}

function runPath(sessionId: string, runId: string, rest = ""): string {
  return sessionPath(sessionId, `/runs/${encodeURIComponent(runId)}${rest}`);
}

function checkedUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.password) {
    throw new CerverError(
      "invalid_request",
      `"${text.replace(/\/\/.*@/, "//…@")}" is not the address of a gateway.`,
      {
        hint: "Give it as http://host:port or https://host, without a name or password in it.",
      },
    );
  }
  return url.origin + url.pathname.replace(/\/+$/, "");
}

async function failure(response: Response): Promise<CerverError> {
  if (response.status >= 300 && response.status < 400) {
    return new CerverError(
      "provider_failed",
      `The gateway sends callers on to ${response.headers.get("location")}.`,
      {
        hint: "Use that address with --gateway if you trust it.",
      },
    );
  }
  return CerverError.fromBody(response.status, await response.json().catch(() => undefined));
}

function unreachable(gatewayUrl: string, error: unknown): CerverError {
  const { name, cause } = error as { name?: string; cause?: { code?: string; message?: string } };
  const why =
    name === "TimeoutError" ? "no answer in time" : (cause?.code ?? cause?.message ?? "no connection");
  return new CerverError("gateway_unreachable", `No gateway answers at ${gatewayUrl} (${why}).`, {
    hint: "Start one with `cerver up`, or name another with --gateway or CERVER_GATEWAY_URL.",
    cause: error,
  });
}

function notOurs(gatewayUrl: string, cause?: unknown): CerverError {
  return new CerverError(
    "provider_failed",
    `What answers at ${gatewayUrl} does not answer like a cerver gateway.`,
    {
      hint: "Check the address; a proxy or another program may be in between.",
      cause,
    },
  );
}

function outcomeUnknown(cause: unknown): CerverError {
  return new StreamBroke("compute_lost", "The stream ended before the run did, so the outcome is unknown.", {
    hint: "See what became of it with `cerver runs`, or with `cerver peek` on its session, before you run it again.",
    cause,
  });
}
