import { execFile } from "node:child_process";
import { arch, cpus, hostname, platform, release, totalmem } from "node:os";
import { VERSION } from "../../util/version.js";
import { hasProc } from "./process-table.js";

/** What a host says of itself when it registers (contract section 3.3). */
export interface HostFacts {
  hostname: string;
  capabilities: Record<string, unknown>;
  metadata: Record<string, unknown>;
}

const PROBE_TIMEOUT_MS = 3_000;

/** Looks at this machine: its system, its size, and which programs really answer. */
export async function hostFacts({ hasDisplay }: { hasDisplay: boolean }): Promise<HostFacts> {
  const [git, python, npm] = await Promise.all([
    version("git", ["--version"]),
    version("python3", ["--version"]),
    version("npm", ["--version"]),
  ]);
  const found = {
    node: process.version,
    ...(git && { git }),
    ...(python && { python3: python }),
    ...(npm && { npm }),
  };
  return {
    hostname: hostname(),
    capabilities: {
      runtimes: ["shell", "node", ...(python ? ["python"] : [])],
      streaming: true,
      persistence: "high",
      desktop: hasDisplay,
      public_preview: hasProc,
      worktrees: false,
      dev_servers: false,
      git: git !== undefined,
      local_computer: true,
      cerver_provider: true,
      cli_tools: [],
    },
    metadata: {
      machine_name: hostname(),
      mode: "direct",
      os: platform(),
      os_release: release(),
      arch: arch(),
      cpus: cpus().length,
      memory_bytes: totalmem(),
      programs: found,
      relay_version: VERSION,
    },
  };
}

/** The version that a program prints; undefined when it is not there or does not answer. */
function version(file: string, args: string[]): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile(file, args, { timeout: PROBE_TIMEOUT_MS, killSignal: "SIGKILL" }, (error, stdout) => {
      resolve(error ? undefined : /\d[\w.]*/.exec(stdout)?.[0]);
    });
  });
}
