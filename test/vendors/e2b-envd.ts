import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { lstat, mkdir, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { basename, dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type { E2bSandbox, EnvdProcess, ProcessConfig, ProcessEvent, TakeEvent } from "./e2b-sandbox.js";

/** A failure in the Connect protocol: a code of its own, and words. */
export class ConnectFailure extends Error {
  constructor(
    readonly code: keyof typeof HTTP_OF_CODE,
    message: string,
  ) {
    super(message);
  }
}

/** connectrpc.com/docs/protocol, "Error codes". */
const HTTP_OF_CODE = {
  invalid_argument: 400,
  not_found: 404,
  already_exists: 409,
  permission_denied: 403,
  internal: 500,
  unimplemented: 501,
} as const;

/** What may go wrong with a stream of events, on order. */
export interface StreamFaults {
  /** The next stream of a process breaks after so many events. */
  cutAfterEvents?: number | undefined;
  /** The next start of a process is late by so much. */
  delayStartMs?: number | undefined;
}

/** The daemon inside a sandbox: processes and folders by Connect RPC in JSON, files by plain HTTP. */
export class Envd {
  readonly #faults: StreamFaults;
  readonly #streams = new Map<ServerResponse, E2bSandbox>();

  constructor(faults: StreamFaults) {
    this.#faults = faults;
  }

  /** Breaks the streams of processes, of one sandbox or all, as a network does. The processes go on. */
  cut(only?: E2bSandbox): void {
    for (const [response, sandbox] of this.#streams) if (!only || sandbox === only) response.destroy();
  }

  async serve(
    sandbox: E2bSandbox,
    url: URL,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const user = userOf(request, url);
    if (url.pathname === "/health") return void response.writeHead(204).end();
    if (url.pathname === "/files") return this.#files(sandbox, url, user, request, response);
    const body = await bytesOf(request);
    if (url.pathname === "/process.Process/Start") {
      const order = JSON.parse(envelopeText(body)) as { process: ProcessConfig; stdin?: boolean };
      const { delayStartMs = 0 } = this.#faults;
      this.#faults.delayStartMs = undefined;
      if (delayStartMs > 0) await sleep(delayStartMs);
      return this.#stream(sandbox, request, response, () =>
        sandbox.start(order.process, user, order.stdin ?? false),
      );
    }
    if (url.pathname === "/process.Process/Connect") {
      const order = JSON.parse(envelopeText(body)) as Selecting;
      return this.#stream(sandbox, request, response, () => selected(sandbox, order));
    }
    try {
      const answer = await this.#unary(sandbox, url.pathname, user, JSON.parse(body.toString("utf8")));
      json(response, 200, answer);
    } catch (error) {
      const failure = asFailure(error);
      json(response, HTTP_OF_CODE[failure.code], { code: failure.code, message: failure.message });
    }
  }

  async #stream(
    sandbox: E2bSandbox,
    request: IncomingMessage,
    response: ServerResponse,
    open: () => EnvdProcess,
  ): Promise<void> {
    response.writeHead(200, { "content-type": "application/connect+json" });
    const write = (flags: number, message: unknown) => response.write(envelope(flags, message));
    let process: EnvdProcess;
    try {
      process = open();
    } catch (error) {
      const { code, message } = asFailure(error);
      write(2, { error: { code, message } });
      return void response.end();
    }
    this.#streams.set(response, sandbox);
    let left = this.#faults.cutAfterEvents ?? Number.POSITIVE_INFINITY;
    this.#faults.cutAfterEvents = undefined;
    const take: TakeEvent = async (event: ProcessEvent) => {
      if (response.destroyed) return;
      if (left-- <= 0) return void response.destroy();
      if (write(0, { event })) return;
      await drained(response);
    };
    response.once("close", () => process.leave(take));
    const seconds = Number(request.headers["keepalive-ping-interval"] ?? 90);
    const pings = setInterval(() => write(0, { event: { keepalive: {} } }), seconds * 1000);
    const limit = Number(request.headers["connect-timeout-ms"] ?? 0);
    const timer = limit > 0 ? setTimeout(() => process.signal("SIGKILL"), limit) : undefined;
    try {
      await process.follow(take);
      write(2, {});
      response.end();
    } finally {
      clearInterval(pings);
      clearTimeout(timer);
      this.#streams.delete(response);
    }
  }

  async #unary(sandbox: E2bSandbox, method: string, user: string, body: Message): Promise<unknown> {
    const at = (path: unknown) => sandbox.resolve(String(path ?? ""), user);
    switch (method) {
      case "/process.Process/List":
        return { processes: [...sandbox.processes.values()].map(({ pid, config }) => ({ pid, config })) };
      case "/process.Process/SendSignal":
        selected(sandbox, body).signal(body.signal === "SIGNAL_SIGKILL" ? "SIGKILL" : "SIGTERM");
        return {};
      case "/process.Process/SendInput":
        await selected(sandbox, body).write(Buffer.from(String(body.input?.stdin ?? ""), "base64"));
        return {};
      case "/process.Process/CloseStdin":
        selected(sandbox, body).closeStdin();
        return {};
      case "/filesystem.Filesystem/Stat":
        return { entry: await entryOf(at(body.path)) };
      case "/filesystem.Filesystem/ListDir": {
        const folder = at(body.path);
        const names = await readdir(folder);
        return { entries: await Promise.all(names.map((name) => entryOf(join(folder, name)))) };
      }
      case "/filesystem.Filesystem/MakeDir": {
        const folder = at(body.path);
        const there = await stat(folder).catch(() => undefined);
        if (there) throw new ConnectFailure("already_exists", `directory already exists: ${folder}`);
        await mkdir(folder, { recursive: true });
        return { entry: await entryOf(folder) };
      }
      case "/filesystem.Filesystem/Move":
        await mkdir(dirname(at(body.destination)), { recursive: true });
        await rename(at(body.source), at(body.destination));
        return { entry: await entryOf(at(body.destination)) };
      case "/filesystem.Filesystem/Remove":
        await rm(at(body.path), { recursive: true, force: true });
        return {};
      default:
        throw new ConnectFailure("unimplemented", `${method} is not implemented`);
    }
  }

  async #files(
    sandbox: E2bSandbox,
    url: URL,
    user: string,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const path = sandbox.resolve(url.searchParams.get("path") ?? "", user);
    if (request.method === "GET") return this.#download(path, response);
    const uploads = await uploadsOf(request, path, (name) => sandbox.resolve(name, user));
    const written = [];
    for (const { target, bytes } of uploads) {
      const there = await stat(target).catch(() => undefined);
      if (there?.isDirectory()) return json(response, 400, failed(400, `path is a directory: ${target}`));
      const folder = await mkdir(dirname(target), { recursive: true }).then(
        () => true,
        () => false,
      );
      if (!folder) return json(response, 400, failed(400, `path is a file: ${dirname(target)}`));
      await writeFile(target, bytes);
      written.push({ name: basename(target), type: "file", path: target });
    }
    json(response, 200, written);
  }

  async #download(path: string, response: ServerResponse): Promise<void> {
    const there = await stat(path).catch(() => undefined);
    if (!there) return json(response, 404, failed(404, `path '${path}' does not exist`));
    if (there.isDirectory()) return json(response, 400, failed(400, `path '${path}' is a directory`));
    const headers = { "content-type": "application/octet-stream", "content-length": there.size };
    response.writeHead(200, headers);
    await pipeline(createReadStream(path), response).catch(() => response.destroy());
  }
}

