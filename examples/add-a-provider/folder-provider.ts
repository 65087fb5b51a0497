import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdir, readdir, readFile, realpath, rm, stat, writeFile } from "node:fs/promises";
import { constants } from "node:os";
import { dirname, join, resolve, sep } from "node:path";
import type { Readable } from "node:stream";
import type { ProviderAdapter, SandboxRecord } from "../../src/gateway/compute/contract.js";
import { type RunAtVendor, vendorAnswer, vendorStream } from "../../src/gateway/compute/vendor-run.js";
import { CerverError } from "../../src/protocol/errors.js";
import { parse } from "../../src/protocol/parse.js";
import type { ProviderName } from "../../src/protocol/providers.js";
import { Environment } from "../../src/protocol/runs.js";
import {
  type FileContent,
  InstallRequest,
  SandboxRunRequest,
  SandboxState,
  WriteFileRequest,
} from "../../src/protocol/sandbox.js";

// A provider of your own has its name in PROVIDER_NAMES of src/protocol/providers.ts.
const NAME = "folder" as ProviderName;

/**
 * A provider whose sandboxes are plain folders of this machine: the smallest that keeps the whole contract, on Linux.
 *
 * It shows how an adapter is made. It is no wall: what runs in a sandbox may do what this user may.
 */
export function folderProvider(root: string): ProviderAdapter {
  return {
    providerName: NAME,

    async createSandbox({ metadata }, { computeId }) {
      const record: SandboxRecord = { sandboxId: `folder_${randomUUID()}`, computeId, provider: NAME };
      const env = parse(Environment, metadata.env ?? {});
      await mkdir(join(placeOf(record), "work"), { recursive: true });
      await writeFile(join(placeOf(record), "env.json"), JSON.stringify(env));
      await writeFile(join(placeOf(record), "state.json"), "{}");
      return record;
    },

    async runSandbox(record, given, { signal }) {
      const request = accepted(given);
      return vendorAnswer(request, signal, await prepared(record, request));
    },

    async runSandboxStream(record, given, { signal }) {
      const request = accepted(given);
      return vendorStream(request, signal, await prepared(record, request));
    },

    async installPackage(record, given, { signal }) {
      const { package: name, manager, timeout, run_id } = parse(InstallRequest, given);
      if (!PACKAGE_NAME.test(name)) {
        throw new CerverError("invalid_request", `package: "${name}" is not a package's name.`, {
          hint: "Give one name, with a version if you like: left-pad@1.3.0.",
        });
      }
      const code = manager === "npm" ? `npm install -- '${name}'` : `pip install --target . -- '${name}'`;
      const request = accepted({ code, runtime: "shell", timeout, ...(run_id && { run_id }) });
      return vendorAnswer(request, signal, await prepared(record, request));
    },

    async writeFile(record, given) {
      const { path, content, encoding } = parse(WriteFileRequest, given);
      const file = await inside(record, path);
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, Buffer.from(content, encoding));
      return Response.json({ success: true, path, size: Buffer.byteLength(content, encoding) });
    },

    async readFile(record, path, encoding) {
      const file = await inside(record, path);
      const bytes = await readFile(file).catch((error: NodeJS.ErrnoException) => {
        if (error.code === "EISDIR") throw new CerverError("invalid_request", `path: "${path}" is a folder.`);
        throw new CerverError("file_not_found", `path: there is no file "${path}" in this sandbox.`);
      });
      const answer: FileContent = { path, content: bytes.toString(encoding), encoding, size: bytes.length };
      return Response.json(answer);
    },

    async getState(record) {
      const text = await readFile(join(await found(record), "state.json"), "utf8");
      return Response.json({ state: JSON.parse(text) });
    },

    async setState(record, state) {
      const text = JSON.stringify(parse(SandboxState, state));
      await writeFile(join(await found(record), "state.json"), text);
      return Response.json({ success: true });
    },

    /** Deleting what is not there is no failure: whoever deletes wants it gone. */
    async deleteSandbox(record) {
      await endMarked(markOf(record));
      await rm(placeOf(record), { recursive: true, force: true, maxRetries: 3, retryDelay: 50 });
      return Response.json({ success: true });
    },
  };

  function placeOf({ sandboxId }: SandboxRecord): string {
    // An id becomes a part of a path, so it is one of ours or none.
    return join(root, /^folder_[0-9a-f-]{36}$/.test(sandboxId) ? sandboxId : "none");
  }

  /** The sandbox's place. Throws `sandbox_not_found` when it was deleted, or never was. */
  async function found(record: SandboxRecord): Promise<string> {
    const place = placeOf(record);
    if (await stat(place).catch(() => undefined)) return realpath(place);
    throw new CerverError("sandbox_not_found", `There is no sandbox ${record.sandboxId}.`, {
      hint: "It was deleted. Create a new session.",
    });
  }

  /** A path of a file in the sandbox; what leaves its folder is refused, through links too. */
  async function inside(record: SandboxRecord, path: string): Promise<string> {
    const work = join(await found(record), "work");
    const file = resolve(work, path);
    let real = file;
    // Of a file that is yet to be written, the nearest folder that is there counts.
    for (let at = file; ; at = dirname(at)) {
      const there = await realpath(at).catch(() => undefined);
      if (there === undefined) continue;
      real = there + file.slice(at.length);
      break;
    }
    if (path !== "" && real.startsWith(work + sep)) return real;
    throw new CerverError("forbidden", `path: "${path}" is not in this sandbox's folder.`, {
      hint: "Use a path relative to it.",
    });
  }

  /** How a run is done here. What cannot run is refused before anything does. */
  async function prepared(record: SandboxRecord, request: SandboxRunRequest): Promise<RunAtVendor> {
    const place = await found(record);
    const work = join(place, "work");
    const cwd = await folderFor(work, request.cwd);
    const env = {
      PATH: "/usr/local/bin:/usr/bin:/bin",
      HOME: work,
      ...(JSON.parse(await readFile(join(place, "env.json"), "utf8")) as Record<string, string>),
      ...request.envs,
      [MARK]: `${markOf(record)} run_${randomUUID()}`,
    };
    return async (output, signal, begun) => {
      // As a file the text may be of any length; a module lies where the packages it imports are.
      const isNode = request.runtime === "node";
      const script = isNode ? join(work, `.run-${randomUUID()}.mjs`) : join(place, `${randomUUID()}.sh`);
      await writeFile(script, request.code);
      const child = spawn(isNode ? process.execPath : "/bin/sh", [script], {
        cwd,
        env,
        stdio: ["pipe", "pipe", "pipe"],
      });
      child.once("spawn", begun);
      const end = () => void endMarked(env[MARK]);
      signal.addEventListener("abort", end, { once: true });
      if (signal.aborted) end();
      child.stdin.on("error", () => {});
      child.stdin.end(request.stdin ?? "");
      const read = async (stream: "stdout" | "stderr", from: Readable) => {
        for await (const chunk of from) await output(stream, chunk as Buffer);
      };
      const reading = Promise.all([read("stdout", child.stdout), read("stderr", child.stderr)]);
      try {
        const [code, name] = (await once(child, "exit")) as [number | null, NodeJS.Signals | null];
        // What the command left behind ends with it, and with that its output does.
        await endMarked(env[MARK]);
        await reading;
        signal.throwIfAborted();
        return name ? { exitCode: 128 + constants.signals[name], signal: name } : { exitCode: code ?? 1 };
      } finally {
        signal.removeEventListener("abort", end);
        await rm(script, { force: true });
      }
    };
  }
}

