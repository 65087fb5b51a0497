import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { isAlive, launcherOf } from "../../../test/launcher-pid.js";
import { makePrivateFolder } from "../../util/private-folder.js";
import { Launcher } from "../host/launcher.js";
import { Keeper } from "./keeper.js";
import type { RunOrder } from "./messages.js";

let stateDir: string;
let keeper: Keeper;

let launcher: Launcher | undefined;

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
    const end = ended("run_1");
    const [first, second] = await Promise.all([
      keeper.start(order("run_1"), undefined),
      keeper.start(order("run_1"), undefined),
    ]);
    expect(second.pid).toBe(first.pid);
    expect(keeper.liveRuns).toBe(1);
    await end;
    expect(await readFile(join(stateDir, "once"), "utf8")).toBe("x");
  });

  test("lets an order that was refused be given again", async () => {
    keeper.limits = { ...keeper.limits, maxRuns: 0 };
    await expect(keeper.start(order("run_1"), undefined)).rejects.toMatchObject({ code: "relay_full" });
    keeper.limits = { ...keeper.limits, maxRuns: 1 };
    const end = ended("run_1");
    await keeper.start(order("run_1"), undefined);
    await end;
    expect(await readFile(join(stateDir, "once"), "utf8")).toBe("x");
  });

  test("a run is lost when nobody can be told its end any more, and nothing of it survives", async ({
    skip,
  }) => {
    if (!launcher) return skip();
    keeper.sandbox("sbx_1", stateDir, {}, true);
    await expect.poll(() => keeper.isIdle).toBe(false);
    const loop = { kind: "shell", code: "echo out; while :; do :; done" } as const;
    const runs = ["run_woken", "run_fresh"];
    const ends = Promise.all(runs.map((id) => ended(id)));
    const woken = await keeper.start({ ...order(runs[0]!), command: loop }, undefined);
    const fresh = await keeper.start({ ...order(runs[1]!), command: loop, stdin_open: true }, undefined);
    await expect.poll(() => [woken.stdout_bytes, fresh.stdout_bytes]).toEqual([4, 4]);
    process.kill(launcherOf(process.pid), "SIGKILL");
    await ends;
    for (const state of keeper.states(runs)) {
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
