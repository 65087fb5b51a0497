import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Child } from "./child.js";
import { Client, HttpError } from "./client.js";
import { ECHO } from "./commands.js";
import { Absent, type Command, type Contender, check, type Lane } from "./contender.js";
import type { Endings } from "./endings.js";
import { environment } from "./environment.js";
import { EventTail } from "./event-tail.js";
import { newFolder } from "./folder.js";
import { type FoundProcess, processesWith } from "./processes.js";

export const BIN = join(import.meta.dirname, "..", "bin", "cerver.js");
/** Seconds; a stream of the bench takes longer than a run may by default. */
const TIMEOUT = 900;
/** How long the last of its processes may take after `cerver` itself has ended. Milliseconds. */
const LINGER_MS = 5_000;

interface Ready {
  gateway_url: string;
  api_token: string;
}
interface RunAnswer {
  run_id: string;
  result?: { stdout: string };
}
/** The processes of one installation, by what they are. */
export interface Roles {
  gateway: number;
  relay: number;
  /** Holds the runs, where the relay leaves that to a process of its own. */
  keeper?: number;
  /** What the relay keeps started for runs to come. */
  waiting: number[];
}

/** The built program with a gateway and a relay, in an empty home of its own. */
export class Cerver implements Contender {
  readonly #home: string;
  readonly #gateway: Child;
  readonly #relay: Child | undefined;
  readonly #url: string;
  readonly #token: string;
  #session: string | undefined;
  #clients: Client[] = [];

