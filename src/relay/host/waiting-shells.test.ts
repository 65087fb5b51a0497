import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { SAME_SCRIPTS } from "../../../test/fixtures/same-scripts.js";
import { resultOf } from "../../../test/run-result.js";
import { Cgroups } from "./cgroup.js";
import { Launcher } from "./launcher.js";
import { hasMark } from "./process-table.js";
import { adoptRun, type RunSpec, startRun } from "./run.js";
import { IS_DASH, runsInPlace } from "./shell-in-place.js";
import { WaitingShells, type WaitingShellsOptions } from "./waiting-shells.js";

let folder: string;
let env: Record<string, string>;
let shells: WaitingShells;
let launcher: Launcher | undefined;
const counter = { waiting: 0 };

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cerver-shells-"));
  await mkdir(join(folder, "work"));
  await mkdir(join(folder, "scratch"));
  env = { PATH: process.env.PATH!, HOME: folder, LANG: "C.UTF-8", PWD: join(folder, "work") };
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

const optionsOf = (more: Record<string, string>): WaitingShellsOptions => ({
  folder: join(folder, "work"),
  env: { ...env, ...more },
  scratchDir: join(folder, "scratch"),
  counter,
  cgroups: undefined,
  launcher,
});
const waitingShells = (more: Record<string, string> = {}) => new WaitingShells(optionsOf(more));

let runs = 0;
const specOf = (code: string, envs: Record<string, string>): RunSpec => ({
  runId: `run_${++runs}`,
  command: { kind: "shell", code },
  cwd: join(folder, "work"),
  env: { ...env, ...envs, CERVER_RUN_ID: "run_same" },
  timeoutMs: 10_000,
  graceMs: 300,
  scratchDir: join(folder, "scratch"),
});

function wake(code: string, envs: Record<string, string>) {
  const woken = shells.wake(`run_${runs + 1}`, code, { ...envs, CERVER_RUN_ID: "run_same" });
  return woken && resultOf(adoptRun(specOf(code, envs), woken));
}

const fresh = async (code: string, envs: Record<string, string>) =>
  resultOf(await startRun(specOf(code, envs), { launcher }));

/** Builtins at the edges of what they take. */
const BUILTIN_SCRIPTS = [
  "cd /nowhere; echo $?",
  "cd /nowhere",
  "cd '' && pwd",
  "cd -",
  "cd a b",
  "cd / && cd - && pwd",
  "pwd extra",
  "pwd -P; echo $PWD $OLDPWD",
  "printf '%d' abc; echo $?",
  "printf",
  "printf '%q' x",
  "printf '\\101\\n'",
  "printf '%s' a b c",
  "echo -n hi",
  "echo 'a\\tb\\c' never",
  "[ a -gt b ]; echo $?",
  "[ x",
  "[ 1 2 3 4 5 ]",
  "test 1 2 3 4",
  "[ ]; echo $?",
  "exit abc",
  "exit 300",
  "exit -1",
  "exit 999999999999",
  "exit 1 2",
  "exit 3; echo never",
  "false && exit 3; echo $?",
  "true x y",
  ": $UNSET; echo $?",
  'echo "$A" $B "$CERVER_RUN_ID"',
  "echo $HOME $PPID",
];

describe.each(["the launcher", "the keeper"])("as a child of %s", (parent) => {
  beforeAll(async () => {
    launcher = parent === "the launcher" ? await Launcher.open() : undefined;
    shells = waitingShells();
    shells.refill();
  });
  afterAll(async () => {
    shells.end();
    await launcher?.end();
  });

  test("a woken shell behaves like a fresh one, script by script", async () => {
    const variables = { A: 'it\'s "quoted" $HOME `id`', B: "two\nlines\\" };
    const scripts = [...SAME_SCRIPTS, ...BUILTIN_SCRIPTS];
    let inPlace = 0;
    for (const code of scripts) {
      await expect.poll(() => shells.size, { interval: 5 }).toBeGreaterThan(0);
      const woken = await wake(code, variables);
      // Longer text than fits an argument beside the rest starts a shell in the ordinary way.
      if (!woken) expect(code.length).toBeGreaterThan(30_000);
      else expect(woken, code).toEqual(await fresh(code, variables));
      if (runsInPlace(code, code)) inPlace++;
      shells.refill();
    }
    expect(scripts.length).toBeGreaterThan(200);
    // Both ways to serve a script were taken.
    if (IS_DASH) expect(inPlace).toBeGreaterThan(200);
    expect(inPlace).toBeLessThan(scripts.length - 50);
  }, 120_000);

  test("a shell waits in a control group of its own, where the system lets us make one", async ({ skip }) => {
    const cgroups = Cgroups.open(`cerver-test-${process.pid}`);
    if (!cgroups) return skip();
    const own = new WaitingShells({ ...optionsOf({}), cgroups });
    own.refill();
    await expect.poll(() => own.size).toBeGreaterThan(0);
    // A child of the keeper is moved while it waits, and what it forks before that is not.
    const woken = own.wake("run_placed", "sleep 1; sleep 60 & exec sleep 61", {})!;
    if (launcher) expect(woken.cgroup?.isPlaced).toBe(true);
    await expect.poll(() => woken.cgroup?.isPlaced).toBe(true);
    await sleep(1_500);
    await expect.poll(() => woken.cgroup?.members()).toHaveLength(2);
    expect(woken.cgroup?.members()).toContain(woken.child.pid);
    woken.cgroup?.kill();
    expect(await woken.child.ended).toEqual({ exitCode: 137, signal: "SIGKILL" });
    woken.cgroup?.remove();
    own.end();
    await cgroups.close();
  });

  test("shells wait once they are asked for, and go when they are told", async () => {
    const own = waitingShells({ CERVER_TEST_MARK: folder });
    own.refill();
    await expect.poll(() => own.size).toBeGreaterThan(0);
    const { readdirSync } = await import("node:fs");
    const marked = () =>
      readdirSync("/proc").filter(
        (name) => /^\d+$/.test(name) && hasMark(Number(name), `CERVER_TEST_MARK=${folder}`),
      );
    expect(marked()).not.toEqual([]);
    own.end();
    await sleep(50);
    await expect.poll(marked).toEqual([]);
  });
});
