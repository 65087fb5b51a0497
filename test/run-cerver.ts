import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const BIN = join(import.meta.dirname, "..", "bin", "cerver.js");

/** A started `cerver`, with what it has printed so far. */
export interface Started {
  child: ChildProcess;
  pid: number;
  stdout(): string;
  stderr(): string;
  /** Resolves when one of the two streams has printed a match. */
  prints(pattern: RegExp, timeoutMs?: number): Promise<RegExpExecArray>;
  exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

export interface Home {
  folder: string;
  env: Record<string, string>;
  /** Starts the built program. */
  start(args: string[], env?: Record<string, string>, cwd?: string): Started;
  /** Runs it to its end. */
  run(
    args: string[],
    options?: { env?: Record<string, string>; input?: string; cwd?: string },
  ): Promise<{ code: number | null; stdout: string; stderr: string }>;
  /** Ends what still runs, and removes the folder. */
  remove(): Promise<void>;
}

/** An empty home for the built program, so that it finds nothing of whoever runs the tests. */
export async function newHome(): Promise<Home> {
  const folder = await mkdtemp(join(tmpdir(), "cerver home-"));
  const env = { PATH: process.env.PATH!, HOME: folder, LANG: "C.UTF-8", CI: "1", CERVER_CREDENTIALS: "file" };
  const running = new Set<Started>();

  const start: Home["start"] = (args, more = {}, cwd = folder) => {
    const child = spawn(process.execPath, [BIN, ...args], {
      cwd,
      env: { ...env, ...more },
      stdio: ["pipe", "pipe", "pipe"],
    });
    let stdout = "";
    let stderr = "";
    child.stdout!.on("data", (chunk: Buffer) => (stdout += chunk));
    child.stderr!.on("data", (chunk: Buffer) => (stderr += chunk));
    child.stdin!.on("error", () => {});
    const started: Started = {
      child,
      pid: child.pid!,
      stdout: () => stdout,
      stderr: () => stderr,
      exited: new Promise((resolve) => {
        child.once("close", (code, signal) => {
          running.delete(started);
          resolve({ code, signal });
        });
      }),
      prints: async (pattern, timeoutMs = 15_000) => {
        const until = Date.now() + timeoutMs;
        for (;;) {
          const match = pattern.exec(stdout) ?? pattern.exec(stderr);
          if (match) return match;
          if (Date.now() > until || child.exitCode !== null) {
            throw new Error(`cerver ${args.join(" ")} did not print ${pattern}:\n${stdout}\n${stderr}`);
          }
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      },
    };
    running.add(started);
    return started;
  };

  return {
    folder,
    env,
    start,
    run: async (args, { env: more, input = "", cwd } = {}) => {
      const started = start(args, more, cwd);
      started.child.stdin!.end(input);
      const { code } = await started.exited;
      return { code, stdout: started.stdout(), stderr: started.stderr() };
    },
    remove: async () => {
      for (const started of running) started.child.kill("SIGKILL");
      await Promise.all([...running].map((started) => started.exited));
      await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    },
  };
}
