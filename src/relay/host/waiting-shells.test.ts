import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { OutputCollector } from "./output-collector.js";
import { membersOf } from "./process-tree.js";
import { type Sandbox, Sandboxes } from "./sandboxes.js";

let folder: string;
let woken: Sandbox;
let fresh: Sandbox;
const opened: Sandboxes[] = [];

async function open(stateDir: string): Promise<Sandboxes> {
  const sandboxes = await Sandboxes.open({
    stateDir,
    hostEnv: { PATH: process.env.PATH!, HOME: folder, LANG: "C.UTF-8" },
    allowDirs: [],
    maxRuns: 8,
    graceMs: 300,
  });
  opened.push(sandboxes);
  return sandboxes;
}
const newSandbox = async (sandboxes: Sandboxes) => sandboxes.create({ engine: "shell", metadata: {} });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cerver-shells-"));
  woken = await newSandbox(await open(join(folder, "plain")));
  // No shell waits where its script's name would not survive being read as a line.
  fresh = await newSandbox(await open(join(folder, "back\\slash")));
});
afterAll(async () => {
  await Promise.all(opened.map((sandboxes) => sandboxes.endRuns()));
  await rm(folder, { recursive: true, force: true });
});

async function run(sandbox: Sandbox, code: string, envs: Record<string, string>) {
  const spec = { runId: "run_same", command: { kind: "shell" as const, code }, timeoutMs: 10_000, envs };
  const started = await sandbox.start(spec);
  const [out, err] = [new OutputCollector(), new OutputCollector()];
  started.stdout.on("data", (chunk) => out.push(chunk));
  started.stderr.on("data", (chunk) => err.push(chunk));
  const { status, exitCode, signal } = await started.ended;
  await started.closed;
  const plain = (text: string) => text.replaceAll(sandbox.folder, "FOLDER").replaceAll(sandbox.id, "ID");
  return { status, exitCode, signal, stdout: plain(out.finish().text), stderr: plain(err.finish().text) };
}

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
    // Long enough for the shells that were used to be replaced.
    await sleep(60);
    expect(woken.waitingShells, code).toBeGreaterThan(0);
    expect(await run(woken, code, variables), code).toEqual(await run(fresh, code, variables));
    expect(fresh.waitingShells).toBe(0);
  }
}, 60_000);

test("shells wait once a sandbox is made, and go with it", async () => {
  const own = await newSandbox(opened[0]!);
  const mark = { mark: `CERVER_SANDBOX_ID=${own.id}` };
  await expect.poll(() => membersOf(mark)).not.toEqual([]);
  await opened[0]!.delete(own.id);
  expect(await membersOf(mark)).toEqual([]);
});
