import { type Context, Hono } from "hono";
import { z } from "zod";
import { CerverError } from "../protocol/errors.js";
import { newId } from "../protocol/ids.js";
import { parse } from "../protocol/parse.js";
import { type ListeningPort, PortNumber } from "../protocol/ports.js";
import { MAX_STDIN_LENGTH } from "../protocol/run-limits.js";
import { OutputQuery, StreamQuery, timeoutOf } from "../protocol/runs.js";
import {
  CreateSandboxRequest,
  FileEncoding,
  InstallRequest,
  KEPT_RUNS_PATH,
  LookupRequest,
  PROVIDER_PATH,
  RUN_EVENTS_HEADER,
  SandboxRunRequest,
  SandboxState,
  WriteFileRequest,
} from "../protocol/sandbox.js";
import { CarryId, IncomingQuery, ManifestQuery, ReadBlobs, TREE_PATH } from "../protocol/tree.js";
import { Redaction, type RedactMode } from "../redaction/redaction.js";
import { INLINE_BODY_BYTES, type SmallAnswer, type SmallCall } from "../tunnel/wire.js";
import { knownBody, withKnownBody } from "../util/known-body.js";
import type { Logger } from "../util/logger.js";
import type { FollowedBody } from "./followed-body.js";
import type { Command } from "./host/command.js";
import type { HostFacts } from "./host/facts.js";
import { readSandboxFile, writeSandboxFile } from "./host/files.js";
import { installCommand } from "./host/packages.js";
import { SandboxPorts } from "./host/sandbox-ports.js";
import { isInside, type Sandbox, type Sandboxes } from "./host/sandboxes.js";
import type { Trees } from "./host/trees.js";
import type { RunOrder, RunState } from "./keeper/messages.js";
import type { FollowHandlers, KeeperClient } from "./keeper-client.js";
import { type PortCall, PortProxy } from "./ports.js";
import { collectAnswer, isLinkLost, keptRun } from "./run-answer.js";
import type { RunEnds } from "./run-ends.js";
import { runEventStream } from "./run-events.js";
import { outputStream } from "./run-output.js";
import type { ResolvedSecrets, RunSecrets } from "./run-secrets.js";

/** The largest body this surface reads, in bytes: a file of the largest size in base64, and what surrounds it. */
const MAX_BODY_BYTES = 96 * 1024 * 1024;

const StreamFrom = StreamQuery;
const OutputFrom = OutputQuery.extend({
  from: z.coerce.number().int().min(0).default(0),
  until: z.coerce.number().int().min(0).optional(),
});
const StdinQuery = z.object({
  offset: z.coerce.number().int().min(0).optional(),
  close: z.enum(["0", "1"]).default("0"),
});

export interface ComputeAppDeps {
  sandboxes: Sandboxes;
  trees: Trees;
  keeper: KeeperClient;
  /** The runs that end without anybody who waits for them here. */
  ends: RunEnds;
  facts: HostFacts;
  label: string;
  secrets: RunSecrets;
  /** What is taken out of the output of runs. */
  redact: RedactMode;
  logger: Logger;
}

