import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { makePrivateFolder } from "../../util/private-folder.js";
import { Keeper } from "./keeper.js";
import type { RunOrder } from "./messages.js";

let stateDir: string;
let keeper: Keeper;

beforeEach(async () => {
  stateDir = await mkdtemp(join(tmpdir(), "cerver-keeper-"));
  for (const name of ["runs", "scratch"]) await makePrivateFolder(join(stateDir, name));
  keeper = await Keeper.open({ stateDir, cgroups: undefined });
  keeper.sandbox("sbx_1", stateDir, { PATH: process.env.PATH! }, false);
});

afterEach(async () => {
  await keeper.endAll();
  await rm(stateDir, { recursive: true });
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
  };
}

async function ended(runId: string) {
  return new Promise<void>((resolve) => {
    keeper.onEnded = ({ run_id }) => run_id === runId && resolve();
  });
}

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
