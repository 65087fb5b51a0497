import { execFileSync, spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { chown, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";

/** Where PostgreSQL's programs are: Debian keeps them by version, outside of PATH. */
function programs(): string | undefined {
  const versions = "/usr/lib/postgresql";
  const folders = existsSync(versions)
    ? readdirSync(versions)
        .sort((a, b) => Number(b) - Number(a))
        .map((version) => join(versions, version, "bin"))
    : [];
  return [...folders, ...(process.env.PATH ?? "").split(":")].find((folder) =>
    existsSync(join(folder, "initdb")),
  );
}

export const hasPostgres = programs() !== undefined;

/** A PostgreSQL of the test's own, on a socket in a temporary folder. It refuses to run as root, so it runs as `postgres` then. */
export async function startPostgres(): Promise<{ url: string; stop(): Promise<void> }> {
  const bin = programs()!;
  // A socket's path may have 107 characters (unix(7)).
  const folder = await mkdtemp("/tmp/cerver-pg-");
  const root = process.getuid?.() === 0;
  const id = (flag: string) => Number(execFileSync("id", [flag, "postgres"], { encoding: "utf8" }));
  const user = root ? { uid: id("-u"), gid: id("-g") } : {};
  if (root) await chown(folder, user.uid!, user.gid!);
  const data = join(folder, "data");
  execFileSync(join(bin, "initdb"), ["-D", data, "-U", "cerver", "-A", "trust", "--no-sync", "-E", "UTF8"], {
    ...user,
    cwd: folder,
    stdio: "ignore",
  });
  const server = spawn(
    join(bin, "postgres"),
    ["-D", data, "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"],
    { ...user, cwd: folder, stdio: ["ignore", "ignore", "pipe"] },
  );
  const exited = new Promise((resolve) => server.once("exit", resolve));
  await new Promise<void>((resolve, reject) => {
    let log = "";
    server.stderr!.on("data", (chunk: Buffer) => {
      log += chunk;
      if (log.includes("ready to accept connections")) resolve();
    });
    server.once("exit", () => reject(new Error(log)));
  });
  return {
    url: `postgres:///postgres?host=${encodeURIComponent(folder)}&user=cerver`,
    stop: async () => {
      server.kill("SIGINT");
      await exited;
      await rm(folder, { recursive: true, force: true });
    },
  };
}
