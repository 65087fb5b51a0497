import { randomUUID } from "node:crypto";
import { posix } from "node:path";
import { z } from "zod";
import { CerverError } from "../../../protocol/errors.js";
import { MAX_FILE_BYTES, SandboxState, type WriteFileRequest } from "../../../protocol/sandbox.js";
import { askSupervisor, type VercelVm } from "./vercel-run.js";
import { VercelRefusal } from "./vercel-wire.js";

/** What the supervisor says of a file: where it really is, and its bytes. */
const Looked = z.object({ path: z.string(), size: z.number() });

/** Writes a file, and the folders on the way to it. Readers see the old content or the new, never half. Gives its bytes. */
export async function writeVercelFile(
  vm: VercelVm,
  root: string,
  { path, content, encoding }: WriteFileRequest,
  signal: AbortSignal,
): Promise<number> {
  const bytes = Buffer.from(content, encoding);
  if (bytes.length > MAX_FILE_BYTES) throw tooLarge(path);
  refuseOutside("path", root, path);
  const upload = `.cerver-${randomUUID()}`;
  await vm.session.writeFiles([{ path: upload, content: bytes, mode: 0o644 }], { signal });
  await askSupervisor(vm, { kind: "place", upload, path }, signal);
  return bytes.length;
}

/** Reads a file whose path, and whatever links are in it, lead to a place inside. */
export async function readVercelFile(
  vm: VercelVm,
  root: string,
  path: string,
  signal: AbortSignal,
): Promise<Buffer> {
  refuseOutside("path", root, path);
  const told = await askSupervisor(vm, { kind: "look", path }, signal);
  const found = Looked.parse(parsed(String(told)));
  if (found.size > MAX_FILE_BYTES) throw tooLarge(path);
  try {
    const stream = await vm.session.readFile({ path: found.path }, { signal });
    if (stream) return await upTo(MAX_FILE_BYTES, stream, path);
  } catch (error) {
    if (!(error instanceof VercelRefusal) || error.status !== 404) throw error;
  }
  throw new CerverError("file_not_found", `path: there is no file "${path}" in this sandbox.`);
}

/** The state that was set last, from a file outside of the working folder. */
export async function readVercelState(vm: VercelVm, signal: AbortSignal): Promise<Record<string, unknown>> {
  const text = String(await askSupervisor(vm, { kind: "get_state" }, signal));
  const state = SandboxState.safeParse(parsed(text));
  if (state.success) return state.data;
  throw new CerverError("provider_failed", "The state file in the sandbox is not what was put there.", {
    hint: "Something in the sandbox wrote to ~/.cerver/state.json. Set the state anew.",
  });
}

/** What the text of a path tells already; links are looked at in the sandbox. */
export function refuseOutside(field: "path" | "cwd", root: string, path: string): void {
  const target = posix.resolve(root, path);
  const why = path.includes("\0")
    ? "it holds a NUL character"
    : target === root || target.startsWith(`${root}/`)
      ? undefined
      : posix.isAbsolute(path)
        ? "it is an absolute path to another place"
        : "it leads up and out";
  if (why === undefined) return;
  const shown = path.replaceAll("\0", "\\0");
  throw new CerverError("forbidden", `${field}: "${shown}" is outside of this sandbox's folder: ${why}.`, {
    hint: `Use a ${field === "cwd" ? "folder" : "path"} inside the session's own.`,
  });
}

/** The whole of a stream, with a bound that holds even if the file grows meanwhile. */
async function upTo(max: number, stream: NodeJS.ReadableStream, path: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream) {
    size += chunk.length;
    if (size > max) throw tooLarge(path);
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}

function tooLarge(path: string): CerverError {
  return new CerverError("too_large", `path: "${path}" is larger than ${MAX_FILE_BYTES / 1024 / 1024} MiB.`, {
    hint: "Split it, or move it with a run, for example with curl.",
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
