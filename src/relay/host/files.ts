import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, mkdir, open, realpath, rename, rm } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, relative, resolve } from "node:path";
import { CerverError } from "../../protocol/errors.js";
import {
  type FileContent,
  type FileEncoding,
  MAX_FILE_BYTES,
  type WriteFileRequest,
} from "../../protocol/sandbox.js";
import { isInside } from "./sandboxes.js";

/**
 * Reads a file of a sandbox.
 *
 * The file that was opened is the one that is checked, so nothing that runs in the sandbox can swap it for a link
 * between the two.
 */
export async function readSandboxFile(
  root: string,
  path: string,
  encoding: FileEncoding,
): Promise<FileContent> {
  const target = lexicallyInside(root, path);
  // O_NONBLOCK: a pipe without a writer would be waited for.
  const file = await open(target, constants.O_RDONLY | constants.O_NONBLOCK).catch((error) => {
    throw fileError(error, path);
  });
  try {
    await refuseOutside(file, target, root, path);
    const stat = await file.stat();
    if (!stat.isFile()) {
      throw new CerverError("invalid_request", `path: "${path}" is not a regular file.`, {
        hint: "Only files can be read; list a folder with a run, for example `ls`.",
      });
    }
    if (stat.size > MAX_FILE_BYTES) throw tooLarge(path);
    const bytes = await readUpTo(file, MAX_FILE_BYTES, path);
    return { path, content: bytes.toString(encoding), encoding, size: bytes.length };
  } finally {
    await file.close();
  }
}

/** Writes a file of a sandbox, and the folders on the way to it. Readers see the old content or the new, never half. */
export async function writeSandboxFile(
  root: string,
  { path, content, encoding }: WriteFileRequest,
): Promise<{ path: string; size: number }> {
  const bytes = Buffer.from(content, encoding);
  if (bytes.length > MAX_FILE_BYTES) throw tooLarge(path);
  const target = lexicallyInside(root, path);
  if (target === root) throw outside(path, "it is the sandbox's folder itself");
  const folder = await makeFolder(root, dirname(target), path);
  const temporary = join(folder, `.cerver-${randomUUID()}`);
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const file = await open(temporary, flags, 0o644).catch((error) => {
    throw fileError(error, path);
  });
  try {
    await refuseOutside(file, temporary, root, path);
    await file.writeFile(bytes);
    // Renaming replaces a link, it does not follow it; only a folder is in its way.
    await rename(temporary, join(folder, basename(target)));
  } catch (error) {
    await rm(temporary, { force: true });
    throw error instanceof CerverError ? error : fileError(error, path);
  } finally {
    await file.close();
  }
  return { path, size: bytes.length };
}

/** The absolute path that a path means, as far as its text tells. */
function lexicallyInside(root: string, path: string): string {
  if (path.includes("\0")) throw outside(path.replaceAll("\0", "\\0"), "it holds a NUL character");
  const target = resolve(root, path);
  if (isInside(root, target)) return target;
  throw outside(path, isAbsolute(path) ? "it is an absolute path to another place" : "it leads up and out");
}

/** Makes the folders below the root one by one, so that no link on the way is followed out of it. */
async function makeFolder(root: string, folder: string, path: string): Promise<string> {
  let at = root;
  for (const name of relative(root, folder).split("/").filter(Boolean)) {
    await mkdir(join(at, name)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw fileError(error, path);
    });
    at = await realpath(join(at, name)).catch((error) => {
      throw fileError(error, path);
    });
    if (!isInside(root, at)) throw outside(path, "a link on the way leads out");
  }
  return at;
}

/** Where an open file really is: the kernel knows on Linux; elsewhere its name has to lead to it from inside. */
export async function refuseOutside(
  file: FileHandle,
  opened: string,
  root: string,
  path: string,
): Promise<void> {
  if (process.platform === "linux") {
    const real = await realpath(`/proc/self/fd/${file.fd}`);
    if (!isInside(root, real)) throw outside(path, "a link leads out");
    return;
  }
  const real = await realpath(opened);
  if (!isInside(root, real)) throw outside(path, "a link leads out");
  const named = await open(real, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const [a, b] = await Promise.all([file.stat(), named.stat()]);
    if (a.dev !== b.dev || a.ino !== b.ino) throw outside(path, "it changed while it was opened");
  } finally {
    await named.close();
  }
}

/** The whole file, with a bound that holds even if it grows meanwhile. */
async function readUpTo(file: FileHandle, max: number, path: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of file.createReadStream({ autoClose: false, start: 0 })) {
    size += chunk.length;
    if (size > max) throw tooLarge(path);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function outside(path: string, why: string): CerverError {
  return new CerverError("forbidden", `path: "${path}" is outside of this sandbox's folder: ${why}.`, {
    hint: "Use a path inside the session's working folder.",
  });
}

function tooLarge(path: string): CerverError {
  return new CerverError("too_large", `path: "${path}" is larger than ${MAX_FILE_BYTES / 1024 / 1024} MiB.`, {
    hint: "Split it, or move it with a run, for example with curl.",
  });
}

function fileError(error: unknown, path: string): CerverError {
  const { code, message } = error as NodeJS.ErrnoException;
  const cause = { cause: error };
  switch (code) {
    case "ENOENT":
      return new CerverError("file_not_found", `path: there is no file "${path}" in this sandbox.`, cause);
    case "EISDIR":
    case "ENOTEMPTY":
      return new CerverError("invalid_request", `path: "${path}" is a folder.`, cause);
    case "ENOTDIR":
    case "EEXIST":
      return new CerverError("invalid_request", `path: a part of "${path}" is a file, not a folder.`, cause);
    case "ENAMETOOLONG":
      return new CerverError("invalid_request", "path: a name in it is too long.", cause);
    case "ELOOP":
      return outside(path, "a link leads out or in a circle");
    case "EACCES":
    case "EPERM":
      return new CerverError("forbidden", `path: this user may not open "${path}".`, cause);
    case "ENOSPC":
    case "EDQUOT":
      return new CerverError("provider_failed", "The disk of this machine is full.", {
        hint: "Free some space there, then write again.",
        ...cause,
      });
    default:
      return new CerverError("provider_failed", `path: "${path}" cannot be used: ${message}.`, cause);
  }
}
