import { type ChildProcess, execFile, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createReadStream, readdirSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, realpath, rm, stat, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { constants, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import { StringDecoder } from "node:string_decoder";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { z } from "zod";

/** The hosts that the SDK, and our adapter, speak to. */
const VENDOR = /^https:\/\/(?:vercel\.com|api\.vercel\.com)(?=\/)/;
/** Every process of a VM carries it, so that stopping the VM finds them all. */
const MARK = "VERCEL_TEST_VM";
const MAX_LIFETIME_MS = 24 * 60 * 60_000;
const DEFAULT_LIFETIME_MS = 5 * 60_000;

export interface VercelServerOptions {
  token: string;
  teamId: string;
  projectId: string;
  /** What `/v2/user` says: unless given, `teamId`. */
  defaultTeamId?: string | null;
}

export interface Failure {
  status: number;
  code?: string;
  message?: string;
  retryAfter?: number;
}

type LogLine = { stream: "stdout" | "stderr"; data: string };

interface Cmd {
  id: string;
  name: string;
  args: string[];
  cwd: string;
  startedAt: number;
  endedAt?: number;
  exitCode: number | null;
  child: ChildProcess;
  log: LogLine[];
  /** Resolves at the next line, at the end, and when the VM stops. */
  news: PromiseWithResolver;
}

interface Vm {
  id: string;
  status: "running" | "stopping" | "stopped";
  startedAt: number;
  stoppedAt?: number;
  timeout: number;
  timer: NodeJS.Timeout;
  commands: Map<string, Cmd>;
}

interface Box {
  name: string;
  folder: string;
  cwd: string;
  createdAt: number;
  persistent: boolean;
  timeout: number;
  tags: Record<string, string>;
  env: Record<string, string>;
  ports: number[];
  runtime?: string;
  image?: string;
  vms: Vm[];
}

interface PromiseWithResolver {
  promise: Promise<void>;
  resolve: () => void;
}

const Create = z.strictObject({
  projectId: z.string(),
  ports: z.array(z.number().int().min(1).max(65_535)).max(15).optional(),
  timeout: z.number().int().min(1000).max(MAX_LIFETIME_MS).optional(),
  runtime: z.enum(["node22", "node24", "node26", "python3.13"]).optional(),
  image: z.string().optional(),
  name: z
    .string()
    .regex(/^[a-zA-Z0-9][\w.-]{0,127}$/)
    .optional(),
  persistent: z.boolean().optional(),
  env: z.record(z.string(), z.string()).optional(),
  tags: z
    .record(z.string(), z.string())
    .refine((tags) => Object.keys(tags).length <= 5)
    .optional(),
  snapshotExpiration: z.number().optional(),
  keepLastSnapshots: z.strictObject({ count: z.number().int().min(1).max(10) }).optional(),
});
const Start = z.strictObject({
  command: z.string().min(1),
  args: z.array(z.string()),
  cwd: z.string().optional(),
  env: z.record(z.string(), z.string()),
  sudo: z.boolean(),
  wait: z.boolean().optional(),
  logs: z.boolean().optional(),
  timeout: z.number().optional(),
});
const Kill = z.strictObject({ signal: z.number().int().min(1).max(64) });
const FilePath = z.strictObject({ path: z.string(), cwd: z.string().optional() });
const Update = z.looseObject({
  ports: z.array(z.number()).max(15).optional(),
  timeout: z.number().optional(),
});
const Extend = z.strictObject({ duration: z.number().positive() });

/** An answer other than 2xx, in the vendor's words. */
class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly retryAfter?: number,
  ) {
    super(message);
  }
}

function refusalFor({ status, code = "failed", message = "It failed on purpose", retryAfter }: Failure) {
  return new Refusal(status, code, message, retryAfter);
}

export type VercelServer = Awaited<ReturnType<typeof startVercelServer>>;

/**
 * Vercel's sandbox API as version 3.5.0 of the official SDK speaks it, over HTTP on loopback.
 *
 * A sandbox is a temporary folder, its commands are real processes. As at the vendor, a kill reaches one process, output is
 * text (bytes that are not UTF-8 are lost), logs are kept and read from their start, and a sandbox ends with its time.
 */
