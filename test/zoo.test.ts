import { createSocket } from "node:dgram";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type Animal, some, ZOO } from "./fixtures/zoo.js";
import { type Cerver, startCerver } from "./harness.js";
import {
  carries,
  inWords,
  isLiving,
  isSame,
  look,
  lookAtPorts,
  type SeenPort,
  type SeenProcess,
  survivorsOf,
  treeIn,
} from "./proc-look.js";

/** What a cancel did, as the API tells it. */
interface Receipt {
  method: "cgroup" | "mark" | "group";
  found: { pid: number; ppid: number; command: string; why: string }[];
  signals: { signal: string; pids: number[]; at_ms: number }[];
  alive: { pid: number; command: string; why: string }[];
  ports_freed: { port: number; address: string; protocol: string; pid: number }[];
  duration_ms: number;
}

/** How long a tree may take to be whole, and to be gone where nobody waits for its end. */
const PATIENCE_MS = 15_000;
/** By then one that churns has started another, on a busy machine too. */
const CHURN_MS = 250;
/** With so many pids written down it is under way. */
const CHURN_LISTED = 6;

// Two looks at a machine without /proc see nothing.
const describeLinux = process.platform === "linux" ? describe : describe.skip;

let cerver: Cerver;
let session: string;
let cages: Cage[] = [];
beforeAll(async () => {
  cerver = await startCerver();
  session = await cerver.session();
});
afterEach(async () => {
  await Promise.all(cages.map((cage) => cage.clear()));
  cages = [];
});
afterAll(() => cerver.stop());

/** An animal of the zoo that runs, seen from outside. */
class Cage {
  readonly animal: Animal;
  readonly #pidFile: string;
  /** Every process that was ever seen to be of the tree. */
  readonly #seen = new Map<string, SeenProcess>();

  constructor(animal: Animal) {
    this.animal = animal;
    this.#pidFile = join(cerver.folder, `zoo-${cages.length}-${Date.now()}.pids`);
    cages.push(this);
  }