/** The p69 provider surface as this host serves it (contract section 4.4). */
export function createComputeApp({
  sandboxes,
  trees,
  keeper,
  ends,
  facts,
  label,
  secrets,
  redact,
  logger,
}: ComputeAppDeps) {
  const app = Object.assign(new Hono(), { serveSmall });
  const at = `${PROVIDER_PATH}/sandboxes`;
  const ports = new SandboxPorts();
  const shapes = new Redaction(redact);
  /** Arguments may hold a password, and this leaves the machine as output does. */
  const withoutCredentials = (port: ListeningPort) => ({ ...port, command: shapes.text(port.command).text });
  const proxy = new PortProxy(ports);

  app.get(PROVIDER_PATH, async () =>
    answer(
      {
        provider: "cerver_local_provider",
        label,
        mode: "direct",
        status: "ready",
        machine_name: facts.hostname,
        capabilities: facts.capabilities,
        runs: (await keeper.live()).length,
        sandboxes: sandboxes.size,
      },
      200,
      { [RUN_EVENTS_HEADER]: "1" },
    ),
  );

  app.post(at, async (c) => {
    const request = await body(c.req.raw, CreateSandboxRequest);
    const sandbox = await sandboxes.create(request, (made) => keeper.prepare(made));
    return answer({
      sandbox_id: sandbox.id,
      remote_sandbox_id: sandbox.id,
      provider: "cerver_local_provider",
      engine: request.engine,
      status: "ready",
      created_at: sandbox.stored.createdAt,
      metadata: {
        ...sandbox.stored.metadata,
        engine: request.engine,
        timeout_ms: request.timeout_ms,
        cwd: sandbox.folder,
      },
      capabilities: ["shell", "streaming", "local-computer"],
    });
  });

  app.post(`${at}/:id/run`, async (c) => {
    const request = await body(c.req.raw, SandboxRunRequest);
    const sandbox = sandboxes.get(c.req.param("id"));
    const order = await orderOf(sandbox, request, c.req.raw.signal);
    return collected(startAndFollow(sandbox, order, inputOf(request)), c.req.raw.signal);
  });

  app.post(`${at}/:id/run/stream`, async (c) => {
    const request = await body(c.req.raw, SandboxRunRequest);
    const sandbox = sandboxes.get(c.req.param("id"));
    const order = await orderOf(sandbox, request, c.req.raw.signal);
    const stream = await runEventStream({
      offsets: { stdout: 0, stderr: 0 },
      start: () => ({ runtime: request.runtime, cwd: order.cwd }),
      open: (handlers) => keeper.startAndFollow(sandbox, order, inputOf(request), handlers),
    });
    return eventResponse(stream, c.req.raw.signal);
  });

  /** A run of its own: answers when it has begun. */
  app.post(`${at}/:id/runs`, async (c) => {
    const request = await body(c.req.raw, SandboxRunRequest);
    const sandbox = sandboxes.get(c.req.param("id"));
    const order = await orderOf(sandbox, { ...request, background: true }, c.req.raw.signal);
    return answer(withoutBackground(await keeper.start(sandbox, order, inputOf(request))));
  });

  app.post(`${at}/:id/install`, async (c) => {
    const { timeout, run_id: runId, ...install } = await body(c.req.raw, InstallRequest);
    const sandbox = sandboxes.get(c.req.param("id"));
    const order = {
      ...(await orderOf(sandbox, { run_id: runId, timeout }, c.req.raw.signal)),
      command: installCommand(install),
    };
    return collected(startAndFollow(sandbox, order, undefined), c.req.raw.signal);
  });

  app.post(`${KEPT_RUNS_PATH}/lookup`, async (c) => {
    const { run_ids } = await body(c.req.raw, LookupRequest);
    const states = await keeper.states(run_ids);
    const runs = await Promise.all(
      states.map((state) => keptRun(state, follow(state.run_id), c.req.raw.signal)),
    );
    return answer({ runs });
  });

  /** One line of JSON for each run that ends without anybody who waits for it here. */
  app.get(
    `${KEPT_RUNS_PATH}/ends`,
    (c) => new Response(ends.stream(c.req.raw.signal), { headers: STREAM_HEADERS }),
  );

  /** Waits for the end of a run that was started before. */
  app.get(`${KEPT_RUNS_PATH}/:id/answer`, (c) => collected(follow(c.req.param("id")), c.req.raw.signal));

  app.get(`${KEPT_RUNS_PATH}/:id/stream`, async (c) => {
    const { stdout_offset: stdout = 0, stderr_offset: stderr = 0 } = parse(StreamFrom, c.req.query());
    const runId = c.req.param("id");
    const [state] = await keeper.states([runId]);
    const stream = await runEventStream({
      offsets: { stdout, stderr },
      start: undefined,
      open: async (handlers) => ({
        follow: await keeper.follow(runId, { offsets: { stdout, stderr } }, handlers),
        state: state!,
      }),
    });
    return eventResponse(stream, c.req.raw.signal);
  });

  app.get(`${KEPT_RUNS_PATH}/:id/output`, async (c) => {
    const { stream, from, until } = parse(OutputFrom, c.req.query());
    return outputStream(keeper, { runId: c.req.param("id"), stream, from, until, signal: c.req.raw.signal });
  });

  app.post(`${KEPT_RUNS_PATH}/:id/stdin`, async (c) => {
    const { offset, close } = parse(StdinQuery, c.req.query());
    const bytes = await readBytes(c.req.raw, MAX_STDIN_LENGTH);
    const stdin_bytes = await keeper.stdin(c.req.param("id"), bytes, offset, close === "1");
    return answer({ run_id: c.req.param("id"), stdin_bytes });
  });

  app.post(`${KEPT_RUNS_PATH}/:id/cancel`, async (c) => {
    const state = await keeper.cancel(c.req.param("id"), "cancelled");
    return answer(await keptRun(state, follow(state.run_id), c.req.raw.signal));
  });

  app.get(`${at}/:id/files`, async (c) => {
    const { path = "", encoding } = c.req.query();
    if (path === "") throw new CerverError("invalid_request", "path: say which file to read, as ?path=….");
    const { folder } = sandboxes.get(c.req.param("id"));
    return answer(await readSandboxFile(folder, path, parse(FileEncoding.default("utf8"), encoding)));
  });
  app.put(`${at}/:id/files`, async (c) => {
    const { folder } = sandboxes.get(c.req.param("id"));
    return answer({
      success: true,
      ...(await writeSandboxFile(folder, await body(c.req.raw, WriteFileRequest))),
    });
  });

  app.get(`${at}/:id/state`, (c) => {
    const { id, stored } = sandboxes.get(c.req.param("id"));
    return answer({ provider: "cerver_local_provider", sandbox_id: id, state: stored.state });
  });
  app.put(`${at}/:id/state`, async (c) => {
    const sandbox = sandboxes.get(c.req.param("id"));
    await sandboxes.setState(sandbox, await body(c.req.raw, SandboxState));
    return answer({ success: true, sandbox_id: sandbox.id });
  });

  app.get(`${at}/:id/ports`, async (c) =>
    answer({ ports: (await ports.list(sandboxes.get(c.req.param("id")).id)).map(withoutCredentials) }),
  );
  app.all(`${at}/:id/ports/:port/*`, (c) => proxy.forward(portCall(c)));
  app.post(`${at}/:id/sockets/:port/*`, (c) => proxy.socket(portCall(c)));

  app.get(`${at}/:id${TREE_PATH}`, async (c) => {
    const { leave_secrets: leaveSecrets, skip_ignored: skipIgnored } = parse(ManifestQuery, c.req.query());
    const sandbox = sandboxes.get(c.req.param("id"));
    const options = { leaveSecrets, skipIgnored, busy: await isBusy(sandbox) };
    const manifest = await trees.manifest(sandbox, options, c.req.raw.signal);
    return new Response(manifest, { headers: { "content-type": "application/x-ndjson" } });
  });
  app.post(`${at}/:id${TREE_PATH}/blobs`, async (c) => {
    const { sha256 } = await body(c.req.raw, ReadBlobs);
    const pack = trees.read(sandboxes.get(c.req.param("id")), sha256, c.req.raw.signal);
    return new Response(pack, { headers: { "content-type": "application/octet-stream" } });
  });

  const incoming = `${at}/:id${TREE_PATH}/incoming/:carry`;
  app.put(incoming, async (c) => {
    const sandbox = sandboxes.get(c.req.param("id"));
    const { replaces } = parse(IncomingQuery, c.req.query());
    const manifest = { body: bodyStream(c.req.raw), replaces };
    return answer(await trees.expect(sandbox, carryOf(c.req.param("carry")), manifest, c.req.raw.signal));
  });
  app.get(incoming, (c) =>
    answer(trees.missing(sandboxes.get(c.req.param("id")), carryOf(c.req.param("carry")))),
  );
  app.put(`${incoming}/blobs`, async (c) => {
    const sandbox = sandboxes.get(c.req.param("id"));
    const pack = bodyStream(c.req.raw);
    return answer(await trees.write(sandbox, carryOf(c.req.param("carry")), pack, c.req.raw.signal));
  });
  app.post(`${incoming}/apply`, async (c) => {
    const sandbox = sandboxes.get(c.req.param("id"));
    if (await isBusy(sandbox)) {
      throw new CerverError("conflict", "Runs are under way in the folder that the files are to come into.", {
        hint: "End them first, or carry the folder into a new sandbox.",
      });
    }
    return answer(await trees.apply(sandbox, carryOf(c.req.param("carry")), c.req.raw.signal));
  });
  app.delete(incoming, async (c) => {
    const sandbox = sandboxes.get(c.req.param("id"));
    await trees.discard(sandbox, carryOf(c.req.param("carry")), c.req.raw.signal);
    return answer({ success: true });
  });

  app.delete(`${at}/:id`, async (c) => {
    const id = c.req.param("id");
    // Whoever gave up waiting for a sandbox deletes it while it is still being made.
    await sandboxes.settled(id);
    // A sandbox that is unknown here may have left something with the keeper of an earlier relay.
    await keeper.endSandbox(id);
    await trees.forget(id);
    await sandboxes.delete(id);
    return answer({
      success: true,
      sandbox_id: id,
      remote_sandbox_id: id,
      provider: "cerver_local_provider",
      status: "terminated",
    });
  });

  app.notFound((c) => {
    const error = new CerverError("not_found", `This relay serves no ${c.req.method} ${c.req.path}.`, {
      hint: `Its surface begins at ${PROVIDER_PATH}.`,
    });
    return answer(error.toBody(), error.status);
  });
  app.onError((error, c) => {
    if (error instanceof CerverError) return answer(error.toBody(), error.status);
    logger.error({ err: error, method: c.req.method }, "a request to this relay failed");
    const internal = new CerverError("internal", "Something went wrong on the relay. Its log says what.");
    return answer(internal.toBody(), internal.status);
  });
  return app;

  /** The shortest way for what comes most often: a run that is waited for. */
  function serveSmall({ method, path, body: bytes, signal }: SmallCall): Promise<SmallAnswer> | undefined {
    const sandboxId = method === "POST" ? RUN_PATH.exec(path)?.[1] : undefined;
    return sandboxId === undefined ? undefined : runSmall(sandboxId, bytes, signal);
  }

  async function runSmall(sandboxId: string, bytes: Uint8Array, signal: AbortSignal): Promise<SmallAnswer> {
    const request = parseBody(Buffer.from(bytes).toString("utf8"), SandboxRunRequest);
    const sandbox = sandboxes.get(sandboxId);
    const order = orderOf(sandbox, request, signal);
    const ordered = order instanceof Promise ? await order : order;
    const value = await collectAnswer(startAndFollow(sandbox, ordered, inputOf(request)), signal);
    return { status: 200, headers: RUN_HEADERS, body: Buffer.from(JSON.stringify(value)) };
  }

  /** What the keeper is to start. A promise only where there is something to wait for. */
  function orderOf(sandbox: Sandbox, request: OrderWish, signal: AbortSignal): RunOrder | Promise<RunOrder> {
    const { envs = {}, secrets: names = [] } = request;
    const resolved = secrets.resolve(sandbox.stored.env, envs, names, signal);
    if (request.cwd === undefined && !resolved) return orderIn(sandbox.folder, sandbox, request);
    return Promise.all([sandbox.workingFolder(request.cwd), resolved]).then(([folder, found]) =>
      orderIn(folder, sandbox, request, found),
    );
  }

  function orderIn(cwd: string, sandbox: Sandbox, request: OrderWish, resolved?: ResolvedSecrets): RunOrder {
    const { run_id, code = "", runtime = "shell", envs = {}, background = false, stdin } = request;
    return {
      run_id: run_id ?? newId("run"),
      sandbox_id: sandbox.id,
      command: { kind: runtime, code },
      cwd,
      envs: { ...envs, ...resolved?.envs },
      timeout_ms: timeoutOf(request) * 1000,
      background,
      has_stdin: stdin !== undefined,
      stdin_open: request.stdin_open ?? false,
      redact,
      secrets: resolved?.secrets ?? [],
      ...(resolved && { secrets_used: resolved.used }),
    };
  }

  function portCall({ req }: Context): PortCall {
    const { id } = sandboxes.get(req.param("id") as string);
    return { sandboxId: id, port: parse(PortNumber, req.param("port")), request: req.raw };
  }

  /** Whether runs are under way in a folder: those of any sandbox whose folder it is, is in it, or has it inside. */
  async function isBusy({ folder }: Sandbox): Promise<boolean> {
    const running = new Set((await keeper.live()).map(({ sandbox_id }) => sandbox_id));
    return [...sandboxes].some(
      (other) => running.has(other.id) && (isInside(folder, other.folder) || isInside(other.folder, folder)),
    );
  }

  function startAndFollow(sandbox: Sandbox, order: RunOrder, stdin: Uint8Array | undefined) {
    return async (handlers: FollowHandlers) =>
      (await keeper.startAndFollow(sandbox, order, stdin, handlers)).follow;
  }

  function follow(runId: string) {
    return (handlers: FollowHandlers) => keeper.follow(runId, {}, handlers);
  }
}