  private constructor(
    endings: Endings,
    home: string,
    at: { url: string; token: string },
    gateway: Child,
    relay?: Child,
  ) {
    this.#home = home;
    this.#url = at.url;
    this.#token = at.token;
    this.#gateway = gateway;
    this.#relay = relay;
    endings.add(() => {
      for (const client of this.#clients) client.close();
    });
  }

  /** `cerver up`. */
  static async up(endings: Endings): Promise<Cerver> {
    const home = newHome(endings);
    const up = new Child(endings, process.execPath, [BIN, "up", "--json", "--port", "0", "--no-open"], {
      env: environment(home),
    });
    const ready = JSON.parse((await up.prints(/^{.*}$/m))[0]) as Ready;
    return new Cerver(endings, home, { url: ready.gateway_url, token: ready.api_token }, up);
  }

  /** `cerver gateway` and `cerver relay`. The relay reaches the gateway through the port that `relayPort` gives. */
  static async apart(endings: Endings, relayPort: (gatewayPort: number) => Promise<number>): Promise<Cerver> {
    const home = newHome(endings);
    const env = environment(home);
    const gateway = new Child(endings, process.execPath, [BIN, "gateway", "--port", "0"], { env });
    const url = (await gateway.prints(/Gateway\s+(http:\S+)/))[1]!;
    await gateway.prints(/Attach /);
    const kept = readFileSync(join(home, ".local/share/cerver/local.json"), "utf8");
    const token = (JSON.parse(kept) as { api_token: string }).api_token;
    const through = new URL(url);
    through.port = String(await relayPort(Number(through.port)));
    const relay = new Child(endings, process.execPath, [BIN, "relay", "--gateway", through.origin], {
      env: { ...env, CERVER_API_TOKEN: token },
      // TERM would leave background runs to the next relay; there is none.
      endsBy: "SIGINT",
    });
    await relay.prints(/Compute: /);
    return new Cerver(endings, home, { url, token }, gateway, relay);
  }

  newClient(): Client {
    const client = new Client({ url: this.#url, token: this.#token });
    this.#clients.push(client);
    return client;
  }

  /** The path of the session that all runs share. */
  async session(): Promise<string> {
    this.#session ??= (
      await this.newClient().post<{ session_id: string }>("/v2/sessions", { task: "bench" })
    ).session_id;
    return `/v2/sessions/${this.#session}`;
  }

  async lanes(command: Command, count: number): Promise<Lane[]> {
    const path = `${await this.session()}/run`;
    return Array.from({ length: count }, () => {
      const client = this.newClient();
      return async () => {
        const answer = await client.post<RunAnswer>(path, command.run);
        check(command, answer.result?.stdout ?? JSON.stringify(answer));
      };
    });
  }

  /** Streams what `cat` of a file prints, as events; gives the bytes that the process printed. */
  async catEvents(file: string): Promise<number> {
    const tail = new EventTail();
    const { status } = await this.newClient().exchange({
      method: "POST",
      path: `${await this.session()}/run/stream`,
      body: { code: `exec cat '${file}'`, timeout: TIMEOUT },
      onData: (slice) => tail.push(slice),
    });
    const last = tail.last();
    if (status !== 200 || last.type !== "exit" || last.exit_code !== 0) throw new Error(JSON.stringify(last));
    return last.stdout_bytes!;
  }

  /**
   * Runs `cat`, then reads its output as raw bytes. The run is one that a caller waits for: one in the background waits
   * for nobody, not for the disk either, and what it prints faster than the disk takes it is dropped.
   */
  async cat(file: string): Promise<number> {
    return this.readKept(await this.runCat(file));
  }

  /** Runs `cat` to its end; gives the path of the run. */
  async runCat(file: string): Promise<string> {
    const session = await this.session();
    const answer = await this.newClient().post<RunAnswer>(`${session}/run`, {
      code: `exec cat '${file}'`,
      timeout: TIMEOUT,
    });
    return `${session}/runs/${answer.run_id}`;
  }

  /** Reads the output of a run that is over, as raw bytes. */
  async readKept(run: string): Promise<number> {
    let bytes = 0;
    let complaint = "";
    const { status } = await this.newClient().exchange({
      method: "GET",
      path: `${run}/output?stream=stdout`,
      onData: (slice) => {
        bytes += slice.length;
        if (complaint.length < 300) complaint += slice.toString("latin1", 0, 300);
      },
    });
    if (status >= 400) throw new HttpError(status, complaint);
    return bytes;
  }

  /** Whether this gateway gives out output as raw bytes. */
  async hasRawOutput(): Promise<true | Absent> {
    const session = await this.session();
    try {
      const { run_id } = await this.newClient().post<RunAnswer>(`${session}/run`, ECHO.run);
      await this.readKept(`${session}/runs/${run_id}`);
      return true;
    } catch (error) {
      if (!(error instanceof HttpError) || error.status !== 404) throw error;
      return new Absent(
        "no such route",
        "this gateway answers 404 to GET /v2/sessions/:id/runs/:run_id/output",
      );
    }
  }

  processes(): Roles {
    const all = processesWith(this.#home);
    const isOurs = ({ command }: FoundProcess) => command.includes(join(BIN, "../.."));
    // `cerver up` is gateway and relay in one process.
    const relay = this.#relay?.pid ?? this.#gateway.pid;
    const others = all.filter(({ pid }) => pid !== this.#gateway.pid && pid !== relay);
    const keeper = others.find((other) => isOurs(other) && /keeper/.test(other.command))?.pid;
    return {
      gateway: this.#gateway.pid,
      relay,
      ...(keeper !== undefined && { keeper }),
      waiting: others.map(({ pid }) => pid).filter((pid) => pid !== keeper),
    };
  }
}

/** An empty home. At the end nothing may be left that carries its name; what is left is ended, and told. */
function newHome(endings: Endings): string {
  const home = newFolder(endings, "home");
  endings.add(async () => {
    const began = performance.now();
    let left = processesWith(home);
    while (left.length > 0 && performance.now() - began < LINGER_MS) {
      await sleep(50);
      left = processesWith(home);
    }
    for (const { pid } of left) process.kill(pid, "SIGKILL");
    if (left.length > 0) {
      throw new Error(`cerver left processes behind: ${left.map(({ command }) => command).join("; ")}`);
    }
  });
  return home;
}
