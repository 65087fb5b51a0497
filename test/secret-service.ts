import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";

/** Nothing is started on demand: whoever is not on this bus is not there, a prompter least of all. */
const busConfig = (folder: string) => `<busconfig><type>session</type><listen>unix:dir=${folder}</listen>
<auth>EXTERNAL</auth><policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`;

/** A private D-Bus with, or without, GNOME's keyring on it: what a Linux desktop has. */
export class SecretService {
  readonly #folder: string;
  readonly #bus: ChildProcess;
  #keyring: ChildProcess | undefined;
  /** What finds it. */
  readonly env: { DBUS_SESSION_BUS_ADDRESS: string };

  private constructor(folder: string, bus: ChildProcess, address: string) {
    this.#folder = folder;
    this.#bus = bus;
    this.env = { DBUS_SESSION_BUS_ADDRESS: address };
  }

  static async start(): Promise<SecretService> {
    const folder = await mkdtemp(join(tmpdir(), "bus-"));
    await mkdir(join(folder, "home"), { mode: 0o700 });
    await writeFile(join(folder, "bus.conf"), busConfig(folder));
    const bus = spawn(
      "dbus-daemon",
      [`--config-file=${join(folder, "bus.conf")}`, "--nofork", "--print-address"],
      { stdio: ["ignore", "pipe", "ignore"] },
    );
    const address = await new Promise<string>((resolve, reject) => {
      bus.once("error", reject);
      bus.once("exit", () => reject(new Error("dbus-daemon ended at once")));
      bus.stdout!.once("data", (line: Buffer) => resolve(String(line).trim()));
    });
    return new SecretService(folder, bus, address);
  }

  /** Starts the keyring, in the place of the one before: unlocked by its password, or locked as after a login without one. */
  async keyring(state: "unlocked" | "locked"): Promise<void> {
    await this.endKeyring();
    const home = join(this.#folder, "home");
    const keyring = spawn(
      "gnome-keyring-daemon",
      [
        ...(state === "unlocked" ? ["--unlock"] : []),
        ...["--foreground", "--components=secrets", `--control-directory=${this.#folder}`],
      ],
      {
        env: { PATH: process.env.PATH, HOME: home, XDG_DATA_HOME: join(home, "data"), ...this.env },
        stdio: ["pipe", "ignore", "ignore"],
      },
    );
    this.#keyring = keyring;
    keyring.stdin!.end(state === "unlocked" ? "the password" : "");
    while (!(await this.#hasKeyring())) {
      if (keyring.exitCode !== null) throw new Error(`gnome-keyring-daemon ended with ${keyring.exitCode}`);
      await sleep(20);
    }
  }

  /** The values that another program finds under cerver's name. */
  async values(): Promise<string[]> {
    const { stdout, stderr } = await promisify(execFile)(
      "secret-tool",
      ["search", "--all", "service", "cerver"],
      {
        env: { PATH: process.env.PATH, ...this.env },
      },
    );
    return [...`${stdout}${stderr}`.matchAll(/^secret = (.*)$/gm)].map(([, value]) => value!);
  }

  async endKeyring(): Promise<void> {
    await ended(this.#keyring);
    this.#keyring = undefined;
  }

  async stop(): Promise<void> {
    await this.endKeyring();
    await ended(this.#bus);
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #hasKeyring(): Promise<boolean> {
    const { stdout } = await promisify(execFile)(
      "dbus-send",
      [
        ...["--session", "--print-reply=literal", "--dest=org.freedesktop.DBus", "/"],
        ...["org.freedesktop.DBus.NameHasOwner", "string:org.freedesktop.secrets"],
      ],
      { env: { PATH: process.env.PATH, ...this.env } },
    );
    return stdout.includes("true");
  }
}

async function ended(child: ChildProcess | undefined): Promise<void> {
  if (!child || child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await exited;
}