export async function startVercelServer(options: VercelServerOptions) {
  const root = await realpath(await mkdtemp(join(tmpdir(), "vercel-server-")));
  const boxes = new Map<string, Box>();
  const projects = new Set([options.projectId]);
  const requests: { method: string; path: string; authorization: string | undefined }[] = [];
  const faults = {
    creates: [] as Failure[],
    /** Creates whose answer is lost once the sandbox was made. */
    lostCreates: 0,
    createDelayMs: 0,
    /** Commands that are refused. */
    commands: [] as Failure[],
    /** How long the answer to a command is on its way. */
    commandDelayMs: 0,
    lostCommands: 0,
    /** Commands whose answer breaks off after its head. */
    cutCommands: 0,
    lostKills: 0,
    /** Deletes that are refused because the sandbox runs. */
    busyDeletes: 0,
    /** Looks at a command that are refused with 429. */
    busyLooks: 0,
    /** The image has no Node.js. */
    hasNoNode: false,
    /** Lines after which each log that is opened breaks off; one entry a log. */
    cuts: [] as number[],
    /** Bytes of a line without an end that begins each log that is opened; one entry a log. */
    longLines: [] as number[],
    /** MiB without an end of line that the next command's own output begins with. */
    noise: 0,
    /** All logs break off at once, for as long as this is set. */
    logsAreDown: false,
  };
  /** Bytes of logs that went out. */
  let logBytes = 0;
  let ids = 0;
  const newId = (kind: string) => `${kind}_${++ids}${randomBytes(8).toString("hex")}`;

  const server = createServer((request, response) => {
    serve(request, response).catch((error: unknown) => {
      if (response.headersSent || response.destroyed) return response.destroy();
      const refusal =
        error instanceof Refusal
          ? error
          : error instanceof z.ZodError
            ? new Refusal(
                400,
                "bad_request",
                `Invalid request: ${error.issues[0]?.path.join(".")} ${error.issues[0]?.message}`,
              )
            : new Refusal(500, "internal_server_error", `The test server failed: ${(error as Error).stack}`);
      const { status, code, message, retryAfter } = refusal;
      response.writeHead(status, {
        "content-type": "application/json",
        ...(retryAfter !== undefined && { "retry-after": String(retryAfter) }),
      });
      response.end(JSON.stringify({ error: { code, message } }));
    });
  });
  server.keepAliveTimeout = 500;
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams: query } = new URL(request.url!, url);
    const method = request.method!;
    requests.push({ method, path: pathname, authorization: request.headers.authorization });
    const body = await readBody(request);
    const json = () => JSON.parse(body.toString("utf8") || "{}");
    const answer = (value: unknown, status = 200) => {
      response.writeHead(status, { "content-type": "application/json" });
      response.end(JSON.stringify(value));
    };
    if (request.headers.authorization !== `Bearer ${options.token}`)
      throw new Refusal(403, "forbidden", "Not authorized");
    const path = pathname.replace(/^\/api/, "");
    if (path === "/v2/user") {
      const { defaultTeamId = options.teamId } = options;
      return answer({ user: { defaultTeamId, username: "tester", email: "tester@example.com" } });
    }
    if (path === "/v2/teams")
      return answer({
        teams: [
          { id: options.teamId, slug: "tester", membership: { role: "OWNER" }, billing: { plan: "hobby" } },
        ],
        pagination: { count: 1, next: null },
      });
    const team = query.get("teamId") ?? query.get("slug");
    if (team !== options.teamId)
      throw new Refusal(403, "forbidden", `You do not have access to team ${team}`);
    const project = /^\/v2\/projects\/([^/]+)$/.exec(path)?.[1];
    if (project !== undefined) {
      if (!projects.has(project)) throw new Refusal(404, "not_found", "Project not found");
      return answer({ id: project, name: project });
    }
    if (path === "/v11/projects" && method === "POST") {
      const { name } = z.strictObject({ name: z.string() }).parse(json());
      projects.add(name);
      return answer({ id: name, name });
    }
    const inProject = (id: string | null) => {
      if (id === null || !projects.has(id)) throw new Refusal(404, "not_found", "Project not found");
    };
    const create = /^\/v([23])\/sandboxes$/.exec(path);
    if (create && method === "POST") {
      const wanted = Create.parse(json());
      if ((create[1] === "2") !== (wanted.runtime !== undefined))
        throw new Refusal(400, "bad_request", "runtime belongs to version 2 of the API");
      inProject(wanted.projectId);
      const failure = faults.creates.shift();
      if (failure) throw refusalFor(failure);
      if (faults.createDelayMs > 0) await sleep(faults.createDelayMs);
      const box = await make(wanted);
      if (faults.lostCreates > 0) {
        faults.lostCreates--;
        return void response.destroy();
      }
      return answer(described(box));
    }
    if (path === "/v2/sandboxes" && method === "GET") {
      inProject(query.get("project"));
      return answer(listed(query));
    }
    const session = /^\/v2\/sandboxes\/sessions\/([^/]+)(\/.*)?$/.exec(path);
    if (session)
      return inVm(session[1]!, session[2] ?? "", method, { request, response, body, json, answer, query });
    const name = /^\/v2\/sandboxes\/([^/]+)$/.exec(path)?.[1];
    if (name !== undefined) {
      inProject(query.get("projectId"));
      const box = boxes.get(decodeURIComponent(name));
      if (!box) throw new Refusal(404, "not_found", "Sandbox not found");
      if (method === "GET") {
        const isAsleep = box.vms.at(-1)!.status !== "running";
        const resumed = isAsleep && query.get("resume") === "true";
        if (resumed) {
          if (!box.persistent) throw new Refusal(410, "sandbox_stopped", "Sandbox has stopped execution");
          if (box.vms.at(-1)!.status === "stopping")
            throw new Refusal(422, "sandbox_stopping", "Sandbox is stopping");
          box.vms.push(startVm(box));
        }
        return answer({ ...described(box), resumed });
      }
      if (method === "PATCH") {
        const { ports, timeout } = Update.parse(json());
        if (ports) box.ports = ports;
        if (timeout) box.timeout = timeout;
        const { sandbox, routes } = described(box);
        return answer({ sandbox, routes });
      }
      if (method === "DELETE") {
        const { sandbox } = described(box);
        if (faults.busyDeletes > 0 && sandbox.status === "running") {
          faults.busyDeletes--;
          throw new Refusal(422, "sandbox_running", "The sandbox is running");
        }
        boxes.delete(box.name);
        await endBox(box);
        return answer({ sandbox });
      }
    }
    throw new Refusal(404, "not_found", `There is no ${method} ${pathname}`);
  }

  async function make(wanted: z.infer<typeof Create>): Promise<Box> {
    const name = wanted.name ?? newId("sandbox");
    if (boxes.has(name)) throw new Refusal(409, "conflict", `A sandbox named ${name} exists`);
    const folder = await mkdtemp(join(root, "vm-"));
    const cwd = join(folder, "vercel", "sandbox");
    await mkdir(cwd, { recursive: true });
    await mkdir(join(folder, "home"));
    await mkdir(join(folder, "tmp"));
    const { timeout = DEFAULT_LIFETIME_MS, tags = {}, env = {}, ports = [], persistent = true } = wanted;
    const box: Box = {
      ...{ name, folder, cwd, persistent, timeout, tags, env, ports },
      createdAt: Date.now(),
      ...(wanted.runtime !== undefined && { runtime: wanted.runtime }),
      image: wanted.image ?? "vercel/sandbox/universal:latest",
      vms: [],
    };
    box.vms.push(startVm(box));
    boxes.set(name, box);
    return box;
  }

  function startVm(box: Box): Vm {
    const vm: Vm = {
      id: newId("sbx"),
      status: "running",
      startedAt: Date.now(),
      timeout: box.timeout,
      timer: setTimeout(() => void stopVm(vm), box.timeout),
      commands: new Map(),
    };
    return vm;
  }

  async function stopVm(vm: Vm): Promise<void> {
    if (vm.status === "stopped") return;
    vm.status = "stopping";
    clearTimeout(vm.timer);
    for (let quiet = 0; quiet < 2; ) {
      const pids = marked(vm.id);
      if (pids.length === 0) quiet++;
      for (const pid of pids) trySignal(pid, "SIGKILL");
      await sleep(10);
    }
    vm.status = "stopped";
    vm.stoppedAt = Date.now();
    for (const cmd of vm.commands.values()) tell(cmd);
  }

  async function endBox(box: Box): Promise<void> {
    await Promise.all(box.vms.map(stopVm));
    await rm(box.folder, { recursive: true, force: true });
  }

  interface Exchange {
    request: IncomingMessage;
    response: ServerResponse;
    body: Buffer;
    json: () => unknown;
    answer: (value: unknown, status?: number) => void;
    query: URLSearchParams;
  }

  async function inVm(id: string, rest: string, method: string, exchange: Exchange): Promise<void> {
    const { response, json, answer, body, request, query } = exchange;
    const found = [...boxes.values()]
      .flatMap((box) => box.vms.map((vm) => ({ box, vm })))
      .find(({ vm }) => vm.id === id);
    if (!found) throw new Refusal(404, "not_found", "Sandbox not found");
    const { box, vm } = found;
    if (rest === "" && method === "GET")
      return answer({ session: sessionOf(box, vm), routes: routesOf(box) });
    if (vm.status !== "running") {
      if (vm.status === "stopping") throw new Refusal(422, "sandbox_stopping", "Sandbox is stopping");
      throw new Refusal(410, "sandbox_stopped", "Sandbox has stopped execution and is no longer available");
    }
    if (rest === "/cmd" && method === "POST") {
      const wanted = Start.parse(json());
      if (wanted.wait) throw new Refusal(400, "bad_request", "This server starts detached commands only");
      const refused = faults.commands.shift();
      const cmd = refused ? undefined : await startCommand(box, vm, wanted);
      await sleep(faults.commandDelayMs);
      if (!cmd) throw refusalFor(refused!);
      if (faults.lostCommands > 0) {
        faults.lostCommands--;
        return void response.destroy();
      }
      if (faults.cutCommands > 0) {
        faults.cutCommands--;
        response.writeHead(200, { "content-type": "application/json" });
        return void response.write('{"command":', () => setTimeout(() => response.destroy(), 50));
      }
      return answer({ command: commandOf(vm, cmd) });
    }
    const [, cmdId, what = ""] = /^\/cmd\/([^/]+)(\/logs|\/kill)?$/.exec(rest) ?? [];
    if (cmdId !== undefined) {
      const cmd = vm.commands.get(cmdId);
      if (!cmd) throw new Refusal(404, "not_found", "Command not found");
      if (what === "/logs") return sendLog(vm, cmd, response);
      if (what === "/kill") {
        if (faults.lostKills > 0) {
          faults.lostKills--;
          return void response.destroy();
        }
        const { signal } = Kill.parse(json());
        if (cmd.exitCode === null) trySignal(cmd.child.pid!, signal);
        return answer({ command: commandOf(vm, cmd) });
      }
      if (faults.busyLooks > 0) {
        faults.busyLooks--;
        throw new Refusal(429, "rate_limited", "Too many requests", 1);
      }
      while (query.get("wait") === "true" && cmd.exitCode === null) await cmd.news.promise;
      return answer({ command: commandOf(vm, cmd) });
    }
    if (rest === "/fs/write") {
      if (request.headers["content-type"] !== "application/gzip")
        throw new Refusal(400, "bad_request", "Files come as application/gzip");
      await extract(box, body, String(request.headers["x-cwd"]));
      return answer({});
    }
    if (rest === "/fs/read") {
      const { path, cwd = box.cwd } = FilePath.parse(json());
      const target = inFolder(box, resolve(cwd, path));
      const info = await stat(target).catch(() => undefined);
      if (!info) throw new Refusal(404, "not_found", "File not found");
      if (!info.isFile()) throw new Refusal(400, "bad_request", "Not a file");
      response.writeHead(200, { "content-type": "application/octet-stream" });
      return pipeline(createReadStream(target), response);
    }
    if (rest === "/fs/mkdir") {
      const { path, cwd = box.cwd } = FilePath.parse(json());
      await mkdir(inFolder(box, resolve(cwd, path)));
      return answer({});
    }
    if (rest === "/stop") {
      await stopVm(vm);
      return answer({ session: sessionOf(box, vm), sandbox: described(box).sandbox });
    }
    if (rest === "/extend-timeout") {
      vm.timeout += Extend.parse(json()).duration;
      clearTimeout(vm.timer);
      vm.timer = setTimeout(() => void stopVm(vm), vm.startedAt + vm.timeout - Date.now());
      return answer({ session: sessionOf(box, vm) });
    }
    throw new Refusal(404, "not_found", `There is no ${method} ${rest} of a session`);
  }

  async function startCommand(box: Box, vm: Vm, wanted: z.infer<typeof Start>): Promise<Cmd> {
    const { command, args, env } = wanted;
    const cwd = resolve(box.cwd, wanted.cwd ?? ".");
    const file = faults.hasNoNode && command === "node" ? join(box.folder, "no-node-here") : command;
    const child = spawn(file, args, {
      cwd,
      env: {
        PATH: process.env.PATH!,
        HOME: join(box.folder, "home"),
        TMPDIR: join(box.folder, "tmp"),
        USER: "ubuntu",
        ...box.env,
        ...env,
        [MARK]: vm.id,
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const cmd: Cmd = {
      id: newId("cmd"),
      name: command,
      args,
      cwd,
      startedAt: Date.now(),
      exitCode: null,
      child,
      log: [],
      news: withResolver(),
    };
    vm.commands.set(cmd.id, cmd);
    for (; faults.noise > 0; faults.noise--)
      cmd.log.push({ stream: "stdout", data: "x".repeat(1024 * 1024) });
    for (const stream of ["stdout", "stderr"] as const) {
      const decoder = new StringDecoder("utf8");
      child[stream]!.on("data", (bytes: Buffer) => {
        cmd.log.push({ stream, data: decoder.write(bytes) });
        tell(cmd);
      });
    }
    const end = (exitCode: number) => {
      cmd.exitCode ??= exitCode;
      cmd.endedAt = Date.now();
      tell(cmd);
    };
    child.once("error", () => end(127));
    child.once("close", (code, signal) => end(code ?? 128 + constants.signals[signal!]));
    return cmd;
  }

  async function sendLog(vm: Vm, cmd: Cmd, response: ServerResponse): Promise<void> {
    const cutAfter = faults.cuts.shift();
    response.writeHead(200, { "content-type": "application/x-ndjson" });
    response.flushHeaders();
    response.write("x".repeat(faults.longLines.shift() ?? 0));
    const closed = once(response, "close");
    for (let at = 0; ; at++) {
      while (
        at >= cmd.log.length &&
        cmd.exitCode === null &&
        vm.status !== "stopped" &&
        !response.destroyed
      ) {
        if (faults.logsAreDown) break;
        await Promise.race([cmd.news.promise, closed]);
      }
      if (response.destroyed) return;
      if (faults.logsAreDown || (cutAfter !== undefined && at >= cutAfter)) return void response.destroy();
      const line = cmd.log[at];
      if (!line) break;
      const text = `${JSON.stringify(line)}\n`;
      logBytes += text.length;
      if (!response.write(text))
        await Promise.race([new Promise((go) => response.once("drain", go as () => void)), closed]);
    }
    if (vm.status === "stopped") {
      const data = { code: "sandbox_stopped", message: "Sandbox was stopped" };
      response.write(`${JSON.stringify({ stream: "error", data })}\n`);
    }
    response.end();
  }

  /** The real API unpacks at `/`; here nothing may land outside of the sandbox's folder. */
  async function extract(box: Box, archive: Buffer, at: string): Promise<void> {
    const file = join(box.folder, `${newId("upload")}.tgz`);
    await writeFile(file, archive);
    try {
      const { stdout } = await promisify(execFile)("tar", ["-tzf", file]);
      for (const name of stdout.split("\n").filter(Boolean)) inFolder(box, resolve(at, name));
      await promisify(execFile)("tar", ["-xzf", file, "-C", at, "--no-same-owner"]);
    } finally {
      await rm(file, { force: true });
    }
  }

  function inFolder(box: Box, path: string): string {
    if (path.startsWith(`${box.folder}/`)) return path;
    throw new Refusal(400, "bad_request", `The test server keeps out of ${path}`);
  }

  function listed(query: URLSearchParams) {
    const tags = query.getAll("tags").map((one) => one.split(/:(.*)/s));
    const limit = Number(query.get("limit") ?? 2);
    const from = Number(query.get("cursor") ?? 0);
    const all = [...boxes.values()].filter(({ tags: own }) =>
      tags.every(([key, value]) => own[key!] === value),
    );
    const page = all.slice(from, from + limit);
    const next = from + limit < all.length ? String(from + limit) : null;
    return { sandboxes: page.map((box) => described(box).sandbox), pagination: { count: page.length, next } };
  }

  function described(box: Box) {
    const vm = box.vms.at(-1)!;
    const { name, persistent, timeout, tags, createdAt, runtime, image, cwd } = box;
    return {
      sandbox: {
        ...{ name, persistent, timeout, tags, createdAt, image, cwd, region: "iad1", vcpus: 2, memory: 4096 },
        ...(runtime !== undefined && { runtime }),
        updatedAt: Date.now(),
        currentSessionId: vm.id,
        status: vm.status,
      },
      session: sessionOf(box, vm),
      routes: routesOf(box),
    };
  }

  function sessionOf({ cwd, createdAt }: Box, vm: Vm) {
    const { id, status, timeout, startedAt, stoppedAt } = vm;
    return {
      ...{ id, status, timeout, startedAt, cwd, createdAt, memory: 4096, vcpus: 2, region: "iad1" },
      ...(stoppedAt !== undefined && { stoppedAt }),
      requestedAt: startedAt,
      updatedAt: Date.now(),
    };
  }

  function routesOf({ name, ports }: Box) {
    return ports.map((port) => {
      const subdomain = `sb-${createHash("sha256").update(`${name}:${port}`).digest("hex").slice(0, 12)}`;
      return { port, subdomain, url: `https://${subdomain}.vercel.run` };
    });
  }

  function commandOf(vm: Vm, { id, name, args, cwd, exitCode, startedAt, endedAt }: Cmd) {
    return {
      ...{ id, name, args, cwd, exitCode, startedAt, sessionId: vm.id },
      ...(endedAt !== undefined && { durationMs: endedAt - startedAt }),
    };
  }

  return {
    url,
    faults,
    requests,
    /** A `fetch` that takes the vendor's hosts for this server. */
    fetch: ((input, init) => {
      const wanted = typeof input === "string" || input instanceof URL ? String(input) : input.url;
      if (!VENDOR.test(wanted)) throw new Error(`the test server does not play ${wanted}`);
      return fetch(wanted.replace(VENDOR, url), init);
    }) as typeof fetch,
    get logBytes() {
      return logBytes;
    },
    /** The names of the sandboxes that are there, asleep or not. */
    sandboxes: () => [...boxes.keys()],
    /** The pids of what runs in a sandbox, as its VM's kernel would see them. */
    processes: (name: string) => (boxes.get(name)?.vms ?? []).flatMap(({ id }) => marked(id)),
    folder: (name: string) => boxes.get(name)!.cwd,
    stop: async (name: string) => {
      await stopVm(boxes.get(name)!.vms.at(-1)!);
    },
    /** Kills the first process of every command, and nothing else, as the vendor's memory limit may. */
    killLeaders: (name: string) => {
      for (const cmd of boxes.get(name)!.vms.at(-1)!.commands.values())
        if (cmd.exitCode === null) trySignal(cmd.child.pid!, "SIGKILL");
    },
    async close() {
      await Promise.all([...boxes.values()].map(endBox));
      boxes.clear();
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
      await rm(root, { recursive: true, force: true });
    },
  };
}

function tell(cmd: Cmd): void {
  const { resolve } = cmd.news;
  cmd.news = withResolver();
  resolve();
}

function withResolver(): PromiseWithResolver {
  let resolve!: () => void;
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function marked(vmId: string): number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => {
      try {
        if (!Number.isInteger(pid) || readFileSync(`/proc/${pid}/stat`, "latin1").includes(") Z "))
          return false;
        return `\0${readFileSync(`/proc/${pid}/environ`, "latin1")}`.includes(`\0${MARK}=${vmId}\0`);
      } catch {
        return false;
      }
    });
}

function trySignal(pid: number, signal: NodeJS.Signals | number): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It is gone already.
  }
}
