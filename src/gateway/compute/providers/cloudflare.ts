import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { CerverError } from "../../../protocol/errors.js";
import { installProgram } from "../../../protocol/packages.js";
import { parse } from "../../../protocol/parse.js";
import {
  type CreateSandboxRequest,
  type FileContent,
  InstallRequest,
  MAX_FILE_BYTES,
  SandboxRunRequest,
  SandboxState,
  WriteFileRequest,
} from "../../../protocol/sandbox.js";
import { sessionVariables } from "../../../protocol/session-variables.js";
import type { ProviderAdapter, ProviderEnv, SandboxRecord } from "../contract.js";
import { keptState, tooLarge } from "../vendor-files.js";
import { vendorAnswer, vendorStream } from "../vendor-run.js";
import { CloudflareBridge } from "./cloudflare-bridge.js";
import { CloudflareRun } from "./cloudflare-run.js";
import { CloudflareSandbox, newOrderId } from "./cloudflare-sandbox.js";

const COMPUTE_ID = "provider_cloudflare";
/** How long a sandbox that nobody waits for any more is waited for, so that it can be deleted. */
const LATE_CREATE_MS = 20_000;
const DELETE_MS = 30_000;
/** What one request carries of a file: the bridge takes 32 MiB, and has to hold it several times over. */
const PIECE_BYTES = 8 * 1024 * 1024;
/** How often a file that changes while it is read is read anew. */
const READ_ATTEMPTS = 3;

const Written = z.object({ size: z.number().int() });
const Piece = z.object({ size: z.number().int(), version: z.string() });

/**
 * Cloudflare Sandbox, through the vendor's own bridge Worker in the account of the user (examples/cloudflare-bridge).
 *
 * The bridge lets its caller name a sandbox: the name comes from the session's id, so that it is found again. How long a
 * sandbox lives without being used is set where the bridge is deployed (`SLEEP_AFTER`): it takes no `timeout_ms`.
 */
