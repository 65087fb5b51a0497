import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { SmallDisk } from "../../../test/faults/small-disk.js";
import { isAlive, launcherOf } from "../../../test/launcher-pid.js";
import { newId } from "../../protocol/ids.js";
import { makePrivateFolder } from "../../util/private-folder.js";
import { Launcher } from "../host/launcher.js";
import { Keeper } from "./keeper.js";
import type { RunOrder, Tell } from "./messages.js";

let stateDir: string;
let keeper: Keeper;

let launcher: Launcher | undefined;

/** Processes are found by it, on the whole machine: no two tests have the same. */
let run: string;
beforeEach(() => {
  run = newId("run");
});

function order(runId: string): RunOrder {
  return {
    run_id: runId,
    sandbox_id: "sbx_1",
    command: { kind: "shell", code: "printf x >> once; sleep 0.2" },
    cwd: stateDir,
    envs: {},
    timeout_ms: 10_000,
    background: true,
    has_stdin: false,
    stdin_open: false,
    redact: "all",
    secrets: [],
  };
}

async function ended(runId: string) {
  return new Promise<void>((resolve) => {
    const others = keeper.onEnded;
    keeper.onEnded = (state) => (state.run_id === runId ? resolve() : others(state));
  });
}

describe.each(["the launcher", "the keeper"])("with runs that are children of %s", (parent) => {
  beforeEach(async () => {
    stateDir = await mkdtemp(join(tmpdir(), "cerver-keeper-"));
    for (const name of ["runs", "scratch"]) await makePrivateFolder(join(stateDir, name));
    launcher = parent === "the launcher" ? await Launcher.open() : undefined;
    keeper = await Keeper.open({ stateDir, cgroups: undefined, launcher });
    keeper.sandbox("sbx_1", stateDir, { PATH: process.env.PATH! }, false);
  });

  afterEach(async () => {
    await keeper.endAll();
    await launcher?.end();
    await rm(stateDir, { recursive: true });
  });

  test("starts one run of two orders that are there at once", async () => {
    const end = ended(run);
    const [first, second] = await Promise.all([
      keeper.start(order(run), undefined),
      keeper.start(order(run), undefined),
    ]);
    expect(second.pid).toBe(first.pid);
    expect(keeper.liveRuns).toBe(1);
    await end;
    expect(await readFile(join(stateDir, "once"), "utf8")).toBe("x");
  });

  test("lets an order that was refused be given again", async () => {
    keeper.limits = { ...keeper.limits, maxRuns: 0 };
    await expect(keeper.start(order(run), undefined)).rejects.toMatchObject({ code: "relay_full" });
    keeper.limits = { ...keeper.limits, maxRuns: 1 };
    const end = ended(run);
    await keeper.start(order(run), undefined);
    await end;
    expect(await readFile(join(stateDir, "once"), "utf8")).toBe("x");
  });

  test("a run that is just starting is ended with all others, and is known to whoever asks", async () => {
    const sleeps = { kind: "argv", file: "/bin/sleep", args: ["60"] } as const;
    const starting = keeper.start({ ...order(run), command: sleeps }, undefined);
    const asked = keeper.states([run]);
    await keeper.endAll();
    const { pid } = await starting;
    expect(isAlive(pid!)).toBe(false);
    expect(await asked).toMatchObject([{ run_id: run }]);
    expect(keeper.state(run)).toMatchObject({ status: "cancelled", end_reason: "relay_stopped" });
  });

  test("a run is lost when nobody can be told its end any more, and nothing of it survives", async ({
    skip,
  }) => {
    if (!launcher) return skip();
    keeper.sandbox("sbx_1", stateDir, {}, true);
    await expect.poll(() => keeper.isIdle).toBe(false);
    const loop = { kind: "shell", code: "echo out; while :; do :; done" } as const;
    const runs = [newId("run"), newId("run")];
    const ends = Promise.all(runs.map((id) => ended(id)));
    const woken = await keeper.start({ ...order(runs[0]!), command: loop }, undefined);
    const fresh = await keeper.start({ ...order(runs[1]!), command: loop, stdin_open: true }, undefined);
    await expect.poll(() => [woken.stdout_bytes, fresh.stdout_bytes]).toEqual([4, 4]);
    process.kill(launcherOf(process.pid), "SIGKILL");
    await ends;
    for (const state of await keeper.states(runs)) {
      expect(state).toMatchObject({
        status: "lost",
        exit_code: null,
        signal: null,
        end_reason: "keeper_lost",
      });
      expect(state.receipt).toMatchObject({ alive: [], found: [{ pid: state.pid }] });
      expect(isAlive(state.pid!)).toBe(false);
    }
    expect(keeper.liveRuns).toBe(0);
  });
});