/** One package, with a version if wanted: no option, no path, no command. */
const PACKAGE_NAME = /^(?:@[a-z0-9][\w.-]*\/)?[a-z0-9][\w.-]*(?:@[\w.^~-]+)?$/i;

/** The variable by which the processes of a run are known, whatever session or parent they have. */
const MARK = "FOLDER_PROVIDER_RUN";

function markOf({ sandboxId }: SandboxRecord): string {
  return `sandbox_${sandboxId}`;
}

/** A request with nothing in it that would be ignored. */
function accepted(given: SandboxRunRequest): SandboxRunRequest {
  const request = parse(SandboxRunRequest, given);
  for (const option of ["background", "stdin_open"] as const) {
    if (!request[option]) continue;
    throw new CerverError("unsupported", `${option}: runs end with their request here.`, {
      hint: "Leave it out, or let a provider do it whose runs are durable.",
    });
  }
  return request;
}

async function folderFor(work: string, cwd = "."): Promise<string> {
  const folder = await realpath(resolve(work, cwd)).catch(() => resolve(work, cwd));
  if (folder !== work && !folder.startsWith(work + sep))
    throw new CerverError("forbidden", `cwd: "${cwd}" is outside of this sandbox's folder.`);
  if ((await stat(folder).catch(() => undefined))?.isDirectory()) return folder;
  throw new CerverError("invalid_request", `cwd: the folder "${cwd}" does not exist in this sandbox.`, {
    hint: "Create it first, for example with mkdir -p.",
  });
}

/** Ends every process with this mark, until there is none: one that was just being started shows up late. */
async function endMarked(mark: string): Promise<void> {
  for (let round = 0; round < 250; round++) {
    const pids = await marked(mark);
    if (pids.length === 0) return;
    for (const pid of pids) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It ended by itself.
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function marked(mark: string): Promise<number[]> {
  const pids: number[] = [];
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const environment = await readFile(`/proc/${name}/environ`, "latin1").catch(() => "");
    if (environment.split("\0").some((line) => line.startsWith(`${MARK}=${mark}`))) pids.push(Number(name));
  }
  return pids;
}
