import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { resultOf } from "../../../test/run-result.js";
import { adoptRun, type RunSpec, startRun } from "./run.js";
import { WaitingNodes } from "./waiting-nodes.js";

let folder: string;
let env: Record<string, string>;
let nodes: WaitingNodes;
const counter = { waiting: 0 };

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cerver-nodes-"));
  await mkdir(join(folder, "work"));
  await mkdir(join(folder, "scratch"));
  env = { PATH: process.env.PATH!, HOME: folder, LANG: "C.UTF-8", PWD: join(folder, "work") };
  nodes = new WaitingNodes({
    folder: join(folder, "work"),
    env,
    scratchDir: join(folder, "scratch"),
    counter,
    cgroups: undefined,
    launcher: undefined,
  });
});
afterAll(async () => {
  nodes.end();
  await rm(folder, { recursive: true, force: true });
});

const specOf = (code: string, envs: Record<string, string>): RunSpec => ({
  runId: "run_node",
  command: { kind: "node", code },
  cwd: join(folder, "work"),
  env: { ...env, ...envs, CERVER_RUN_ID: "run_node" },
  timeoutMs: 10_000,
  graceMs: 300,
  scratchDir: join(folder, "scratch"),
});

/** Without Node's own frames, which tell how Node was started, and pids. */
const ownFrames = (result: Awaited<ReturnType<typeof resultOf>>) => ({
  ...result,
  stderr: result.stderr.replace(/^ +at .*node:.*\n|\(node:\d+\)/gm, ""),
});

const MODULES = [
  "console.log(1)",
  "",
  "// nothing",
  "console.log(process.argv, process.execArgv.length, process.argv0)",
  "console.log(process.execArgv)",
  "console.log(import.meta.url, typeof require, typeof module, this)",
  "console.log(process.env.A, process.env.CERVER_RUN_ID, Object.keys(process.env).sort())",
  "console.log(process.cwd(), process.pid > 0, process.title)",
  'import { readFileSync } from "node:fs"; console.log(readFileSync(0, "utf8").length)',
  "for await (const chunk of process.stdin) console.log(chunk); console.log('end')",
  "process.stdin.on('end', () => console.log('end')).resume()",
  "console.log(await Promise.resolve(6 * 7)); process.exitCode = 4",
  "process.exit(9)",
  "throw new Error('thrown')",
  "await Promise.reject(new TypeError('rejected'))",
  "const x = ;",
  'import "./not-there.mjs"',
  'import missing from "not-a-package"',
  "process.kill(process.pid, 'SIGTERM'); await new Promise((r) => setTimeout(r, 5000))",
  "process.kill(process.pid, 'SIGKILL')",
  "process.abort?.call && process.exit(0)",
  "setTimeout(() => console.log('later'), 20); console.log('now'); console.error('err')",
  'import { execFileSync } from "node:child_process"; console.log(String(execFileSync("sh", ["-c", "echo $CERVER_RUN_ID $A"])))',
  'import { Worker } from "node:worker_threads"; new Worker("console.log(typeof require)", { eval: true })',
  'import { writeFileSync } from "node:fs"; import { fork } from "node:child_process"; writeFileSync("child.cjs", "console.log(process.argv.length, process.execArgv.length)"); fork("./child.cjs").on("exit", (code) => console.log(code))',
  'import { createRequire } from "node:module"; const require = createRequire(import.meta.url); console.log(Object.keys(require.cache).length)',
  'import { readdirSync } from "node:fs"; console.log(readdirSync("/proc/self/fd").length < 40)',
  "console.log('ü€😀'.repeat(20000))",
  "console.log(Object.getOwnPropertyNames(globalThis).filter((n) => n !== 'process').sort().map((n) => n + typeof globalThis[n]).join())",
  "console.log(fs.existsSync('/'), os.EOL, path.sep, typeof crypto.createHash, typeof crypto.subtle)",
  "os = 3; console.log(os)",
  "console.log(globalThis.code, globalThis.text, globalThis.variables)",
];

test("a woken Node behaves like a fresh one, module by module", async () => {
  const envs = { A: 'it\'s "quoted"\nand ü' };
  for (const code of MODULES) {
    nodes.refill();
    await expect.poll(() => counter.waiting, { interval: 10, timeout: 5_000 }).toBe(1);
    // It waits once it has come so far as to read; before that it only takes longer.
    const woken = nodes.wake(code, { ...envs, CERVER_RUN_ID: "run_node" });
    const ours = ownFrames(await resultOf(adoptRun(specOf(code, envs), woken!)));
    expect(ours, code).toEqual(ownFrames(await resultOf(await startRun(specOf(code, envs), {}))));
  }
}, 120_000);

test("a Node whose variables have to be there from the start is started with them", () => {
  expect(nodes.wake("1", { NODE_OPTIONS: "--no-warnings" })).toBeUndefined();
});