function carryOf(text: string): string {
  return parse(CarryId, text);
}

type OrderWish = Partial<SandboxRunRequest> & { command?: Command };

function inputOf({ stdin }: SandboxRunRequest): Uint8Array | undefined {
  return stdin === undefined ? undefined : Buffer.from(stdin);
}

function withoutBackground({ background: _, ...state }: RunState) {
  return state;
}

async function collected(
  open: (handlers: FollowHandlers) => ReturnType<KeeperClient["follow"]>,
  signal: AbortSignal,
): Promise<Response> {
  return answer(await collectAnswer(open, signal), 200, { [RUN_EVENTS_HEADER]: "1" });
}

const RUN_PATH = new RegExp(`^${PROVIDER_PATH}/sandboxes/([\\w-]+)/run$`);
const RUN_HEADERS: [string, string][] = [
  ["content-type", "application/json"],
  [RUN_EVENTS_HEADER, "1"],
];
const STREAM_HEADERS = { "cache-control": "no-cache, no-transform", "x-accel-buffering": "no" };

function eventResponse(body: FollowedBody, signal: AbortSignal): Response {
  const onAbort = () => body.leave(isLinkLost(signal) ? "lost" : "gone");
  signal.addEventListener("abort", onAbort, { once: true });
  // The asker may have gone while the process was starting.
  if (signal.aborted) onAbort();
  return new Response(body.stream, {
    headers: { ...STREAM_HEADERS, "content-type": "text/event-stream", [RUN_EVENTS_HEADER]: "1" },
  });
}

