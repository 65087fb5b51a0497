import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { childrenOf, isAlive, launcherOf } from "../../../test/launcher-pid.js";
import { resultOf } from "../../../test/run-result.js";
import { Launcher } from "./launcher.js";
import { hasMark } from "./process-table.js";
import { RUN_MARK, type RunSpec, startRun } from "./run.js";
import { startProcess } from "./start-process.js";

const canLaunch = process.platform === "linux" && existsSync("/usr/bin/perl");

let folder: string;
let launcher: Launcher;

beforeEach(async (context) => {
  if (!canLaunch) return context.skip();
  folder = await mkdtemp(join(tmpdir(), "cerver-launcher-"));
  launcher = (await Launcher.open())!;
  expect(launcher).toBeDefined();
});
afterEach(async () => {
  await launcher?.end();
  if (folder) await rm(folder, { recursive: true, force: true });
});

let runs = 0;
function specOf(code: string, more: Partial<RunSpec> = {}): RunSpec {
  const runId = `run_launcher_${process.pid}_${++runs}`;
  return {
    runId,
    command: { kind: "shell", code },
    cwd: folder,
    env: { PATH: process.env.PATH!, [RUN_MARK]: runId },
    timeoutMs: 20_000,
    graceMs: 300,
    scratchDir: folder,
    ...more,
  };
}

const run = async (code: string, more: Partial<RunSpec> = {}) =>
  resultOf(await startRun(specOf(code, more), { launcher }));

test("every exit code is told as it is", async () => {
  const codes = Array.from({ length: 256 }, (_, code) => code);
  const told = await Promise.all(codes.map((code) => run(`exit ${code}`)));
  expect(told.map(({ exitCode }) => exitCode)).toEqual(codes);
  expect(told.every(({ signal }) => signal === null)).toBe(true);
});

test("every signal is told as it is, those without a name too", async () => {
  const numbers = Array.from({ length: 64 }, (_, index) => index + 1);
  const harmless = ["SIGCHLD", "SIGCONT", "SIGURG", "SIGWINCH"].map(
    (name) => constants.signals[name as NodeJS.Signals],
  );
  const stops = ["SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU"].map(
    (name) => constants.signals[name as NodeJS.Signals],
  );
  for (const number of numbers) {
    // The C library keeps these two to itself.
    if (stops.includes(number) || number === 32 || number === 33) continue;
    const { exitCode, signal } = await run(`ulimit -c 0; kill -${number} $$; exit 7`);
    const names = Object.entries(constants.signals).filter(([, other]) => other === number);
    if (harmless.includes(number)) expect([exitCode, signal]).toEqual([7, null]);
    else {
      expect(exitCode).toBe(128 + number);
      expect(names.length ? names.map(([name]) => name) : [`SIG${number}`]).toContain(signal);
    }
  }
}, 30_000);

test("a process is what a child of the keeper is", async () => {
  const code = [
    "pwd; umask; ulimit -a; grep -E '^(Sig[PBIC]|ShdPnd|NoNewPrivs|Groups|Uid)' /proc/self/status",
    "cut -d' ' -f5-6 /proc/$$/stat | grep -q \"^$$ $$\" && echo leads; ls /proc/self/fd; tr '\\0' '\\n' < /proc/$$/environ",
    "readlink /proc/$$/fd/0; cat /proc/$$/oom_score_adj; cut -d' ' -f18,19 /proc/self/stat; tr '\\0' ' ' < /proc/$$/cmdline",
  ].join("\n");
  const env = {
    EMPTY: "",
    ODD: "a=b\n'c\" ü",
    PATH: process.env.PATH!,
    PERL5OPT: "-w",
    [RUN_MARK]: "run_same",
  };
  const spec = specOf(code, { env });
  // One after the other: what ends a run ends all that has its mark.
  const launched = await resultOf(await startRun(spec, { launcher }));
  expect(launched.stdout).toContain("leads");
  expect(launched).toEqual(await resultOf(await startRun(spec, {})));
});

test("what cannot be started is refused with the system's own word", async () => {
  const order = { file: "/bin/sh", args: [] as string[], cwd: folder, env: {}, stdin: false };
  const refusals = [
    { ...order, file: "/nowhere/at-all" },
    { ...order, file: "nowhere-at-all" },
    { ...order, file: folder },
    { ...order, cwd: join(folder, "gone") },
    { ...order, args: ["-c", "x".repeat(200_000)] },
    { ...order, env: { LONG: "x".repeat(200_000) } },
  ];
  for (const refused of refusals) {
    const codeOf = (parent: Launcher | undefined) =>
      startProcess(refused, parent).then(
        () => "started",
        ({ code }) => code,
      );
    const code = await codeOf(launcher);
    expect(code).toMatch(/^E/);
    expect(code).toBe(await codeOf(undefined));
  }
  expect(await run("echo on")).toMatchObject({ stdout: "on\n" });
});

