import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { userInfo } from "node:os";

const PROBE_TIMEOUT_MS = 3_000;
/** machine-id(5), and where D-Bus had it before. */
const FILES = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

export interface MachineIdWish {
  gatewayUrl: string;
  /** Two relays of one user on one machine, each with its own folder, are two computes. */
  configDir: string;
  /** Takes the place of the system's own id, for machines that share one. */
  machine?: string | undefined;
}

/**
 * What this machine is known by at one gateway, when the id that it was given there is lost: the same text for the same
 * machine, user, folder and gateway. It says nothing of the machine to others, and differs from gateway to gateway.
 * Undefined where the system has no id of its own.
 */
export async function machineId({
  gatewayUrl,
  configDir,
  machine,
}: MachineIdWish): Promise<string | undefined> {
  const system = machine ?? (await systemId());
  if (!system) return undefined;
  const parts = ["cerver machine", gatewayUrl, system, userInfo().uid, configDir];
  return createHash("sha256").update(parts.join("\0")).digest("hex").slice(0, 32);
}

async function systemId(): Promise<string | undefined> {
  if (process.platform === "darwin") return platformUuid();
  for (const file of FILES) {
    const text = (await readFile(file, "utf8").catch(() => "")).trim();
    // An image that is to be copied says `uninitialized`, or nothing.
    if (/^[0-9a-f]{32}$/.test(text)) return text;
  }
  return undefined;
}

function platformUuid(): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile(
      "/usr/sbin/ioreg",
      ["-rd1", "-c", "IOPlatformExpertDevice"],
      { timeout: PROBE_TIMEOUT_MS, killSignal: "SIGKILL" },
      (error, stdout) => resolve(error ? undefined : /"IOPlatformUUID" = "([^"]+)"/.exec(stdout)?.[1]),
    );
  });
}
