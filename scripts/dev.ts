// `npm run dev`: builds, runs `cerver up` on a scratch folder, and starts it again whenever a source changes.
import { type ChildProcess, spawn } from "node:child_process";
import { watch } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const home = await mkdtemp(join(tmpdir(), "cerver-dev-"));
let up: ChildProcess | undefined;
let timer: NodeJS.Timeout | undefined;

await restart();
watch(join(root, "src"), { recursive: true }, () => {
  clearTimeout(timer);
  timer = setTimeout(restart, 200);
});
process.on("SIGINT", async () => {
  await stop();
  await rm(home, { recursive: true, force: true });
  process.exit(0);
});

async function restart(): Promise<void> {
  await stop();
  const build = spawn(process.execPath, ["--import", "tsx", join(root, "scripts/build.ts")], {
    cwd: root,
    stdio: "inherit",
  });
  const code = await new Promise((resolve) => build.once("exit", resolve));
  if (code !== 0) return;
  up = spawn(process.execPath, [join(root, "bin/cerver.js"), "up", "--no-open"], {
    stdio: "inherit",
    env: { ...process.env, HOME: home, CERVER_LOG: process.env.CERVER_LOG ?? "info" },
  });
}

async function stop(): Promise<void> {
  if (!up || up.exitCode !== null) return;
  const exited = new Promise((resolve) => up!.once("exit", resolve));
  up.kill("SIGTERM");
  await exited;
}
