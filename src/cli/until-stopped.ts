import type { CliContext } from "./context.js";

/**
 * Resolves when the process is asked to stop: Ctrl-C, `kill`, or a terminal that closes. A second Ctrl-C does not wait
 * for the orderly end.
 */
export function untilStopped({ process, out }: CliContext): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let asked = false;
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      process.on(signal, () => {
        if (asked && signal === "SIGINT") process.exit(130);
        if (asked) return;
        asked = true;
        if (signal === "SIGINT" && out.stderr.isTTY) out.say("\nStopping. Ctrl-C once more to not wait.");
        resolve(signal);
      });
    }
  });
}
