import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createReadStream, readdirSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";

interface Worker {
  fetch(request: Request, env: object, ctx: object): Promise<Response>;
}

/** The vendor's bridge, as `@cloudflare/sandbox/bridge` exports it, and our example that is made of it. */
interface VendorBridge {
  bridge(worker: object): Worker;
  example: Worker;
  WarmPool: new (ctx: object, env: object) => object;
}

/** What goes wrong next, once. */
export type Fault =
  /** The next create is answered with this status by what stands before the bridge. */
  | { create: number; retryAfter?: number }
  /** The next create is done, and its answer is lost. */
  | { create: "lost" }
  /** The stream of the next run is cut after its first output; the command goes on. */
  | { run: "cut" }
  /** The program that executes the next run's command dies without a word, as when memory runs out. */
  | { run: "runner-killed" };

export interface FakeCloudflare {
  url: string;
  key: string;
  /** The folder on this machine that holds every container. */
  root: string;
  fail(fault: Fault): void;
  /** The ids of the sandboxes that have a container that runs; one that was lost is "nobody's". */
  sandboxes(): string[];
  /** The working folder of a sandbox on this machine. */
  folder(sandboxId: string): string;
  /** The container stops, as when it fell asleep: its files are gone. */
  sleep(sandboxId: string): Promise<void>;
  /** Every request so far, as "POST /v1/sandbox/ID/exec". */
  requests: string[];
  /** Every command that was asked for: the vendor writes these into its logs. */
  commands: string[];
  close(): Promise<void>;
}

/**
 * Cloudflare's own bridge Worker, routes, authorization, checks, warm pool and wire format, in Node over loopback HTTP.
 *
 * Only what is below is ours: the runtime's module `cloudflare:workers`, and the Sandbox Durable Object, in whose place
 * stands one that really executes commands, with bash, in a temporary folder per container.
 */