describe("on a disk that is full", () => {
  let disk: SmallDisk;
  const open = async () => {
    stateDir = disk.folder;
    for (const name of ["runs", "scratch"]) await makePrivateFolder(join(stateDir, name));
    const opened = await Keeper.open({ stateDir, cgroups: undefined, launcher: undefined });
    opened.sandbox("sbx_1", stateDir, { PATH: process.env.PATH! }, false);
    return opened;
  };
  const prints = (runId: string, megabytes: number): RunOrder => ({
    ...order(runId),
    command: { kind: "shell", code: `head -c ${megabytes}000000 /dev/zero | tr '\\0' x` },
  });

  beforeEach(async ({ skip }) => {
    const mounted = await SmallDisk.mount(8);
    if (!(mounted instanceof SmallDisk)) return skip(mounted.why);
    disk = mounted;
    keeper = await open();
  });
  afterEach(async () => {
    await keeper.endAll();
    await keeper.close();
    await disk.unmount();
  });

  test("what runs came to is held until the disk takes it", async () => {
    // More of them than fit into the page that the index has already.
    const ids = Array.from({ length: 24 }, () => newId("run"));
    const ends = Promise.all(ids.map(ended));
    for (const id of ids)
      await keeper.start({ ...order(id), command: { kind: "shell", code: "sleep 1; exit 3" } }, undefined);
    await disk.fill();
    await ends;
    await keeper.endSandbox("sbx_1");
    expect(keeper.isIdle).toBe(false);
    await disk.free();
    keeper.storeEnds();
    expect(keeper.isIdle).toBe(true);
    await keeper.close();
    keeper = await open();
    const states = await keeper.states(ids);
    expect(states.map(({ status, exit_code }) => [status, exit_code])).toEqual(ids.map(() => ["failed", 3]));
  });

  test("output that is in memory for a reader goes with the reader", async () => {
    const end = ended(run);
    const code = "sleep 0.3; head -c 3000000 /dev/zero | tr '\\0' x";
    await keeper.start({ ...order(run), command: { kind: "shell", code } }, undefined);
    await disk.fill();
    const follow = (sub: number, credit: number, told: Tell[]) =>
      keeper.follow(
        run,
        sub,
        { offsets: { stdout: 0, stderr: 0 }, credit },
        { tell: (message) => told.push(message) },
      );
    const slow = follow(1, 1_000, []);
    await end;
    const quick: Tell[] = [];
    follow(2, 4_000_000, quick);
    await expect.poll(() => quick.at(-1)?.op).toBe("end");
    expect(quick.map(({ op }) => op)).not.toContain("gap");
    slow.stop("lost");
    // Until what it came to is put away, who comes finds it in memory still.
    const first = async () => {
      const late: Tell[] = [];
      follow(3, 4_000_000, late);
      await expect.poll(() => late.at(-1)?.op).toBe("end");
      return late[0];
    };
    await expect
      .poll(first)
      .toEqual({ op: "gap", sub: 3, stream: "stdout", offset: 0, bytes: 3_000_000 - 32 * 1024 });
  });

  test("the oldest output goes for the newest, and what its run came to stays", async () => {
    const old = newId("run");
    for (const [runId, megabytes] of [
      [old, 5],
      [run, 6],
    ] as const) {
      const end = ended(runId);
      await keeper.start(prints(runId, megabytes), undefined);
      await end;
      await expect.poll(() => keeper.liveRuns, { timeout: 10_000 }).toBe(0);
    }
    await expect.poll(() => existsSync(join(stateDir, "runs", old))).toBe(false);
    expect(keeper.state(old)).toMatchObject({ status: "succeeded", stdout_bytes: 5_000_000 });
    // There is room again for whoever has to start.
    await writeFile(join(stateDir, "other"), Buffer.alloc(500_000));
    await keeper.close();
    keeper = await open();
    expect(keeper.state(run)).toMatchObject({ status: "succeeded", stdout_bytes: 6_000_000 });
  });
});
