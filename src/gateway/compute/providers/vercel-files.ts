import { randomUUID } from "node:crypto";
import { posix } from "node:path";
import { z } from "zod";
import { CerverError } from "../../../protocol/errors.js";
import { MAX_FILE_BYTES, type WriteFileRequest } from "../../../protocol/sandbox.js";
import { parseJson } from "../../../util/parse-json.js";
import { keptState, readUpTo, tooLarge } from "../vendor-files.js";
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
  const found = Looked.parse(parseJson(String(told)));
  if (found.size > MAX_FILE_BYTES) throw tooLarge(path);
  try {
    const stream = await vm.session.readFile({ path: found.path }, { signal });
    if (stream) return await readUpTo(MAX_FILE_BYTES, stream as AsyncIterable<Buffer>, () => tooLarge(path));
  } catch (error) {
    if (!(error instanceof VercelRefusal) || error.status !== 404) throw error;
  }
  throw new CerverError("file_not_found", `path: there is no file "${path}" in this sandbox.`);
}

/** The state that was set last, from a file outside of the working folder. */
export async function readVercelState(vm: VercelVm, signal: AbortSignal): Promise<Record<string, unknown>> {
  return keptState(parseJson(String(await askSupervisor(vm, { kind: "get_state" }, signal))));
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
