import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { bytesOf, Envd, failed, json, type StreamFaults, sandboxIdOf } from "./e2b-envd.js";
import { E2bSandbox } from "./e2b-sandbox.js";

/** What the next create does instead of answering 201. */
export interface CreateFault {
  /** Answers with this, and makes nothing. */
  status?: number;
  message?: string;
  /** Seconds. */
  retryAfter?: number;
  /** Waits before it makes the sandbox, in milliseconds. */
  delayMs?: number;
  /** Makes the sandbox, then breaks the connection instead of answering. */
  loseAnswer?: boolean;
}

/** A server on loopback that speaks E2B's wire format and runs the commands here. */
export interface E2bServer {
  readonly apiUrl: string;
  readonly sandboxUrl: string;
  /** Each request that came in, as `METHOD /path`. */
  readonly requests: string[];
  /** The ids of the sandboxes that are there. */
  readonly sandboxes: string[];
  /** What a sandbox was made with. */
  sandbox(id: string): E2bSandbox | undefined;
  /** How many were ever made. */
  readonly made: number;
  failNextCreate(fault: CreateFault): void;
  /** The next request to the control plane answers with this status. */
  failNextCall(status: number, message: string): void;
  /** The next start of a process reaches the sandbox only after so many milliseconds, whoever waits for it. */
  delayNextStart(ms: number): void;
  /** The next request to a sandbox's daemon answers with this status. */
  failNextEnvdCall(status: number, message: string): void;
  /** What was ordered and has not happened does not happen. */
  forgetFaults(): void;
  /** The next stream of a process breaks after so many events; the process goes on. */
  cutNextStream(afterEvents: number): void;
  /** Details of a sandbox tell no token from now on, as the API's schema allows. */
  hideTokens: boolean;
  /** Breaks the streams that are open now. */
  cutStreams(): void;
  /** Ends everything that was started and removes everything that was written. */
  close(): Promise<void>;
}

/** The version of envd that this server acts as. */
const ENVD_VERSION = "0.6.2";
/** What E2B gives a sandbox that says nothing of its lifetime, and what it gives at most (its Hobby plan). */
const DEFAULT_LIFETIME_S = 300;
const MAX_LIFETIME_S = 86_400;

