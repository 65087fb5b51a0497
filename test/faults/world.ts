import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { type Home, newHome, type Started } from "../run-cerver.js";
import { Api } from "./api.js";
import { TcpProxy } from "./tcp-proxy.js";

const CLOCK = pathToFileURL(join(import.meta.dirname, "fixtures", "clock.mjs")).href;

export interface WorldOptions {
  /** How long a foreground run waits for its caller, as CERVER_RUN_GRACE has it. */
  grace?: string;
  /** Where the relay keeps its state; in the home otherwise. */
  stateHome?: string;
}

export type Part = "gateway" | "relay";

/** After this long without a link the relay is started anew: a round is not there to watch a long wait between dials. */
const PATIENCE_MS = 6_000;
const START_TIMEOUT_MS = 20_000;
const STOP_TIMEOUT_MS = 15_000;
/** A port that was just left may be held a moment longer. */
const START_TRIES = 5;

/**
 * A gateway, a relay and the bad path between them: processes of the built program with a home of their own. Callers
 * reach the gateway directly.
 */
export class World {
  readonly folder: string;
  readonly #home: Home;
  readonly #options: WorldOptions;
  readonly #parts: Partial<Record<Part, Started>> = {};
  readonly #shifts: Record<Part, number> = { gateway: 0, relay: 0 };
  #proxy: TcpProxy | undefined;
  #api: Api | undefined;
  /** Relays that ended although nobody ended them, with their last words. */
  readonly gaveUp: string[] = [];

  private constructor(home: Home, options: WorldOptions) {
    this.#home = home;
    this.#options = options;
    this.folder = home.folder;
  }

  /** Everything up and joined. */
  static async start(options: WorldOptions, signal: AbortSignal): Promise<World> {
    const world = new World(await newHome(), options);
    try {
      await mkdir(world.#file("clocks"));
      await world.#startGateway("0", signal);
      const port = new URL(world.api.gatewayUrl).port;
      world.#proxy = await TcpProxy.listen(Number(port));
      world.startRelay();
      await world.heal(signal);
      return world;
    } catch (error) {
      await world.stop();
      throw error;
    }
  }

  get api(): Api {
    return this.#api!;
  }

  get proxy(): TcpProxy {
    return this.#proxy!;
  }

  isUp(part: Part): boolean {
    const { child } = this.#parts[part] ?? {};
    return child !== undefined && child.exitCode === null && child.signalCode === null;
  }

  /** Ends a part at once, or as the given signal does. Resolves when it is gone. */
  async kill(part: Part, signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const started = this.#parts[part];
    delete this.#parts[part];
    if (!started) return;
    started.child.kill(signal);
    const patience = AbortSignal.timeout(STOP_TIMEOUT_MS);
    patience.addEventListener("abort", () => started.child.kill("SIGKILL"));
    await started.exited;
  }

  /** The gateway again, where it was. */
  async startGateway(signal: AbortSignal): Promise<void> {
    if (!this.isUp("gateway")) await this.#startGateway(new URL(this.api.gatewayUrl).port, signal);
  }

  /** Starts the relay, and does not wait for its link. */
  startRelay(): void {
    if (this.isUp("relay")) return;
    const { stateHome, grace } = this.#options;
    this.#noteGivenUp();
    this.#parts.relay = this.#home.start(["relay", "--gateway", `http://127.0.0.1:${this.proxy.port}`], {
      ...this.#clock("relay"),
      ...(grace && { CERVER_RUN_GRACE: grace }),
      ...(stateHome && { XDG_STATE_HOME: stateHome }),
      CERVER_API_TOKEN: this.api.token,
    });
  }

  /** Sets the wall clock of a part: this many milliseconds from the machine's. */
  async shiftClock(part: Part, ms: number): Promise<void> {
    this.#shifts[part] = ms;
    await this.#writeClock(part);
  }

  shift(part: Part): number {
    return this.#shifts[part];
  }

  /**
   * Ends every fault and brings back what is down. Resolves when the relay's link is there; `whileWaiting` is called
   * between the looks, to see the last moment before.
   */
  async heal(signal: AbortSignal, whileWaiting?: () => Promise<void>): Promise<void> {
    this.proxy.heal();
    await this.startGateway(signal);
    this.startRelay();
    let since = performance.now();
    while (!(await this.api.isReady(signal).catch(() => false)) || this.proxy.openLinks === 0) {
      signal.throwIfAborted();
      if (!this.isUp("gateway")) await this.startGateway(signal);
      if (performance.now() - since > PATIENCE_MS) {
        since = performance.now();
        await this.kill("relay");
      }
      this.startRelay();
      await whileWaiting?.();
      await sleep(50, undefined, { signal });
    }
  }

  /** Ends every process of this world and removes its folder. Returns the commands that an orderly stop left behind. */
  async stop(): Promise<string[]> {
    this.#proxy?.heal();
    await this.kill("relay", "SIGINT");
    await this.kill("gateway", "SIGTERM");
    await this.#proxy?.close();
    const left = await this.#processes();
    for (const { pid } of left) killQuietly(pid);
    await this.#home.remove();
    return left.map(({ command }) => command);
  }

  async #startGateway(port: string, signal: AbortSignal): Promise<void> {
    const { grace } = this.#options;
    for (let tries = 1; ; tries++) {
      signal.throwIfAborted();
      const gateway = this.#home.start(["gateway", "--port", port], {
        ...this.#clock("gateway"),
        ...(grace && { CERVER_RUN_GRACE: grace }),
      });
      this.#parts.gateway = gateway;
      try {
        const [, url] = await gateway.prints(/Gateway +(\S+)/, START_TIMEOUT_MS);
        await gateway.prints(/Attach/, START_TIMEOUT_MS);
        this.#api ??= new Api(url!, await this.#token());
        return;
      } catch (error) {
        await this.kill("gateway");
        if (tries === START_TRIES) throw error;
        await sleep(300, undefined, { signal });
      }
    }
  }

  async #token(): Promise<string> {
    const text = await readFile(this.#file(".local/share/cerver/local.json"), "utf8");
    return (JSON.parse(text) as { api_token: string }).api_token;
  }

  #noteGivenUp(): void {
    const before = this.#parts.relay;
    if (before) this.gaveUp.push(before.stderr().trim().split("\n").slice(-2).join(" / "));
  }

  #clock(part: Part): Record<string, string> {
    return { NODE_OPTIONS: `--import=${CLOCK}`, FAULTS_CLOCK_FILE: this.#clockFile(part) };
  }

  #clockFile(part: Part): string {
    return this.#file(join("clocks", part));
  }

  async #writeClock(part: Part): Promise<void> {
    await writeFile(this.#clockFile(part), String(this.#shifts[part]));
  }

  #file(name: string): string {
    return join(this.folder, name);
  }

  /** What still runs with a folder of this world in its environment or arguments: all of it comes from here. */
  async #processes(): Promise<{ pid: number; command: string }[]> {
    const found: { pid: number; command: string }[] = [];
    const folders = [this.folder, this.#options.stateHome].filter((folder) => folder !== undefined);
    for (const name of await readdir("/proc").catch(() => [])) {
      if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
      const read = (file: string) => readFile(`/proc/${name}/${file}`, "latin1").catch(() => "");
      const command = (await read("cmdline")).replaceAll("\0", " ").trim();
      const environ = await read("environ");
      if (folders.some((folder) => command.includes(folder) || environ.includes(folder)))
        found.push({ pid: Number(name), command });
    }
    return found;
  }
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // Gone already.
  }
}
