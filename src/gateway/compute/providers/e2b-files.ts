import { isAbsolute, posix } from "node:path";
import type { Sandbox } from "e2b";
import { CerverError } from "../../../protocol/errors.js";
import type { FileEncoding } from "../../../protocol/sandbox.js";
import { type FileContent, MAX_FILE_BYTES, type WriteFileRequest } from "../../../protocol/sandbox.js";
import { parseJson } from "../../../util/parse-json.js";
import { keptState, MAX_STATE_BYTES, readUpTo, stateChanged, tooLarge } from "../vendor-files.js";
import type { Explain } from "./e2b-run.js";
import { OWN_FOLDER, WORK_FOLDER } from "./e2b-scripts.js";

/** How long the largest file may be on its way: the SDK's own limit is a minute. */
const TRANSFER_MS = 300_000;
const STATE_FILE = `${OWN_FOLDER}/state.json`;

/** The files of one sandbox. Paths are relative to the session's working folder and may not leave it. */
export class E2bFiles {
  readonly #sandbox: Sandbox;
  readonly #explain: Explain;
  readonly #signal: AbortSignal;

  constructor(sandbox: Sandbox, explain: Explain, signal: AbortSignal) {
    this.#sandbox = sandbox;
    this.#explain = explain;
    this.#signal = signal;
  }

  async read(path: string, encoding: FileEncoding): Promise<FileContent> {
    const target = await this.place(path, "path");
    const doing = "read a file";
    const info = await this.#ask(path, doing, () =>
      this.#sandbox.files.getInfo(target, { signal: this.#signal }),
    );
    if (info.type !== "file") {
      throw new CerverError("invalid_request", `path: "${path}" is not a regular file.`, {
        hint: "Only files can be read; list a folder with a run, for example `ls`.",
      });
    }
    if (info.size > MAX_FILE_BYTES) throw tooLarge(path);
    const bytes = await this.#ask(path, doing, () =>
      this.#bytes(target, MAX_FILE_BYTES, () => tooLarge(path)),
    );
    return { path, content: bytes.toString(encoding), encoding, size: bytes.length };
  }

  /** Makes the folders on the way. */
  async write({ path, content, encoding }: WriteFileRequest): Promise<{ path: string; size: number }> {
    const bytes = Buffer.from(content, encoding);
    if (bytes.length > MAX_FILE_BYTES) throw tooLarge(path);
    const target = await this.place(path, "path");
    if (target === WORK_FOLDER) throw outside("path", path, "it is the sandbox's folder itself");
    await this.#ask(path, "write a file", () =>
      this.#sandbox.files.write(target, new Blob([bytes]), {
        signal: this.#signal,
        requestTimeoutMs: TRANSFER_MS,
      }),
    );
    return { path, size: bytes.length };
  }

  /** Outside of the working folder, where nobody stumbles over it. */
  async state(): Promise<Record<string, unknown>> {
    try {
      return keptState(parseJson(String(await this.#bytes(STATE_FILE, MAX_STATE_BYTES, stateChanged))));
    } catch (error) {
      if ((error as Error).name === "FileNotFoundError") return {};
      this.#signal.throwIfAborted();
      throw await this.#explain(error, "read the state");
    }
  }

  async setState(state: Record<string, unknown>): Promise<void> {
    await this.#ask(STATE_FILE, "write the state", () =>
      this.#sandbox.files.write(STATE_FILE, JSON.stringify(state), { signal: this.#signal }),
    );
  }

  /** What a path means, in envd's words: `~/work/...`. Throws `forbidden` for one that leaves the working folder. */
  async place(path: string, field: "path" | "cwd"): Promise<string> {
    if (path === "") throw new CerverError("invalid_request", `${field}: say which.`);
    if (path.includes("\0")) throw outside(field, path.replaceAll("\0", "\\0"), "it holds a NUL character");
    let within = posix.normalize(path);
    if (isAbsolute(path)) {
      const root = await this.#ask(path, "find the working folder", () =>
        this.#sandbox.files.getInfo(WORK_FOLDER, { signal: this.#signal }),
      );
      within = posix.relative(root.path, within);
      if (within === ".." || within.startsWith("../"))
        throw outside(field, path, "it is an absolute path to another place");
    }
    within = within.replace(/\/+$/, "");
    if (within === ".." || within.startsWith("../")) throw outside(field, path, "it leads up and out");
    return within === "" || within === "." ? WORK_FOLDER : `${WORK_FOLDER}/${within}`;
  }

  async #bytes(target: string, max: number, tooMuch: () => CerverError): Promise<Buffer> {
    const stream = await this.#sandbox.files.read(target, { format: "stream", signal: this.#signal });
    return readUpTo(max, stream as unknown as AsyncIterable<Uint8Array>, tooMuch);
  }

  async #ask<T>(path: string, doing: string, call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      this.#signal.throwIfAborted();
      if (error instanceof CerverError) throw error;
      throw fileError(error, path) ?? (await this.#explain(error, doing));
    }
  }
}

/** What envd says about a file, in our words; undefined when it is about something else. */
function fileError(error: unknown, path: string): CerverError | undefined {
  const { name, message } = error as Error;
  const cause = { cause: error };
  if (name === "FileNotFoundError")
    return new CerverError("file_not_found", `path: there is no file "${path}" in this sandbox.`, cause);
  if (/not a directory|path is a file/i.test(message))
    return new CerverError("invalid_request", `path: a part of "${path}" is a file, not a folder.`, cause);
  if (/is a directory/i.test(message))
    return new CerverError("invalid_request", `path: "${path}" is a folder.`, cause);
  if (/file ?name too long/i.test(message))
    return new CerverError("invalid_request", "path: a name in it is too long.", cause);
  if (/permission denied/i.test(message))
    return new CerverError("forbidden", `path: this user may not open "${path}".`, cause);
  if (name !== "NotEnoughSpaceError") return undefined;
  return new CerverError("provider_failed", "The disk of this sandbox is full.", {
    hint: "Free some space there, then write again.",
    ...cause,
  });
}

function outside(field: string, path: string, why: string): CerverError {
  return new CerverError("forbidden", `${field}: "${path}" is outside of this sandbox's folder: ${why}.`, {
    hint: "Use a path inside the session's working folder.",
  });
}