export function cloudflareProvider({
  fetch: fetcher = fetch,
}: {
  fetch?: typeof fetch;
} = {}): ProviderAdapter {
  const bridgeOf = (env: ProviderEnv) => new CloudflareBridge(env.credentials, fetcher);
  const sandboxOf = (record: SandboxRecord, env: ProviderEnv) =>
    new CloudflareSandbox(bridgeOf(env), checkedId(record.sandboxId));

  const launch = async (record: SandboxRecord, given: SandboxRunRequest, env: ProviderEnv) => {
    // An option that is not known is refused by name.
    const request = parse(SandboxRunRequest, given);
    refuse(request.background, "background", "end with the request that started them");
    refuse(request.stdin_open, "stdin_open", "take their whole input at the start, as stdin");
    const command = { kind: request.runtime, code: request.code };
    return CloudflareRun.launch(sandboxOf(record, env), command, request, env.signal);
  };

  return {
    providerName: "cloudflare",

    async createSandbox(request, env) {
      refuse(request.metadata.working_dir, "metadata.working_dir", "have one folder of their own");
      const variables = sessionVariables(request.metadata);
      const id = sandboxIdFor(request);
      const sandbox = new CloudflareSandbox(bridgeOf(env), id);
      env.signal.throwIfAborted();
      await made(sandbox, variables, env.signal);
      return { sandboxId: id, computeId: COMPUTE_ID, provider: "cloudflare" };
    },

    async runSandbox(record, request, env) {
      const run = await launch(record, request, env);
      return vendorAnswer(request, env.signal, run.follow);
    },

    async runSandboxStream(record, request, env) {
      const run = await launch(record, request, env);
      return vendorStream(request, env.signal, run.follow);
    },

    async installPackage(record, given, env) {
      const install = parse(InstallRequest, given);
      const { file, args } = installProgram(install);
      const { timeout, run_id } = install;
      const request = { code: file, runtime: "shell", timeout, ...(run_id && { run_id }) } as const;
      const run = await CloudflareRun.launch(
        sandboxOf(record, env),
        { kind: "argv", file, args },
        request,
        env.signal,
      );
      return vendorAnswer(request, env.signal, run.follow);
    },

    async writeFile(record, given, env) {
      const { path, content, encoding } = parse(WriteFileRequest, given);
      const bytes = Buffer.from(content, encoding);
      if (bytes.length > MAX_FILE_BYTES) throw tooLarge(path);
      const sandbox = sandboxOf(record, env);
      const id = newOrderId();
      const parts = Math.ceil(bytes.length / PIECE_BYTES);
      for (let n = 0; n < parts; n++)
        await sandbox.put(`${id}.${n}`, bytes.subarray(n * PIECE_BYTES, (n + 1) * PIECE_BYTES), env.signal);
      const { answer } = await sandbox.order({ op: "write", id, path, parts }, "write a file", env.signal);
      const { size } = Written.parse(answer);
      return Response.json({ success: true, path, size });
    },

    async readFile(record, path, encoding, env) {
      if (path === "") throw new CerverError("invalid_request", "path: say which file to read, as ?path=….");
      const bytes = await readWhole(sandboxOf(record, env), path, env.signal);
      const content = bytes.toString(encoding);
      return Response.json({ path, content, encoding, size: bytes.length } satisfies FileContent);
    },

    async getState(record, env) {
      const order = { op: "getState", id: newOrderId() } as const;
      const { answer } = await sandboxOf(record, env).order(order, "read the state", env.signal);
      const state = keptState(answer);
      return Response.json({ provider: "cloudflare", sandbox_id: record.sandboxId, state });
    },

    async setState(record, state, env) {
      const text = JSON.stringify(parse(SandboxState, state));
      await keep(sandboxOf(record, env), "setState", text, env.signal);
      return Response.json({ success: true, sandbox_id: record.sandboxId });
    },

    async deleteSandbox(record, env) {
      const { bridge, id } = sandboxOf(record, env);
      await bridge.delete(id, env.signal);
      return Response.json({
        success: true,
        sandbox_id: id,
        remote_sandbox_id: id,
        provider: "cloudflare",
        status: "terminated",
      });
    },

    cloud: {
      credentialNames: { required: ["cloudflare_sandbox_url", "cloudflare_sandbox_key"], optional: [] },
      verify: async (env) => bridgeOf(env).verify(env.signal),
      async find(sessionId, env) {
        const sandbox = new CloudflareSandbox(bridgeOf(env), sessionSandboxId(sessionId));
        if (!(await sandbox.exists(env.signal))) return [];
        return [{ sandboxId: sandbox.id, computeId: COMPUTE_ID, provider: "cloudflare" }];
      },
      async portUrl(record, port, env) {
        const sandbox = sandboxOf(record, env);
        if (!(await sandbox.exists(env.signal))) throw await sandbox.gone();
        return sandbox.bridge.tunnel(sandbox.id, port, env.signal);
      },
    },
  };
}

/** Makes a sandbox, or leaves nothing behind. */
async function made(
  sandbox: CloudflareSandbox,
  variables: Record<string, string>,
  caller: AbortSignal,
): Promise<void> {
  const late = new AbortController();
  // A container that is being started cannot be deleted yet: its start is waited for first.
  const onAbort = () =>
    void sleep(LATE_CREATE_MS, undefined, { signal: late.signal }).then(
      () => late.abort(),
      () => {},
    );
  caller.addEventListener("abort", onAbort, { once: true });
  try {
    await sandbox.prepare(late.signal);
    caller.throwIfAborted();
    if (Object.keys(variables).length > 0)
      await keep(sandbox, "setEnvironment", JSON.stringify(variables), late.signal);
    caller.throwIfAborted();
  } catch (error) {
    if (!wasRefused(error)) await removed(sandbox, error);
    caller.throwIfAborted();
    throw error;
  } finally {
    caller.removeEventListener("abort", onAbort);
    late.abort();
  }
}