  get #mark(): string {
    return `ZOO_PIDS=${this.#pidFile}`;
  }

  /** What a run is started with, to become this animal. */
  get request() {
    return { code: this.animal.code, envs: { ZOO_PIDS: this.#pidFile } };
  }

  /** The pids that the tree has written down so far. */
  get listed(): Set<number> {
    return new Set(this.#lines().map(([pid]) => Number(pid)));
  }

  /** Those of them that cleared their environment. */
  get bare(): Set<number> {
    return new Set(this.#lines().flatMap(([pid, word]) => (word === "bare" ? [Number(pid)] : [])));
  }

  /** The tree as it is now. */
  tree(): SeenProcess[] {
    const tree = treeIn(look(), {
      mark: this.#mark,
      listed: this.listed,
      bare: this.bare,
      earlier: this.#seen.values(),
    });
    for (const process of tree) {
      const key = `${process.pid} ${process.startTime}`;
      if (!this.#seen.has(key)) this.#seen.set(key, process);
    }
    return tree;
  }

  /** Resolves with the tree when everything that belongs to it is there and has become what it will be. */
  async whole(): Promise<SeenProcess[]> {
    const { processes, zombies = 0, stopped = 0, churns } = this.animal;
    const until = Date.now() + PATIENCE_MS;
    for (let before = ""; ; await sleep(30)) {
      const tree = this.tree();
      const living = tree.filter(isLiving);
      const now = tree.map(({ pid, cmdline }) => `${pid} ${cmdline}`).join("\n");
      const complete = churns
        ? living.length >= processes && this.listed.size > CHURN_LISTED
        : living.length === processes &&
          tree.length - living.length === zombies &&
          now === before &&
          // One that runs has yet to become its program, or to wait for something.
          living.every(({ state }) => state !== "R");
      if (complete && tree.filter(({ state }) => state === "T").length === stopped) return tree;
      if (Date.now() > until)
        throw new Error(`${this.animal.name} is not whole:\n${tree.map(inWords).join("\n")}`);
      before = now;
    }
  }

  /** What is left of the tree. */
  survivors(): SeenProcess[] {
    return survivorsOf(this.tree());
  }

  /**
   * What is left of the tree, in words. One that forks and exits slips through a look, but not without writing another
   * pid down.
   */
  async leftovers(): Promise<string[]> {
    const before = this.listed.size;
    const left = this.survivors();
    if (this.animal.churns) await sleep(CHURN_MS);
    const more = this.listed.size - before;
    return [...left.map(inWords), ...(more > 0 ? [`${more} that came later`] : [])];
  }

  /** Whether a pid is, or was, one of the tree. */
  knows(pid: number): boolean {
    return this.listed.has(pid) || [...this.#seen.values()].some((process) => process.pid === pid);
  }

  /** Ends what a test that failed has left. */
  async clear(): Promise<void> {
    const until = Date.now() + PATIENCE_MS;
    while (Date.now() < until && (await this.leftovers()).length > 0) {
      for (const { pid } of this.tree().filter(isLiving)) kill(pid);
      // A chain is quicker than a look at everything: it is met at the end that it writes down.
      for (let tries = this.animal.churns ? 1_000 : 0; tries > 0; tries--) {
        for (const pid of [...this.listed].slice(-2)) if (carries(pid, this.#mark)) kill(pid);
      }
    }
  }

  #lines(): string[][] {
    try {
      return readFileSync(this.#pidFile, "utf8")
        .split("\n")
        .filter(Boolean)
        .map((line) => line.split(" "));
    } catch {
      return [];
    }
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // Gone already.
  }
}

async function json<T>(response: Response | Promise<Response>): Promise<T> {
  const answer = await response;
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${answer.status}: ${text}`);
  return JSON.parse(text) as T;
}

/** Starts an animal as a background run and waits until it is whole. */
async function start(animal: Animal, { own = session, timeout = 120 } = {}) {
  const cage = new Cage(animal);
  const path = `/v2/sessions/${own}/runs`;
  const { run_id } = await json<{ run_id: string }>(cerver.call("POST", path, { ...cage.request, timeout }));
  const run = `${path}/${run_id}`;
  const output = async () => (await cerver.call("GET", `${run}/output?stream=stdout`)).text();
  await expect.poll(output, { timeout: PATIENCE_MS, interval: 25 }).toMatch(/^ready$/m);
  return { cage, run, tree: await cage.whole() };
}

/** Whether a receipt's command is that of a process: the whole of it, its beginning, or the name of its program. */
function isCommandOf(command: string, { cmdline, comm }: SeenProcess): boolean {
  const said = command.replace(/(?:…|\.\.\.)$/, "").trim();
  return said !== "" && (cmdline.trim().startsWith(said) || said === comm || said === `[${comm}]`);
}

/** Resolves when somebody else can have the port. */
function takePort({ protocol, address, port }: SeenPort): Promise<void> {
  return new Promise((resolve, reject) => {
    if (protocol === "tcp") {
      const server = createServer().once("error", reject);
      server.listen(port, address, () => server.close(() => resolve()));
    } else {
      const socket = createSocket(address.includes(":") ? "udp6" : "udp4").once("error", reject);
      socket.bind(port, address, () => socket.close(resolve));
    }
  });
}

const inLines = (processes: SeenProcess[]) => processes.map(inWords);

describeLinux("a cancel ends the whole tree, and its receipt says what an outside look sees", () => {
  test.each(ZOO)("$name", async (animal) => {
    const { cage, run, tree } = await start(animal);
    const before = tree.filter(isLiving);
    const ports = lookAtPorts(before);
    expect(ports.length).toBe(animal.ports ?? 0);
    const others = [...look().values()].filter(({ pid }) => !cage.knows(pid));

    const answer = await json<{ status: string; receipt: Receipt }>(cerver.call("POST", `${run}/cancel`));

    const { receipt } = answer;
    const survivors = cage.survivors();
    const leftovers = await cage.leftovers();
    const after = look();
    expect(answer.status).toBe("cancelled");
    // What hides from everything but a cgroup may outlive a cancel that had none.
    const hides = animal.hidden && receipt.method !== "cgroup";
    if (hides) {
      const bare = survivors.filter(({ pid }) => cage.bare.has(pid));
      expect(inLines(survivors)).toEqual(inLines(bare));
      expect(survivors.map(({ pid }) => pid)).toEqual(
        expect.arrayContaining(receipt.alive.map(({ pid }) => pid)),
      );
    } else {
      expect(leftovers).toEqual([]);
      // A zombie is not alive; a receipt that names one says what it is.
      expect(receipt.alive.filter(({ why }) => !/zombie|defunct/i.test(why))).toEqual([]);
    }

    // Everything that was seen is found, by what it is.
    const found = new Map(receipt.found.map((one) => [one.pid, one]));
    const wanted = animal.churns ? before.filter((one) => one.cmdline === "sleep 45") : before;
    for (const one of wanted) {
      if (hides && survivors.some((survivor) => isSame(survivor, one))) continue;
      expect(found.has(one.pid), `is found: ${inWords(one)}`).toBe(true);
      const { command } = found.get(one.pid)!;
      expect(isCommandOf(command, one), `"${command}" is the command of ${inWords(one)}`).toBe(true);
    }
    if (animal.grows === "once") {
      const late = [...cage.listed].filter((pid) => !before.some((one) => one.pid === pid));
      expect(late.length).toBeGreaterThan(0);
      expect([...found.keys()]).toEqual(expect.arrayContaining(late));
    }
    // And nothing else: what nobody of the tree wrote down did not outlive its moment.
    for (const { pid, why } of receipt.found) {
      expect(why).not.toBe("");
      if (!animal.churns && !animal.grows) expect(cage.knows(pid), `${pid} is of the tree`).toBe(true);
    }
    const spared = others.filter((one) => found.has(one.pid) && isSame(after.get(one.pid), one));
    expect(inLines(spared)).toEqual([]);

    // TERM comes first, KILL where nothing else helps, and both in the order and time that is told.
    expect(receipt.signals[0]?.signal).toBe("SIGTERM");
    if (animal.needs) expect(receipt.signals.map(({ signal }) => signal)).toContain(animal.needs);
    const times = receipt.signals.map(({ at_ms }) => at_ms);
    expect(times).toEqual([...times].sort((a, b) => a - b));
    expect(times.at(-1)).toBeLessThanOrEqual(receipt.duration_ms);
    for (const { pids } of receipt.signals) expect([...found.keys()]).toEqual(expect.arrayContaining(pids));

    // The ports are named, and whoever wants them has them.
    const freed = receipt.ports_freed.map(({ port, address, protocol, pid }) => {
      return `${protocol.replace(/6$/, "")} ${address} ${port} of ${pid}`;
    });
    expect(freed.sort()).toEqual(
      ports.map(({ port, address, protocol, pid }) => `${protocol} ${address} ${port} of ${pid}`).sort(),
    );
    for (const port of ports) await takePort(port);

    // The record keeps what the answer said.
    expect(await json(cerver.call("GET", run))).toMatchObject({
      status: "cancelled",
      end_reason: "cancelled",
      receipt,
    });
  });
});

describeLinux("the tree ends with its run", () => {
  const few = some(
    "double-fork-setsid.sh",
    "term-ignored.sh",
    "forks-when-termed.sh",
    "reforking-chain.sh",
    "two-ports.mjs",
    "stopped.sh",
  );
  const gone = (cage: Cage) =>
    expect.poll(() => cage.leftovers(), { timeout: PATIENCE_MS, interval: 25 }).toEqual([]);

  test.each(few)("$name, at its timeout", async (animal) => {
    const { cage, run } = await start(animal, { timeout: 3 });
    const status = async () => (await json<{ status: string }>(cerver.call("GET", run))).status;
    await expect.poll(status, { timeout: PATIENCE_MS, interval: 25 }).not.toBe("running");
    expect(await cage.leftovers()).toEqual([]);
    expect(await status()).toBe("timed_out");
  });

  test.each(few)("$name, when its session is closed", async (animal) => {
    const own = await cerver.session();
    const { cage } = await start(animal, { own });
    await cerver.client.closeSession(own);
    await gone(cage);
  });

  test.each(few)("$name, when the caller of a foreground run hangs up", async (animal) => {
    const cage = new Cage(animal);
    const abort = new AbortController();
    let text = "";
    const reading = (async () => {
      const request = { ...cage.request, timeout: 120 };
      for await (const event of cerver.client.runStream(session, request, abort.signal)) {
        if (event.type === "stdout") text += event.data;
      }
    })();
    reading.catch(() => {});
    await expect.poll(() => text, { timeout: PATIENCE_MS, interval: 25 }).toMatch(/^ready$/m);
    await cage.whole();
    abort.abort();
    await expect(reading).rejects.toThrow();
    await gone(cage);
  });
});