export async function startCloudflareBridge({ key = "test-key" } = {}): Promise<FakeCloudflare> {
  const vendor = await loadBridge();
  const root = await realpath(await mkdtemp(join(tmpdir(), "cloudflare-bridge-")));
  const faults: Fault[] = [];
  const requests: string[] = [];
  const commands: string[] = [];
  const containers = new Map<string, Container>();
  const durableObject = <T>(make: (name: string) => T) => {
    const made = new Map<string, T>();
    return {
      idFromName: (name: string) => name,
      get: (name: string) => {
        if (!made.has(name)) made.set(name, make(name));
        return made.get(name)!;
      },
    };
  };
  const Sandbox = durableObject((name) => {
    const container = new Container(join(root, name));
    containers.set(name, container);
    return container;
  });
  let pool!: { assignments: Map<string, string> };
  const env = {
    SANDBOX_API_KEY: key,
    Sandbox,
    WarmPool: durableObject(() => {
      pool = new vendor.WarmPool(poolContext(), env) as typeof pool;
      return pool;
    }),
  };
  // The example serves nobody when there is no key; the bare bridge does.
  const worker = key === "" ? vendor.bridge({}) : vendor.example;

  const take = <K extends "create" | "run">(kind: K): (Fault & Record<K, unknown>) | undefined => {
    const at = faults.findIndex((fault) => kind in fault);
    return at === -1 ? undefined : (faults.splice(at, 1)[0] as Fault & Record<K, unknown>);
  };
  const serve = async (incoming: IncomingMessage, answer: ServerResponse) => {
    const path = incoming.url!;
    requests.push(`${incoming.method} ${path}`);
    const body = await read(incoming);
    const command = path.endsWith("/exec") ? String(JSON.parse(body.toString() || "{}").argv?.[2] ?? "") : "";
    if (command) commands.push(command);
    const create = /mkdir -p/.test(command)
      ? (take("create") as { create: number | "lost"; retryAfter?: number })
      : undefined;
    if (typeof create?.create === "number") {
      const code = { 401: "unauthorized", 429: "rate_limited" }[create.create] ?? "internal_error";
      answer.writeHead(create.create, {
        "content-type": "application/json",
        ...(create.retryAfter !== undefined && { "retry-after": String(create.retryAfter) }),
      });
      answer.end(JSON.stringify({ error: `the vendor says no (${create.create})`, code }));
      return;
    }
    const run = /mkfifo/.test(command) ? (take("run") as { run: string } | undefined)?.run : undefined;
    const request = new Request(`http://bridge${path}`, {
      method: incoming.method!,
      headers: incoming.headers as Record<string, string>,
      ...(body.length > 0 && { body }),
    });
    const response = await worker.fetch(request, env, { waitUntil() {} });
    if (create?.create === "lost") {
      await response.arrayBuffer();
      answer.destroy();
      return;
    }
    answer.writeHead(response.status, Object.fromEntries(response.headers));
    if (!response.body) {
      answer.end();
      return;
    }
    const reader = response.body.getReader();
    let isOpen = true;
    let goOn: (() => void) | undefined;
    answer.on("drain", () => goOn?.());
    answer.on("close", () => {
      isOpen = false;
      goOn?.();
    });
    // The command does not end because its reader has left: the Durable Object reads on.
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      if (!isOpen) continue;
      const isReady = answer.write(value);
      if (run && Buffer.from(value).includes("event: stdout") && !isFirstFrame(value)) {
        if (run === "cut") setTimeout(() => answer.destroy(), 50);
        if (run === "runner-killed") killRunners(root);
      }
      if (!isReady && isOpen) {
        await new Promise<void>((resolve) => {
          goOn = resolve;
        });
      }
    }
    answer.end();
  };
  const server = createServer((incoming, answer) => {
    serve(incoming, answer).catch((error) => {
      if (!answer.headersSent) answer.writeHead(500);
      answer.end(String(error));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");

  const containerOf = (sandboxId: string) => containers.get(pool?.assignments.get(sandboxId) ?? "");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    key,
    root,
    requests,
    commands,
    fail: (fault) => void faults.push(fault),
    sandboxes: () =>
      [...containers].flatMap(([name, { isRunning }]) => {
        const id = [...(pool?.assignments ?? [])].find(([, assigned]) => assigned === name)?.[0];
        return isRunning ? [id ?? `nobody's ${name}`] : [];
      }),
    folder: (sandboxId) => join(containerOf(sandboxId)!.workspace, "work"),
    sleep: async (sandboxId) => containerOf(sandboxId)?.destroy(),
    async close() {
      server.closeAllConnections();
      server.close();
      await Promise.all([...containers.values()].map((container) => container.destroy()));
      await rm(root, { recursive: true, force: true });
    },
  };
}

/** The first frame only says that the command has begun. */
function isFirstFrame(event: Uint8Array): boolean {
  const data = /^data: (.*)$/m.exec(Buffer.from(event).toString())?.[1] ?? "";
  return Buffer.from(data, "base64").toString() === "b\n";
}

/**
 * What the bridge asks of the Sandbox Durable Object, done on this machine. The bridge reaches it through a Proxy, which
 * keeps #private members from it.
 */
class Container {
  private readonly root: string;
  private readonly children = new Set<ChildProcess>();
  isRunning = false;

  constructor(root: string) {
    this.root = root;
  }

  get workspace(): string {
    return join(this.root, "workspace");
  }

  // What the warm pool asks.

  async startAndWaitForPorts(): Promise<void> {
    await mkdir(this.workspace, { recursive: true });
    await mkdir(join(this.root, "home"), { recursive: true });
    this.isRunning = true;
  }
  async getState() {
    return { status: this.isRunning ? "healthy" : "stopped" };
  }
  renewActivityTimeout(): void {}
  async stop(): Promise<void> {
    await this.destroy();
  }
  async destroy(): Promise<void> {
    this.isRunning = false;
    for (const child of this.children) child.kill("SIGKILL");
    // As when a container ends: everything in it, however it left its group.
    for (const deadline = Date.now() + 5_000; Date.now() < deadline; ) {
      const pids = pidsWith(`CONTAINER=${this.root}`, this.root);
      if (pids.length === 0) break;
      for (const pid of pids) kill(pid);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await rm(this.root, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  }

  // What the bridge's routes ask.

  async configure(): Promise<void> {}

  async execWithSessionToken(
    command: string,
    _token: string,
    options: {
      cwd?: string;
      timeout?: number;
      onOutput?(stream: "stdout" | "stderr", text: string): void;
      onComplete?(result: { exitCode: number }): void;
      onError?(error: Error): void;
    } = {},
  ): Promise<{ exitCode: number; stdout: string; stderr: string }> {
    const child = spawn("bash", ["-c", command], {
      cwd: options.cwd ? this.at(options.cwd) : this.workspace,
      env: {
        PATH: `${join(this.root, "home/bin")}:${process.env.PATH}`,
        HOME: join(this.root, "home"),
        LANG: "C.UTF-8",
        CONTAINER: this.root,
      },
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.children.add(child);
    const printed = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const) {
      // The container decodes as text, and does not wait for anybody.
      child[name].setEncoding("utf8").on("data", (text: string) => {
        printed[name] += text;
        options.onOutput?.(name, text);
      });
    }
    const timer =
      options.timeout && setTimeout(() => kill(-child.pid!), Math.min(options.timeout, 2 ** 31 - 1));
    try {
      const [code] = await once(child, "close");
      if (!this.isRunning) throw new Error("Container stopped while a command was running");
      const result = { exitCode: code ?? 137, ...printed };
      options.onComplete?.(result);
      return result;
    } catch (error) {
      options.onError?.(error as Error);
      throw error;
    } finally {
      clearTimeout(timer);
      this.children.delete(child);
    }
  }

  async writeFile(path: string, content: string, { encoding }: { encoding: "base64" }): Promise<void> {
    await writeFile(this.at(path), Buffer.from(content, encoding));
  }

  async readFileStream(path: string): Promise<ReadableStream> {
    return Readable.toWeb(createReadStream(this.at(path))) as ReadableStream;
  }

  /** Where the vendor would open a tunnel, the port itself is shown. */
  async callTunnels(method: string, [port]: [number]): Promise<unknown> {
    if (method !== "get") return undefined;
    return {
      id: "t",
      port,
      url: `http://127.0.0.1:${port}`,
      hostname: "127.0.0.1",
      createdAt: new Date().toISOString(),
    };
  }

  private at(path: string): string {
    if (path !== "/workspace" && !path.startsWith("/workspace/"))
      throw new Error(`not in the workspace: ${path}`);
    return join(this.root, path);
  }
}

let loaded: Promise<VendorBridge> | undefined;

/** The vendor's bundle, with the modules of Cloudflare's runtime replaced and its console quiet. */
function loadBridge(): Promise<VendorBridge> {
  loaded ??= (async () => {
    const folder = await mkdtemp(join(tmpdir(), "cloudflare-vendor-"));
    const outfile = join(folder, "bridge.mjs");
    try {
      await build({
        stdin: { contents: ENTRY, resolveDir: import.meta.dirname },
        outfile,
        bundle: true,
        format: "esm",
        platform: "node",
        target: "node20",
        logLevel: "error",
        banner: { js: "const console = new Proxy({}, { get: () => () => {} });" },
        plugins: [
          {
            name: "cloudflare-runtime",
            setup({ onResolve, onLoad }) {
              onResolve({ filter: /^cloudflare:/ }, ({ path }) => ({ path, namespace: "cloudflare" }));
              onLoad({ filter: /.*/, namespace: "cloudflare" }, () => ({ contents: RUNTIME }));
            },
          },
        ],
      });
      return (await import(pathToFileURL(outfile).href)) as VendorBridge;
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  })();
  return loaded;
}

const ENTRY = `
export * from "@cloudflare/sandbox/bridge";
export { default as example } from "../../examples/cloudflare-bridge/src/index.ts";
`;

const RUNTIME = `
export class DurableObject { constructor(ctx, env) { this.ctx = ctx; this.env = env; } }
export class RpcTarget {}
export class WorkerEntrypoint {}
export const env = { Sandbox: {}, WarmPool: {}, SANDBOX_API_KEY: "set" };
export const exports = {};
export const tracing = undefined;
export const waitUntil = () => {};
`;

function poolContext(): object {
  const stored = new Map<string, unknown>();
  return {
    waitUntil() {},
    storage: {
      get: async (name: string) => stored.get(name),
      put: async (name: string, value: unknown) => void stored.set(name, structuredClone(value)),
      delete: async (name: string) => stored.delete(name),
      // Nobody needs a pool that refills itself here.
      getAlarm: async () => 1,
      setAlarm: async () => {},
    },
  };
}

function killRunners(root: string): void {
  for (const pid of pidsWith("", root)) {
    const command = readFileSync(`/proc/${pid}/cmdline`, "utf8");
    if (/^node\0.*\.cjs/.test(command)) kill(pid);
  }
}

/** The processes with this in their environment, or in this folder. */
function pidsWith(variable: string, folder: string): number[] {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) return [];
    try {
      const environment = `\0${readFileSync(`/proc/${name}/environ`, "latin1")}`;
      if (variable !== "" && environment.includes(`\0${variable}\0`)) return [Number(name)];
      if (variable === "" && environment.includes(`\0CONTAINER=${folder}`)) return [Number(name)];
    } catch {
      // It has ended meanwhile.
    }
    return [];
  });
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended meanwhile.
  }
}

async function read(stream: Readable): Promise<Buffer<ArrayBuffer>> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
