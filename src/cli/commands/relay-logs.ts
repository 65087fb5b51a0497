import { Command } from "commander";
import { CerverError } from "../../protocol/errors.js";
import { parseJson } from "../../util/parse-json.js";
import type { CliContext } from "../context.js";
import { wholeNumber } from "../options.js";
import { printable } from "../output.js";

interface LogsOptions {
  follow?: boolean;
  lines: number;
  json?: boolean;
}

/** `cerver relay logs`, and by another name `cerver relay service logs`. */
export const relayLogsCommand = (context: CliContext) =>
  new Command("logs")
    .summary("show what the relay said while it ran as a service")
    .option("-f, --follow", "go on with what it says from now on")
    .option("-n, --lines <count>", "how many of the last lines", wholeNumber(0, 100_000), 50)
    .option("--json", "print the lines as they are kept: JSON, one each")
    .addHelpText("after", "\nExamples:\n  $ cerver relay logs\n  $ cerver relay logs -f -n 0")
    .action(async ({ follow, lines, json }: LogsOptions) => {
      const { out, paths, process } = context;
      const { hasLog, logLines } = await import("../../util/log-file.js");
      const { relayLogPath } = await import("../../relay/status.js");
      const path = relayLogPath(paths.state);
      if (!hasLog(path)) {
        throw new CerverError("not_found", `There is no log: ${path} is not there.`, {
          hint: "A relay writes one while it runs as a service (`cerver relay service install`); in a terminal it speaks there.",
        });
      }
      const stop = new AbortController();
      for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => stop.abort());
      for await (const line of logLines(path, { last: lines, follow: follow ? stop.signal : undefined }))
        out.line(json ? line : inWords(line));
    });

const LEVELS: Record<number, string> = {
  10: "trace",
  20: "debug",
  30: "info",
  40: "warn",
  50: "error",
  60: "fatal",
};

/** A line of pino's for people: time, level, sentence, and what an error said. */
function inWords(line: string): string {
  const { time, level, msg, err } = (parseJson(line) ?? {}) as Record<string, unknown>;
  if (typeof time !== "string" || typeof level !== "number") return printable(line);
  const { message } = (err ?? {}) as { message?: unknown };
  const words = typeof message === "string" ? `${msg}: ${message}` : String(msg);
  return printable(`${time.slice(0, 19).replace("T", " ")}  ${(LEVELS[level] ?? "").padEnd(5)}  ${words}`);
}
