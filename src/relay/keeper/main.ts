// The keeper as a process: `node keeper.js SOCKET STATE_DIR VERSION`. A relay starts it, in a session of its own.
import { writeSync } from "node:fs";
import { rm } from "node:fs/promises";
import { connect } from "node:net";
import { dirname, join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { isLock, type Lock, takeLock } from "../../util/lock-file.js";
import { makePrivateFolder } from "../../util/private-folder.js";
import { Cgroups } from "../host/cgroup.js";
import { Launcher } from "../host/launcher.js";
import { Keeper } from "./keeper.js";
import { KeeperServer } from "./keeper-server.js";

/** A keeper with nothing to hold goes after this long: sooner when no relay is there either. */
const IDLE_MS = 300_000;
const ALONE_MS = 15_000;
const LOOK_MS = 5_000;
/** A keeper that ends has let go of its lock by then. */
const LOCK_WAIT_MS = 10_000;
const LOCK_LOOK_MS = 20;
/** A log of a keeper that lives for months ends here. */
const MAX_LOG_BYTES = 1024 * 1024;

let logged = 0;

const [socketPath, stateDir, software] = process.argv.slice(2) as [string, string, string];

// A terminal that closes, or a Ctrl-C meant for the relay, is not meant for the runs.
for (const signal of ["SIGHUP", "SIGINT", "SIGPIPE"] as const) process.on(signal, () => {});

await makePrivateFolder(join(stateDir, "runs"));
await makePrivateFolder(dirname(socketPath));
const lock = await ownLock();
await rm(socketPath, { force: true });
await rm(join(stateDir, "scratch"), { recursive: true, force: true });
await makePrivateFolder(join(stateDir, "scratch"));

const keeper = await Keeper.open({
  stateDir,
  cgroups: Cgroups.open(`cerver-${process.pid}`),
  launcher: Launcher.begin(),
});
const server = new KeeperServer({
  keeper,
  socketPath,
  software,
  logger: { error: (fields, message) => log(message, fields) },
  onStop: () => void stop(),
});
const umask = process.umask(0o077);
await server.listen();
process.umask(umask);
process.stdout.on("error", () => {});
process.stdout.write("ready\n");
process.on("SIGTERM", () => void keeper.endAll().then(stop));
process.on("uncaughtException", (error) => log("something unexpected went wrong", { err: error }));

let idleSince = performance.now();
const timer = setInterval(() => {
  keeper.storeEnds();
  if (!keeper.isIdle) idleSince = performance.now();
  const idleMs = performance.now() - idleSince;
  if (idleMs > (server.hasLinks ? IDLE_MS : ALONE_MS)) void stop();
}, LOOK_MS);
const pruning = setInterval(() => keeper.prune(), 600_000);

/**
 * The lock. Ends this process when another keeper has it and serves: another relay was quicker, and that keeper is the one.
 * One that ends, and one that begins, has it and does not serve.
 */
async function ownLock(): Promise<Lock> {
  for (const began = performance.now(); ; await setTimeout(LOCK_LOOK_MS)) {
    const taken = await takeLock(join(stateDir, "keeper.lock"), socketPath);
    if (isLock(taken)) return taken;
    if (await isServed()) {
      process.stdout.write("ready\n");
      process.exit(0);
    }
    if (performance.now() - began < LOCK_WAIT_MS) continue;
    log("another keeper has the lock, and does not answer: end that process", { ...taken });
    process.exit(1);
  }
}

function isServed(): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    socket.once("error", () => resolve(false));
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
  });
}

let stopping = false;
async function stop(): Promise<void> {
  if (stopping) return;
  stopping = true;
  clearInterval(timer);
  clearInterval(pruning);
  await server.close();
  await keeper.close();
  await rm(socketPath, { force: true });
  await lock.release();
  process.exit(0);
}

function log(message: string, fields: object): void {
  const { err, ...rest } = fields as { err?: unknown };
  const error = err instanceof Error ? (err.stack ?? err.message) : err;
  const line = `${JSON.stringify({ time: new Date().toISOString(), message, error, ...rest })}\n`;
  logged += line.length;
  if (logged > MAX_LOG_BYTES) return;
  try {
    writeSync(2, line);
  } catch {
    // A disk that is full takes no log either, and a keeper goes on without one.
  }
}
