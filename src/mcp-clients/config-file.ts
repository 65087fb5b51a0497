import { randomUUID } from "node:crypto";
import {
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  realpath,
  rename,
  rm,
  stat,
  writeFile,
} from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { CerverError } from "../protocol/errors.js";

/** A client's settings as they are on disk. */
export interface ConfigFile {
  /** Where the client looks. */
  path: string;
  /** The file itself, when the path is a link to it: people keep their settings in one repository. */
  target: string;
  /** Undefined when there is no such file. */
  text: string | undefined;
  /** Permission bits; for a file that is not there those that it gets. */
  mode: number;
}

/** The largest settings that are read, in bytes. Claude Code keeps its history beside them. */
const MAX_BYTES = 32 * 1024 * 1024;
const BACKUPS_KEPT = 3;
const MAX_LINKS = 40;

/**
 * Reads a client's settings.
 *
 * @param newMode permission bits of a file that has to be made
 */
export async function readConfigFile(path: string, newMode: number): Promise<ConfigFile> {
  try {
    const target = await endOfLinks(path);
    const bytes = await readBounded(target);
    if (bytes === undefined) return { path, target, text: undefined, mode: newMode };
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    return { path, target, text, mode: (await stat(target)).mode & 0o7777 };
  } catch (error) {
    if (error instanceof TypeError)
      throw new CerverError("invalid_request", `${path} is not in UTF-8. The file was left alone.`, {
        hint: "Save it as UTF-8 with an editor, then run this again.",
      });
    throw refused(error, path, "read");
  }
}

/**
 * Puts a new text in the place of a file as a whole, after a copy of the old one was put beside it.
 *
 * Gives the path of that copy; undefined where there was no file. Throws `conflict` where the file has changed since it
 * was read: a client that is open writes its settings too.
 */
export async function replaceConfigFile(
  file: ConfigFile,
  text: string,
): Promise<{ backup: string | undefined }> {
  const temporary = `${file.target}.${randomUUID()}`;
  try {
    await mkdir(dirname(file.target), { recursive: true });
    const backup = await keepBackup(file);
    const handle = await open(temporary, "wx", file.mode);
    try {
      await handle.writeFile(text);
      await handle.chmod(file.mode);
      await handle.sync();
    } finally {
      await handle.close();
    }
    const now = await readBounded(file.target);
    if (now?.toString("utf8") !== file.text) {
      throw new CerverError(
        "conflict",
        `${file.path} was changed by another program just now. It was left alone.`,
        {
          hint: "Run this again; close the client first if it keeps happening.",
        },
      );
    }
    await rename(temporary, file.target);
    return { backup };
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    throw refused(error, file.path, "write");
  }
}

/** Keeps what is there as `FILE.cerver-backup-TIME`, and of such copies the newest three. */
async function keepBackup({ path, text, mode }: ConfigFile): Promise<string | undefined> {
  if (text === undefined) return undefined;
  const start = `${basename(path)}.cerver-backup-`;
  const backup = join(dirname(path), start + new Date().toISOString().replaceAll(":", "-"));
  await writeFile(backup, text, { mode: mode & 0o777, flag: "wx" });
  const all = (await readdir(dirname(path))).filter((name) => name.startsWith(start)).sort();
  for (const old of all.slice(0, -BACKUPS_KEPT)) await rm(join(dirname(path), old), { force: true });
  return backup;
}

/** Where a path leads in the end; the last name need not be there. */
async function endOfLinks(path: string): Promise<string> {
  let at = path;
  for (let links = 0; links < MAX_LINKS; links++) {
    const about = await lstat(at).catch(absent);
    if (!about?.isSymbolicLink()) return about ? realpath(at) : at;
    at = resolve(dirname(at), await readlink(at));
  }
  throw new CerverError("invalid_request", `${path} is a link that leads back to itself.`, {
    hint: "Remove the link, then run this again.",
  });
}

async function readBounded(path: string): Promise<Buffer | undefined> {
  const about = await stat(path).catch(absent);
  if (!about) return undefined;
  if (!about.isFile())
    throw new CerverError("invalid_request", `${path} is no file.`, {
      hint: "Move it away, then run this again.",
    });
  if (about.size > MAX_BYTES)
    throw new CerverError(
      "too_large",
      `${path} is larger than ${MAX_BYTES / 1024 ** 2} MiB. It was left alone.`,
      {
        hint: "Run this with --print, and put in by hand what it says.",
      },
    );
  return readFile(path);
}

function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code === "ENOENT") return undefined;
  throw error;
}

/** What the system says of a file, in words; anything else as it is. */
function refused(error: unknown, path: string, verb: "read" | "write"): unknown {
  const code = (error as NodeJS.ErrnoException | undefined)?.code ?? "";
  const why = {
    EACCES: "this user may not",
    EPERM: "this user may not",
    EROFS: "its file system is read-only",
    ENOTDIR: "a folder on its way is a file",
    ELOOP: "its links lead in a circle",
  }[code];
  if (!why || error instanceof CerverError) return error;
  return new CerverError("forbidden", `cerver cannot ${verb} ${path}: ${why}. Nothing was changed.`, {
    hint: "Change who may write there, or run this with --print and put in by hand what it says.",
    cause: error,
  });
}
