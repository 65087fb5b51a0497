import { setTimeout as sleep } from "node:timers/promises";
import type { Bench } from "./bench.js";
import { Cerver } from "./cerver.js";
import { ECHO } from "./commands.js";
import { CountingProxy } from "./counting-proxy.js";
import { HAS_PROC, processorMs, residentMb } from "./processes.js";
import type { Line } from "./table.js";

const ROW = "idle";
const HOUR_MS = 3_600_000;
const MINUTE_MS = 60_000;
/** What starting leaves behind (compiling, collecting, filling up) is over by then. */
const SETTLE_MS = 10_000;

/** A gateway and a relay that have run one command and then stand idle, while the other rows take their time. */
export class IdlePair {
  readonly #cerver: Cerver;
  readonly #proxy: CountingProxy;
  readonly #since = performance.now();

  private constructor(cerver: Cerver, proxy: CountingProxy) {
    this.#cerver = cerver;
    this.#proxy = proxy;
  }

  static async start(bench: Bench): Promise<IdlePair> {
    const proxy = new CountingProxy();
    const cerver = await Cerver.apart(bench.endings, (port) => proxy.start(bench.endings, port));
    const [once] = await cerver.lanes(ECHO, 1);
    await once!();
    return new IdlePair(cerver, proxy);
  }

  async measure(bench: Bench): Promise<Line[]> {
    if (!HAS_PROC) return [line("relay, resident", "", "needs /proc")];
    const { short, idleSeconds } = bench.options;
    // A report goes out each minute: whole minutes hold a whole number of pings and of reports.
    const needed = short ? 0 : Math.max(SETTLE_MS, MINUTE_MS - idleSeconds * 1000 + 5_000);
    await sleep(Math.max(0, needed - (performance.now() - this.#since)));

    const { gateway, relay, keeper, waiting } = this.#cerver.processes();
    const watched = { relay, ...(keeper !== undefined && { keeper }), gateway };
    const before = Object.values(watched).map(processorMs);
    await sleep(idleSeconds * 1000);
    const used = Object.values(watched).map((pid, i) => (processorMs(pid) - before[i]!) * (60 / idleSeconds));

    const age = performance.now() - this.#since;
    const window = age < MINUTE_MS ? age : Math.floor(age / MINUTE_MS) * MINUTE_MS;
    const { link, http } = this.#proxy.bytesInLast(window);
    bench.note(
      `idle: watched for ${idleSeconds} s; heartbeats counted for ${(window / 1000).toFixed(0)} s on the relay's sockets, TCP payload, both ways.`,
    );
    const waitingMb = waiting.reduce((sum, pid) => sum + residentMb(pid), 0);
    return [
      ...Object.entries(watched).map(([role, pid]) =>
        line(`${role}, resident`, "MB", residentMb(pid), role === "relay" ? "under 60 MB" : undefined),
      ),
      line(`${waiting.length} waiting processes, resident`, "MB", waitingMb),
      ...Object.keys(watched).map((role, i) =>
        line(`${role}, processor`, "ms/min", used[i]!, role === "relay" ? "none measurable" : undefined),
      ),
      line("link, pings and pongs", "bytes/h", (link * HOUR_MS) / window),
      line("HTTP, reports", "bytes/h", (http * HOUR_MS) / window),
    ];
  }
}

function line(what: string, unit: string, figure: number | string, target?: string): Line {
  return { row: ROW, what: `idle: ${what}`, unit, figures: { cerver: figure }, ...(target && { target }) };
}