/** Deletes what a create may have left; names it when that cannot be done. */
async function removed(sandbox: CloudflareSandbox, why: unknown): Promise<void> {
  try {
    await sandbox.bridge.delete(sandbox.id, AbortSignal.timeout(DELETE_MS));
  } catch (error) {
    throw new CerverError(
      "provider_failed",
      `Cloudflare did not finish making sandbox ${sandbox.id}, and did not confirm that it is gone.`,
      {
        hint: "It stops by itself when nobody has used it for the time that SLEEP_AFTER of the bridge says.",
        details: { vendor: "Cloudflare Sandbox", sandbox_id: sandbox.id },
        cause: new AggregateError([why, error]),
      },
    );
  }
}

/** The bridge turned the first request away, so nothing was made. */
function wasRefused(error: unknown): boolean {
  return error instanceof CerverError && ["credentials_refused", "too_many_requests"].includes(error.code);
}

/** Has the runner keep a JSON text beside the working folder. */
async function keep(
  sandbox: CloudflareSandbox,
  op: "setState" | "setEnvironment",
  text: string,
  signal: AbortSignal,
): Promise<void> {
  const id = newOrderId();
  await sandbox.put(`${id}.0`, Buffer.from(text), signal);
  await sandbox.order({ op, id }, "keep the state", signal);
}

/** A file as it was at one time, however many requests that takes. */
async function readWhole(sandbox: CloudflareSandbox, path: string, signal: AbortSignal): Promise<Buffer> {
  for (let attempt = 1; attempt <= READ_ATTEMPTS; attempt++) {
    const bytes = await readOnce(sandbox, path, signal);
    if (bytes) return bytes;
  }
  throw new CerverError("conflict", `path: "${path}" changes all the time, so no state of it can be read.`, {
    hint: "Copy it with a run first, and read the copy.",
  });
}

async function readOnce(
  sandbox: CloudflareSandbox,
  path: string,
  signal: AbortSignal,
): Promise<Buffer | undefined> {
  const pieces: Buffer[] = [];
  let version: string | undefined;
  for (let from = 0; ; ) {
    const order = {
      op: "read",
      id: newOrderId(),
      path,
      from,
      length: PIECE_BYTES,
      max: MAX_FILE_BYTES,
    } as const;
    const { answer, bytes } = await sandbox.order(order, "read a file", signal);
    const piece = Piece.parse(answer);
    version ??= piece.version;
    if (piece.version !== version) return undefined;
    pieces.push(bytes);
    from += bytes.length;
    if (from >= piece.size) return Buffer.concat(pieces);
    if (bytes.length === 0) return undefined;
  }
}

/** The bridge's ids are 1 to 128 characters of base32 (RFC 4648) in lower case. */
function checkedId(id: string): string {
  if (/^[a-z2-7]{1,128}$/.test(id)) return id;
  throw new CerverError("sandbox_not_found", `Cloudflare has no sandbox ${id}.`, {
    hint: "Its ids consist of the letters a to z and the digits 2 to 7. Create a new session.",
  });
}

function sandboxIdFor({ metadata }: CreateSandboxRequest): string {
  const { cerver_session_id: sessionId } = metadata;
  return typeof sessionId === "string"
    ? sessionSandboxId(sessionId)
    : `cerver${newOrderId().replace(/[0189]/g, letter)}`;
}

/** The sandbox of a session, as a name that says nothing about it. */
function sessionSandboxId(sessionId: string): string {
  return `cerver${createHash("sha256")
    .update(sessionId)
    .digest("hex")
    .replace(/[0189]/g, letter)}`;
}

/** Hexadecimal digits that base32 has not. */
function letter(digit: string): string {
  return { "0": "w", "1": "x", "8": "y", "9": "z" }[digit]!;
}

function refuse(value: unknown, name: string, whatTheyDo: string): void {
  if (value === undefined || value === false || value === "") return;
  throw new CerverError(
    "unsupported",
    `${name}: Cloudflare Sandbox cannot do this; runs there ${whatTheyDo}.`,
    {
      hint: `Leave ${name} out, or use one of your own machines: "policy": {"allowed_providers": ["p69"]}.`,
    },
  );
}
