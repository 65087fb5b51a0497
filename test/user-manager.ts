import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";

const SYSTEMD = ["/lib/systemd/systemd", "/usr/lib/systemd/systemd"].find(existsSync);

/** A user's systemd, with a folder of its own for sockets. */
export interface UserManager {
  runtimeDir: string;
  pid: number;
  stop(): Promise<void>;
}

/**
 * Starts a real `systemd --user` as a process of ours: in namespaces of its own, below a control group of its own. A
 * manager takes every process of its root group for its own, so that group must not be one that others are in.
 *
 * Undefined, and why, where the system does not let us.
 */
export async function startUserManager(
  folder: string,
  env: Record<string, string>,
): Promise<UserManager | { why: string }> {
  if (!SYSTEMD) return { why: "systemd is not installed" };
  if (process.getuid?.() !== 0) return { why: "namespaces need root here" };
  const mount = readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .map((line) => line.split(" "))
    .find(([, , type]) => type === "cgroup2")?.[1];
  const own = /^0::(.*)$/m.exec(readFileSync("/proc/self/cgroup", "utf8"))?.[1];
  if (mount === undefined || own === undefined) return { why: "there are no control groups of version 2" };
  const group = join(mount, own, `cerver-test-manager-${process.pid}`);
  const runtimeDir = join(folder, "runtime");
  try {
    mkdirSync(group);
    mkdirSync(runtimeDir, { mode: 0o700 });
    writeFileSync(join(folder, "manager.sh"), MANAGER);
  } catch (error) {
    return { why: `its control group cannot be made: ${(error as Error).message}` };
  }
  let said = "";
  const child = spawn(
    "sh",
    [
      "-c",
      'echo $$ >"$1/cgroup.procs" && exec unshare -m -C sh "$2" "$3"',
      "sh",
      group,
      join(folder, "manager.sh"),
      SYSTEMD,
    ],
    { env: { ...env, XDG_RUNTIME_DIR: runtimeDir }, stdio: ["ignore", "pipe", "pipe"] },
  );
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (said += chunk));
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));

  const stop = async () => {
    // Everything that the manager started is in its group, and nothing else is.
    writeFileSync(join(group, "cgroup.kill"), "1");
    await ended;
    await removeGroup(group);
  };
  const socket = join(runtimeDir, "systemd/private");
  for (const until = Date.now() + 15_000; !existsSync(socket); ) {
    if (child.exitCode !== null || Date.now() > until) {
      await stop();
      return { why: `systemd --user does not start: ${said.slice(0, 500)}` };
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return { runtimeDir, pid: child.pid!, stop };
}

const MANAGER = `set -e
mount --make-rprivate /
umount -l /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system
exec "$1" --user --log-target=console --log-level=warning
`;

async function removeGroup(group: string): Promise<void> {
  for (const entry of await readdir(group, { withFileTypes: true }).catch(() => [])) {
    if (entry.isDirectory()) await removeGroup(join(group, entry.name));
  }
  for (let attempt = 0; attempt < 50; attempt++) {
    try {
      return rmdirSync(group);
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
