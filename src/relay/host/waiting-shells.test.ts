import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { hasMark } from "./process-table.js";
import { adoptRun, type Run, type RunSpec, startRun } from "./run.js";
import { WaitingShells } from "./waiting-shells.js";

let folder: string;
let env: Record<string, string>;
let shells: WaitingShells;
const counter = { waiting: 0 };

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cerver-shells-"));
  await mkdir(join(folder, "work"));
  await mkdir(join(folder, "scratch"));
  env = { PATH: process.env.PATH!, HOME: folder, LANG: "C.UTF-8", PWD: join(folder, "work") };
  shells = waitingShells();
  shells.refill();
});
afterAll(async () => {
  shells.end();
  await rm(folder, { recursive: true, force: true });
});

const waitingShells = (more: Record<string, string> = {}) =>
  new WaitingShells({
    folder: join(folder, "work"),
    env: { ...env, ...more },
    scratchDir: join(folder, "scratch"),
    counter,
    cgroups: undefined,
  });

const specOf = (code: string, envs: Record<string, string>): RunSpec => ({
  runId: "run_same",
  command: { kind: "shell", code },
  cwd: join(folder, "work"),
  env: { ...env, ...envs, CERVER_RUN_ID: "run_same" },
  timeoutMs: 10_000,
  graceMs: 300,
  scratchDir: join(folder, "scratch"),
});

async function resultOf(run: Run) {
  const read = async (pipe: Run["stdout"]) => {
    const chunks: Buffer[] = [];
    for await (const chunk of pipe) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks).toString("latin1");
  };
  const [stdout, stderr, { status, exitCode, signal }] = await Promise.all([
    read(run.stdout),
    read(run.stderr),
    run.ended,
  ]);
  return { status, exitCode, signal, stdout, stderr };
}

function wake(code: string, envs: Record<string, string>): Promise<Awaited<ReturnType<typeof resultOf>>> {
  const woken = shells.wake("run_same", code, { ...envs, CERVER_RUN_ID: "run_same" });
  if (!woken) throw new Error(`no shell was woken for ${code}`);
  return resultOf(adoptRun(specOf(code, envs), woken));
}

const fresh = async (code: string, envs: Record<string, string>) =>
  resultOf(await startRun(specOf(code, envs), undefined));

// What a process can tell of itself, without what differs from one process to the next.
const SCRIPTS = [
  "echo hi",
  "true",
  "false",
  "exit 7",
  "exit",
  "echo out; echo err >&2",
  'printf \'%s\\n\' "$0" "$#" "$@"',
  "echo $-",
  "set",
  "env | sort",
  "export -p",
  "pwd; pwd -P; echo $PWD $OLDPWD",
  "umask; ulimit -a",
  "trap",
  "readlink /proc/self/fd/0",
  "ls /proc/$$/fd",
  "cat; echo read: $?",
  "read x; echo $? $x",
  "head -c 11 /proc/$$/cmdline | tr '\\0' ' '",
  "tr '\\0' '\\n' < /proc/$$/environ | sort",
  "ps -o comm= -p $$ 2>/dev/null || cat /proc/$$/comm",
  '[ "$(cut -d " " -f 5 /proc/$$/stat)" = "$$" ] && echo leads its group',
  '[ "$(cut -d " " -f 6 /proc/$$/stat)" = "$$" ] && echo leads its session',
  "grep -E '^(SigIgn|SigBlk|SigCgt)' /proc/self/status",
  "nosuchcommand",
  "echo a; nosuchcommand; echo b",
  "if",
  "echo 'unbalanced",
  "for i in 1 2 3; do echo $i; done",
  "f() { return 4; }; f; echo $?",
  "set -e; false; echo never",
  "set -u; echo $UNSET_THING; echo never",
  "cd /; pwd",
  "cd /nowhere",
  "kill -TERM $$",
  "kill -KILL $$",
  "kill -PIPE $$",
  "sh -c 'exit 3'; echo $?",
  "(exit 9)",
  "exec echo replaced",
  "exec nosuchcommand",
  "cat <<EOF\nhere $HOME\nEOF",
  "cat <<'EOF'\nraw $HOME 'quotes' \\back\nEOF",
  "echo \"quotes ' and \\\\ back\"; echo 'single \"'",
  "echo $((6 * 7)) $(echo sub) `echo old`",
  "echo a\\\nb",
  "alias x='echo aliased'; eval x",
  "echo line 1\necho line 2\nnosuch",
  "echo $LINENO",
  "sleep 0.05 & wait; echo waited",
  "echo ü€😀",
  "printf '\\377\\376'",
  "return 5; echo after",
  "trap 'echo bye' EXIT; exit 3",
  'echo "$A|$B|$CERVER_RUN_ID"',
  "command -v cd sh",
  "type echo",
  "echo *",
  "A=1 env | grep ^A=",
  "echo x >&3",
  "[ -t 0 ] || echo no terminal",
  ". /nowhere/file; echo after",
];

test("a woken shell behaves like a fresh one, script by script", async () => {
  const variables = { A: 'it\'s "quoted" $HOME `id`', B: "two\nlines\\" };
  for (const code of SCRIPTS) {
    await expect.poll(() => shells.size, { interval: 5 }).toBeGreaterThan(0);
    expect(await wake(code, variables), code).toEqual(await fresh(code, variables));
    shells.refill();
  }
}, 60_000);

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