test("input and output go through whole", async () => {
  const input = Buffer.alloc(3_000_000, "0123456789abcdef\n");
  const spec = specOf("tee /dev/stderr", { stdin: input });
  const { stdout, stderr, status } = await resultOf(await startRun(spec, { launcher }));
  expect(status).toBe("succeeded");
  expect(stdout === input.toString("latin1")).toBe(true);
  expect(stderr === stdout).toBe(true);
});

test("many at once are told apart", async () => {
  const pid = launcherOf(process.pid);
  const descriptors = () => readdirSync(`/proc/${pid}/fd`);
  const before = descriptors();
  const told = await Promise.all(
    Array.from({ length: 150 }, (_, i) => run(`echo ${i}; echo e${i} >&2; exit ${i}`)),
  );
  expect(told.map(({ stdout, stderr, exitCode }) => [stdout, stderr, exitCode])).toEqual(
    told.map((_, i) => [`${i}\n`, `e${i}\n`, i]),
  );
  // Nothing is left open for them, and nobody is left to be reaped.
  await expect.poll(descriptors).toEqual(before);
  expect(childrenOf(pid)).toEqual([]);
});

test("when the launcher is killed its runs are lost, and nothing of them survives", async () => {
  const started = await Promise.all(
    [
      "sleep 60",
      "trap '' TERM HUP; while :; do :; done",
      "setsid sleep 60 & exec sleep 61",
      "echo out; sleep 60",
    ].map(async (code) => startRun(specOf(code), { launcher })),
  );
  await sleep(100);
  // Ordered, and not answered: nobody knows whether it ran.
  process.kill(launcherOf(process.pid), "SIGSTOP");
  const pending = startRun(specOf("sleep 60"), { launcher });
  process.kill(launcherOf(process.pid), "SIGKILL");
  const told = await Promise.all([...started, await pending].map(resultOf));
  for (const one of told) expect(one).toMatchObject({ status: "lost", exitCode: null, signal: null });
  expect(told[3]!.stdout).toBe("out\n");
  for (const { id, pid } of started) {
    expect(isAlive(pid!)).toBe(false);
    expect(
      readdirSync("/proc").filter((name) => /^\d+$/.test(name) && hasMark(Number(name), `${RUN_MARK}=${id}`)),
    ).toEqual([]);
  }
  // Meanwhile the keeper starts what is to be started; then there is another launcher.
  expect(await run("echo on")).toMatchObject({ stdout: "on\n" });
  await expect
    .poll(() => launcher.takes({ file: "/bin/sh", args: [], cwd: "/", env: {}, stdin: false }), {
      timeout: 5_000,
    })
    .toBe(true);
  expect(await run("echo again; exit 3")).toMatchObject({ stdout: "again\n", exitCode: 3 });
}, 20_000);

test("the launcher goes with whoever started it, and so does what it started", async () => {
  const pid = launcherOf(process.pid);
  const loop = await startRun(specOf("trap '' TERM HUP; while :; do :; done"), { launcher });
  const tree = await startRun(specOf("sleep 60 & sleep 61; true"), { launcher });
  await expect.poll(() => childrenOf(tree.pid!).length).toBe(2);
  const pids = [pid, loop.pid, tree.pid, ...childrenOf(tree.pid!)];
  await launcher.end();
  await expect.poll(() => pids.filter((one) => isAlive(one!))).toEqual([]);
});

test("what it started goes with a keeper that was killed, and had not heard all it was told", async () => {
  const program = `
    import { execFileSync } from "node:child_process";
    import { Launcher } from ${JSON.stringify(new URL("launcher.ts", import.meta.url).href)};
    const launcher = await Launcher.open();
    const start = (code) => launcher.start({ file: "/bin/sh", args: ["-c", code], cwd: "/", env: {}, stdin: false });
    const loop = await start("trap '' TERM HUP; while :; do :; done");
    const short = await start("/bin/sleep 60");
    process.kill(short.pid, "SIGKILL");
    // Its end is told while nobody listens here.
    execFileSync("sleep", ["0.3"]);
    process.stdout.write(String(loop.pid), () => process.kill(process.pid, "SIGKILL"));
  `;
  const keeper = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [said] = (await once(keeper.stdout, "data")) as [Buffer];
  await once(keeper, "exit");
  await expect.poll(() => isAlive(Number(said)), { timeout: 5_000 }).toBe(false);
}, 20_000);

test("there is none where it does not work", async () => {
  expect(await Launcher.open("/nowhere/perl")).toBeUndefined();
  expect(await Launcher.open("/bin/false")).toBeUndefined();
});