interface Selecting {
  process?: { pid?: number };
}
interface Message extends Selecting {
  path?: unknown;
  source?: unknown;
  destination?: unknown;
  signal?: unknown;
  input?: { stdin?: unknown };
}

function selected(sandbox: E2bSandbox, { process }: Selecting): EnvdProcess {
  const found = sandbox.processes.get(process?.pid ?? -1);
  if (found) return found;
  throw new ConnectFailure("not_found", `process with pid ${process?.pid} not found`);
}

async function entryOf(path: string) {
  const own = await lstat(path);
  const meant = await stat(path).catch(() => own);
  return {
    name: basename(path),
    path,
    type: meant.isDirectory()
      ? "FILE_TYPE_DIRECTORY"
      : meant.isFile()
        ? "FILE_TYPE_FILE"
        : meant.isSymbolicLink()
          ? "FILE_TYPE_SYMLINK"
          : "FILE_TYPE_UNSPECIFIED",
    size: String(meant.size),
    mode: meant.mode & 0o7777,
    permissions: "-rw-r--r--",
    owner: "user",
    group: "user",
    modifiedTime: meant.mtime.toISOString(),
  };
}

async function uploadsOf(request: IncomingMessage, path: string, resolve: (name: string) => string) {
  const bytes = await bytesOf(request);
  const type = request.headers["content-type"] ?? "";
  if (!type.startsWith("multipart/form-data")) return [{ target: path, bytes }];
  const form = await new Response(new Uint8Array(bytes), { headers: { "content-type": type } }).formData();
  const byQuery = new URL(request.url!, "http://envd").searchParams.has("path");
  return Promise.all(
    form.getAll("file").map(async (part) => {
      const file = part as File;
      const target = byQuery ? path : resolve(file.name);
      return { target, bytes: Buffer.from(await file.arrayBuffer()) };
    }),
  );
}

function asFailure(error: unknown): ConnectFailure {
  if (error instanceof ConnectFailure) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "ENOENT") return new ConnectFailure("not_found", `file not found: ${message}`);
  if (/^cwd /.test(message)) return new ConnectFailure("invalid_argument", message);
  if (/^permission denied/.test(message)) return new ConnectFailure("permission_denied", message);
  return new ConnectFailure("internal", message);
}

function userOf(request: IncomingMessage, url: URL): string {
  const [, basic] = /^Basic (.+)$/.exec(request.headers.authorization ?? "") ?? [];
  const [named] = Buffer.from(basic ?? "", "base64")
    .toString("utf8")
    .split(":");
  return url.searchParams.get("username") || named || "user";
}

/** Resolves when there is room again, or nobody there. */
function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      response.off("drain", done).off("close", done);
      resolve();
    };
    response.on("drain", done).on("close", done);
  });
}

/** One message of a stream: flags, length, JSON (connectrpc.com/docs/protocol, "Streaming RPCs"). */
function envelope(flags: number, message: unknown): Buffer {
  const text = Buffer.from(JSON.stringify(message));
  const head = Buffer.alloc(5);
  head.writeUInt8(flags, 0);
  head.writeUInt32BE(text.length, 1);
  return Buffer.concat([head, text]);
}

function envelopeText(body: Buffer): string {
  return body.subarray(5, 5 + body.readUInt32BE(1)).toString("utf8");
}

export async function bytesOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

export function json(response: ServerResponse, status: number, body: unknown, headers = {}): void {
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(JSON.stringify(body));
}

export function failed(code: number, message: string) {
  return { code, message };
}

/** An id that looks like one of E2B's. */
export function sandboxIdOf(seed: string): string {
  return `i${createHash("sha256").update(seed).digest("hex").slice(0, 19)}`;
}
