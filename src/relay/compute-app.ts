import { Hono } from "hono";
import type { z } from "zod";
import { CerverError } from "../protocol/errors.js";
import { newId } from "../protocol/ids.js";
import { parse } from "../protocol/parse.js";
import {
  CreateSandboxRequest,
  FileEncoding,
  InstallRequest,
  PROVIDER_PATH,
  RUN_EVENTS_HEADER,
  type SandboxRunAnswer,
  SandboxRunRequest,
  SandboxState,
  WriteFileRequest,
} from "../protocol/sandbox.js";
import { knownBody, withKnownBody } from "../tunnel/known-body.js";
import { INLINE_BODY_BYTES } from "../tunnel/wire.js";
import type { Logger } from "../util/logger.js";
import type { HostFacts } from "./host/facts.js";
import { readSandboxFile, writeSandboxFile } from "./host/files.js";
import { OutputCollector } from "./host/output-collector.js";
import { installCommand } from "./host/packages.js";
import type { Run } from "./host/run.js";
import type { Sandboxes } from "./host/sandboxes.js";
import { runEventStream } from "./run-events.js";

/** The largest body this surface reads, in bytes: a file of the largest size in base64, and what surrounds it. */
const MAX_BODY_BYTES = 96 * 1024 * 1024;

export interface ComputeAppDeps {
  sandboxes: Sandboxes;
  facts: HostFacts;
  label: string;
  logger: Logger;
}

/** The p69 provider surface as this host serves it (contract section 4.4). */
export function createComputeApp({ sandboxes, facts, label, logger }: ComputeAppDeps) {
  const app = new Hono();
  const at = `${PROVIDER_PATH}/sandboxes`;

  app.get(PROVIDER_PATH, () =>
    answer({
      provider: "cerver_local_provider",
      label,
      mode: "direct",
      status: "ready",
      machine_name: facts.hostname,
      capabilities: facts.capabilities,
      runs: sandboxes.liveRuns,
      sandboxes: sandboxes.size,
    }),
  );

  app.post(at, async (c) => {
    const request = await body(c.req.raw, CreateSandboxRequest);
    const sandbox = await sandboxes.create(request);
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
    const run = await start(request, c.req.param("id"));
    return collected(run, c.req.raw.signal);
  });

  app.post(`${at}/:id/run/stream`, async (c) => {
    const request = await body(c.req.raw, SandboxRunRequest);
    const sandbox = sandboxes.get(c.req.param("id"));
    const run = await start(request, sandbox.id);
    // The asker may have gone while the process was starting.
    cancelWhenAborted(run, c.req.raw.signal);
    return new Response(runEventStream(run, request.runtime, sandbox.folder), {
      headers: {
        "content-type": "text/event-stream",
        "cache-control": "no-cache, no-transform",
        "x-accel-buffering": "no",
        [RUN_EVENTS_HEADER]: "1",
      },
    });
  });

  app.post(`${at}/:id/install`, async (c) => {
    const { timeout, run_id: runId, ...install } = await body(c.req.raw, InstallRequest);
    const run = await sandboxes.get(c.req.param("id")).start({
      runId: runId ?? newId("run"),
      command: installCommand(install),
      timeoutMs: timeout * 1000,
    });
    return collected(run, c.req.raw.signal);
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

  app.delete(`${at}/:id`, async (c) => {
    const id = c.req.param("id");
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

  function start(request: SandboxRunRequest, sandboxId: string): Promise<Run> {
    return sandboxes.get(sandboxId).start({
      runId: request.run_id ?? newId("run"),
      command: { kind: request.runtime, code: request.code },
      cwd: request.cwd,
      envs: request.envs,
      stdin: request.stdin,
      timeoutMs: request.timeout * 1000,
    });
  }
}

/** Waits for a run and answers with what it printed, within bounds. */
async function collected(run: Run, signal: AbortSignal): Promise<Response> {
  const stdout = new OutputCollector();
  const stderr = new OutputCollector();
  const release = cancelWhenAborted(run, signal);
  try {
    const [end] = await Promise.all([run.ended, drain(run, stdout, stderr)]);
    const [out, err] = [stdout.finish(), stderr.finish()];
    return answer(
      {
        run_id: run.id,
        success: end.status === "succeeded",
        status: end.status,
        exit_code: end.exitCode,
        signal: end.signal,
        stdout: out.text,
        stderr: err.text,
        ...(out.encoding && { stdout_encoding: out.encoding }),
        ...(err.encoding && { stderr_encoding: err.encoding }),
        duration_ms: Math.round(end.durationMs * 1000) / 1000,
        stdout_bytes: out.bytes,
        stderr_bytes: err.bytes,
        truncated: out.truncated || err.truncated,
      } satisfies SandboxRunAnswer,
      200,
      { [RUN_EVENTS_HEADER]: "1" },
    );
  } finally {
    release();
  }
}

async function drain(run: Run, stdout: OutputCollector, stderr: OutputCollector): Promise<void> {
  const read = (pipe: Run["stdout"], into: OutputCollector) =>
    new Promise<void>((resolve) => {
      pipe.on("data", (chunk: Buffer) => into.push(chunk));
      pipe.once("close", resolve);
    });
  await Promise.all([read(run.stdout, stdout), read(run.stderr, stderr)]);
}

function cancelWhenAborted(run: Run, signal: AbortSignal): () => void {
  const cancel = () => run.cancel();
  if (signal.aborted) cancel();
  else signal.addEventListener("abort", cancel, { once: true });
  return () => signal.removeEventListener("abort", cancel);
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
  let value: unknown;
  try {
    value = text === "" ? {} : JSON.parse(text);
  } catch (error) {
    throw new CerverError("invalid_request", `The body is not JSON: ${(error as Error).message}.`);
  }
  return parse(schema, value);
}

async function readText(request: Request): Promise<string> {
  if (Number(request.headers.get("content-length") ?? Number.POSITIVE_INFINITY) <= MAX_BODY_BYTES)
    return request.text();
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of (request.body ?? []) as unknown as AsyncIterable<Uint8Array>) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) {
      throw new CerverError("too_large", `The body is larger than ${MAX_BODY_BYTES / 1024 / 1024} MiB.`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