/** Starts one, which knows one key. */
export async function startE2bServer({ apiKey }: { apiKey: string }): Promise<E2bServer> {
  const root = await mkdtemp(join(tmpdir(), "e2b-"));
  const sandboxes = new Map<string, E2bSandbox>();
  const requests: string[] = [];
  const streamFaults: StreamFaults = {};
  const envd = new Envd(streamFaults);
  let createFault: CreateFault = {};
  let callFault: { status: number; message: string } | undefined;
  let envdFault: { status: number; message: string } | undefined;
  const hooks = { hideTokens: false };
  let made = 0;

  const api = await listen(async (request, response, url) => {
    requests.push(`${request.method} ${url.pathname}`);
    const body = JSON.parse((await bytesOf(request)).toString("utf8") || "{}") as Body;
    if (request.headers["x-api-key"] !== apiKey)
      return json(response, 401, failed(401, "Invalid API key, please visit https://e2b.dev/docs/api-key"));
    if (callFault) {
      const { status, message } = callFault;
      callFault = undefined;
      return json(response, status, failed(status, message));
    }
    const [, id, verb] = /^(?:\/v2)?\/sandboxes\/([^/]+)(?:\/(\w+))?$/.exec(url.pathname) ?? [];
    const isList = /^(?:\/v2)?\/sandboxes$/.test(url.pathname);
    if (isList && request.method === "POST") return create(body, request, response);
    if (isList && request.method === "GET") return list(url, response);
    const sandbox = sandboxes.get(id ?? "");
    if (!sandbox) return json(response, 404, failed(404, `sandbox ${id} not found`));
    return one(sandbox, `${request.method} ${verb ?? ""}`.trim(), body, response);
  });

  const data = await listen(async (request, response, url) => {
    requests.push(`${request.method} ${url.pathname}`);
    const id = String(request.headers["e2b-sandbox-id"] ?? "");
    const sandbox = sandboxes.get(id);
    if (sandbox?.state !== "running") {
      const body = { sandboxId: id, message: "The sandbox was not found", code: 502 };
      return json(response, 502, body);
    }
    if (request.headers["x-access-token"] !== sandbox.accessToken)
      return json(response, 401, failed(401, "unauthorized access, please provide a valid access token"));
    if (envdFault) {
      const { status, message } = envdFault;
      envdFault = undefined;
      return json(response, status, failed(status, message));
    }
    return envd.serve(sandbox, url, request, response);
  });

  async function create(body: Body, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const fault = createFault;
    createFault = {};
    if (fault.status) {
      const headers = fault.retryAfter === undefined ? {} : { "retry-after": String(fault.retryAfter) };
      const message = fault.message ?? "something went wrong";
      return json(response, fault.status, failed(fault.status, message), headers);
    }
    const seconds = body.timeout ?? DEFAULT_LIFETIME_S;
    if (seconds > MAX_LIFETIME_S)
      return json(response, 400, failed(400, "Timeout cannot be greater than 24 hours"));
    if (fault.delayMs) await sleep(fault.delayMs);
    const id = sandboxIdOf(randomUUID());
    const sandbox = new E2bSandbox({
      id,
      folder: join(root, id),
      templateId: body.templateID ?? "base",
      metadata: body.metadata ?? {},
      envVars: body.envVars ?? {},
      lifetimeMs: seconds * 1000,
      // The streams of a sandbox break with it, before its processes are told to be over.
      onEnd: () => {
        envd.cut(sandboxes.get(id));
        sandboxes.delete(id);
      },
    });
    sandboxes.set(id, await sandbox.make());
    made++;
    if (fault.loseAnswer) return void request.socket.destroy();
    json(response, 201, describe(sandbox));
  }

  function list(url: URL, response: ServerResponse): void {
    const wanted = [...new URLSearchParams(url.searchParams.get("metadata") ?? "")].map(([key, value]) => [
      decodeURIComponent(key),
      decodeURIComponent(value),
    ]);
    const states = url.searchParams.get("state")?.split(",");
    const limit = Number(url.searchParams.get("limit") ?? 100);
    const from = Number(url.searchParams.get("nextToken") ?? 0);
    const fitting = [...sandboxes.values()].filter(
      ({ metadata, state }) =>
        wanted.every(([key, value]) => metadata[key!] === value) && (!states || states.includes(state)),
    );
    const next = from + limit < fitting.length ? { "x-next-token": String(from + limit) } : {};
    json(response, 200, fitting.slice(from, from + limit).map(detail), next);
  }

  async function one(sandbox: E2bSandbox, what: string, body: Body, response: ServerResponse) {
    const seconds = body.timeout ?? DEFAULT_LIFETIME_S;
    switch (what) {
      case "GET":
        return json(response, 200, {
          ...detail(sandbox),
          ...(!hooks.hideTokens && { envdAccessToken: sandbox.accessToken }),
        });
      case "DELETE":
        await sandbox.end();
        return void response.writeHead(204).end();
      case "POST timeout":
        sandbox.liveFor(seconds * 1000);
        return void response.writeHead(204).end();
      case "POST pause":
        if (sandbox.state === "paused")
          return json(response, 409, failed(409, `sandbox ${sandbox.id} is already paused`));
        sandbox.pause();
        return void response.writeHead(204).end();
      case "POST resume":
      case "POST connect": {
        if (sandbox.state === "paused") {
          sandbox.wake(seconds * 1000);
          return json(response, 201, describe(sandbox));
        }
        // A lifetime is only ever extended here.
        if (Date.now() + seconds * 1000 > sandbox.endAt.getTime()) sandbox.liveFor(seconds * 1000);
        return json(response, 200, describe(sandbox));
      }
      default:
        return json(response, 404, failed(404, `no route for ${what}`));
    }
  }

  return {
    apiUrl: api.url,
    sandboxUrl: data.url,
    requests,
    get sandboxes() {
      return [...sandboxes.keys()];
    },
    sandbox: (id) => sandboxes.get(id),
    get made() {
      return made;
    },
    failNextCreate: (fault) => {
      createFault = fault;
    },
    failNextCall: (status, message) => {
      callFault = { status, message };
    },
    delayNextStart: (ms) => {
      streamFaults.delayStartMs = ms;
    },
    failNextEnvdCall: (status, message) => {
      envdFault = { status, message };
    },
    forgetFaults: () => {
      createFault = {};
      callFault = undefined;
      envdFault = undefined;
      streamFaults.cutAfterEvents = undefined;
    },
    cutNextStream: (afterEvents) => {
      streamFaults.cutAfterEvents = afterEvents;
    },
    get hideTokens() {
      return hooks.hideTokens;
    },
    set hideTokens(hide) {
      hooks.hideTokens = hide;
    },
    cutStreams: () => envd.cut(),
    async close() {
      await Promise.all([...sandboxes.values()].map((sandbox) => sandbox.end()));
      await Promise.all([api, data].map(({ close }) => close()));
      await rm(root, { recursive: true, force: true, maxRetries: 3, retryDelay: 50 });
    },
  };
}

interface Body {
  templateID?: string;
  timeout?: number;
  metadata?: Record<string, string>;
  envVars?: Record<string, string>;
}

/** The schema `Sandbox` of E2B's API. */
function describe(sandbox: E2bSandbox) {
  return {
    sandboxID: sandbox.id,
    templateID: sandbox.templateId,
    clientID: "e2b-server",
    envdVersion: ENVD_VERSION,
    envdAccessToken: sandbox.accessToken,
    domain: null,
  };
}

/** The schemas `ListedSandbox` and `SandboxDetail`. */
function detail(sandbox: E2bSandbox) {
  const { envdAccessToken: _, ...described } = describe(sandbox);
  return {
    ...described,
    metadata: sandbox.metadata,
    state: sandbox.state,
    startedAt: sandbox.startedAt.toISOString(),
    endAt: sandbox.endAt.toISOString(),
    cpuCount: 2,
    memoryMB: 512,
    diskSizeMB: 1024,
  };
}

type Serve = (request: IncomingMessage, response: ServerResponse, url: URL) => Promise<void> | void;

async function listen(serve: Serve) {
  const server: Server = createServer((request, response) => {
    const url = new URL(request.url!, "http://e2b");
    Promise.resolve(serve(request, response, url)).catch((error: Error) => {
      if (response.headersSent) return void response.destroy();
      json(response, 500, failed(500, error.message));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}
