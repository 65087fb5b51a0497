import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { countedOutput, output } from "./bare.js";
import { Child } from "./child.js";
import { Absent, type Command, type Contender, check, type Lane } from "./contender.js";
import type { Endings } from "./endings.js";
import { newFolder } from "./folder.js";
import { freePort, LOOPBACK, takesConnections } from "./loopback.js";
import { programFile } from "./program-file.js";

/** OpenSSH over loopback: an sshd of the bench's own, and one connection that is up and that all commands share. */
export class OpenSsh implements Contender {
  readonly #client: string;
  readonly #options: readonly string[];

  private constructor(
    client: string,
    options: readonly string[],
    /** The login shell that sshd hands commands to. */
    readonly shell: string,
  ) {
    this.#client = client;
    this.#options = options;
  }

  static async start(endings: Endings): Promise<OpenSsh | Absent> {
    const [server, client, keygen] = ["sshd", "ssh", "ssh-keygen"].map(programFile);
    if (!server || !client || !keygen) return new Absent("not installed");
    const folder = newFolder(endings, "ssh");
    const port = await freePort();
    writeKeysAndConfig(folder, keygen, port);
    for (const { shell, start } of serverStarts(folder, server)) {
      const sshd = new Child(endings, start[0], start.slice(1));
      if (!(await takesConnections(sshd, port))) {
        await sshd.end();
        if (shell === "/bin/sh") continue;
        return new Absent("does not start", `sshd: ${sshd.lastWord}`);
      }
      // sshd collects the process of a connection that ended a moment ago, unless it is ended before.
      endings.add(() => sleep(200));
      const options = clientOptions(folder, port);
      const master = new Child(endings, client, ["-M", "-N", ...options]);
      if (await isUp(client, options, master)) return new OpenSsh(client, options, shell);
      return new Absent("does not connect", `ssh: ${master.lastWord}`);
    }
    return new Absent("does not start");
  }

  async lanes(command: Command, count: number): Promise<Lane[]> {
    const once = async () => check(command, await output(this.#ssh(command.shell)));
    return Array.from({ length: count }, () => once);
  }

  cat(file: string): Promise<number> {
    const child = this.#ssh(`exec cat '${file}'`);
    child.stderr!.resume();
    return countedOutput(child);
  }

  #ssh(command: string): ChildProcess {
    return spawn(this.#client, [...this.#options, "--", command], { stdio: ["ignore", "pipe", "pipe"] });
  }
}

function writeKeysAndConfig(folder: string, keygen: string, port: number): void {
  for (const key of ["host", "user"]) {
    execFileSync(keygen, ["-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", join(folder, key)]);
  }
  writeFileSync(join(folder, "authorized_keys"), readFileSync(join(folder, "user.pub")));
  writeFileSync(
    join(folder, "known_hosts"),
    `[${LOOPBACK}]:${port} ${readFileSync(join(folder, "host.pub"))}`,
  );
  const config = {
    Port: port,
    ListenAddress: LOOPBACK,
    HostKey: join(folder, "host"),
    AuthorizedKeysFile: join(folder, "authorized_keys"),
    PidFile: "none",
    // The keys are in a folder below one that everybody may write to.
    StrictModes: "no",
    AllowUsers: userInfo().username,
    AuthenticationMethods: "publickey",
    PermitRootLogin: "prohibit-password",
    UsePAM: "no",
    PrintMotd: "no",
    // One session for each command that runs, all over one connection.
    MaxSessions: 1000,
  };
  writeFileSync(
    join(folder, "sshd_config"),
    Object.entries(config)
      .map(([name, value]) => `${name} ${value}\n`)
      .join(""),
  );
}

interface ServerStart {
  shell: string;
  start: [string, ...string[]];
}

/**
 * How sshd may be started, the best first.
 *
 * It hands commands to the user's login shell, and what is compared with is `/bin/sh`. Root can give it that: an sshd in
 * a mount namespace of its own sees another `/etc/passwd`, and an empty `/run` with the folder it asks for. Nobody else
 * sees either.
 */
function serverStarts(folder: string, server: string): ServerStart[] {
  const { username, uid } = userInfo();
  const shell = userInfo().shell ?? "/bin/sh";
  const sshd: [string, ...string[]] = [server, "-D", "-e", "-f", join(folder, "sshd_config")];
  const unshare = programFile("unshare");
  if (uid !== 0 || !unshare || !existsSync("/etc/passwd")) return [{ shell, start: sshd }];
  const passwd = join(folder, "passwd");
  const lines = readFileSync("/etc/passwd", "utf8").split("\n");
  const withShell = lines.map((line) =>
    line.startsWith(`${username}:`) ? line.replace(/[^:]*$/, "/bin/sh") : line,
  );
  writeFileSync(passwd, withShell.join("\n"));
  const script = `mount --bind "$1" /etc/passwd && mount -t tmpfs none /run && mkdir -m 755 /run/sshd && shift && exec "$@"`;
  return [
    {
      shell: "/bin/sh",
      start: [unshare, "--mount", "--propagation", "private", "/bin/sh", "-c", script, "sh", passwd, ...sshd],
    },
    { shell, start: sshd },
  ];
}

function clientOptions(folder: string, port: number): string[] {
  const options = {
    ControlPath: join(folder, "c"),
    IdentityFile: join(folder, "user"),
    IdentitiesOnly: "yes",
    UserKnownHostsFile: join(folder, "known_hosts"),
    BatchMode: "yes",
    ConnectTimeout: 5,
  };
  return [
    // The settings of whoever runs this are none of the bench's.
    ...["-F", "none", "-T", "-p", String(port), "-l", userInfo().username],
    ...Object.entries(options).flatMap(([name, value]) => ["-o", `${name}=${value}`]),
    LOOPBACK,
  ];
}

/** Waits for the shared connection. */
async function isUp(client: string, options: readonly string[], master: Child): Promise<boolean> {
  for (let tries = 0; tries < 100 && master.isRunning; tries++) {
    const asked = await output(
      spawn(client, ["-O", "check", ...options], { stdio: ["ignore", "pipe", "pipe"] }),
    ).then(
      () => true,
      () => false,
    );
    if (asked) return true;
    await sleep(50);
  }
  return false;
}