/** A JSON answer; a small one travels in one message with its head. */
function answer(value: unknown, status = 200, headers: Record<string, string> = {}): Response {
  const bytes = Buffer.from(JSON.stringify(value));
  const response = new Response(bytes, {
    status,
    headers: { "content-type": "application/json", ...headers },
  });
  return bytes.length <= INLINE_BODY_BYTES ? withKnownBody(response, bytes) : response;
}

async function body<S extends z.ZodType>(request: Request, schema: S): Promise<z.output<S>> {
  const known = knownBody(request);
  const text = known
    ? Buffer.from(known.buffer, known.byteOffset, known.length).toString("utf8")
    : await readText(request);
  return parseBody(text, schema);
}

function parseBody<S extends z.ZodType>(text: string, schema: S): z.output<S> {
  let value: unknown;
  try {
    value = text === "" ? {} : JSON.parse(text);
  } catch (error) {
    throw new CerverError("invalid_request", `The body is not JSON: ${(error as Error).message}.`);
  }
  return parse(schema, value);
}

function bodyStream(request: Request): AsyncIterable<Uint8Array> {
  return (request.body ??
    new ReadableStream({ start: (stream) => stream.close() })) as AsyncIterable<Uint8Array>;
}

async function readText(request: Request): Promise<string> {
  return Buffer.from(await readBytes(request, MAX_BODY_BYTES)).toString("utf8");
}

async function readBytes(request: Request, limit: number): Promise<Uint8Array> {
  const known = knownBody(request);
  if (known) return known;
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of bodyStream(request)) {
    size += chunk.length;
    if (size > limit) {
      throw new CerverError("too_large", `The body is larger than ${Math.floor(limit / 1024 / 1024)} MiB.`);
    }
    chunks.push(chunk);
  }
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
}
