import { fstatSync, ftruncateSync } from "node:fs";
import { CerverError } from "../protocol/errors.js";
import type { ServiceManagerName } from "../relay/daemon/service.js";
import { LogFile } from "../util/log-file.js";
import type { Logger } from "../util/logger.js";
import type { CliContext } from "./context.js";
import { EXIT } from "./exit-codes.js";

/** Nothing empties the file that launchd keeps of stderr. */
const MAX_STDERR_BYTES = 1024 * 1024;

/** How a relay speaks that a service manager started. */
export interface AsService {
  logger: Logger;
  say(line: string): void;
  /** Tells why the relay has ended, and ends the process so that its manager starts it again only where that can help. */
  end(error: unknown): never;
}

/** Lets everything be said into a log that stays small, and to the manager's own where it keeps that in bounds. */
export async function asService(context: CliContext, manager: ServiceManagerName): Promise<AsService> {
  const { createLogger, LOG_LEVELS } = await import("../util/logger.js");
  const { relayLogPath } = await import("../relay/status.js");
  const { env, paths } = context;
  const process: NodeJS.Process = context.process;
  const file = await LogFile.open(relayLogPath(paths.state));
  if (manager === "launchd") boundStderr();
  const logger = createLogger(LOG_LEVELS.find((level) => level === env.CERVER_LOG) ?? "info", {
    write(line) {
      if (manager === "systemd") process.stderr.write(line);
      file.write(line);
    },
  });
  return {
    logger,
    say: (line) => logger.info({}, line),
    end(error) {
      if (!(error instanceof CerverError)) {
        logger.error({ err: error }, "The relay failed, and is started again.");
        return process.exit(EXIT.failed);
      }
      logger.error({ code: error.code }, `${error.message} ${error.hint ?? ""}`.trim());
      logger.error({}, "The relay has given up, and is not started again by itself.");
      // launchd knows one code that means so.
      return process.exit(manager === "launchd" ? EXIT.ok : EXIT.gaveUp);
    },
  };
}

function boundStderr(): void {
  try {
    const stderr = fstatSync(2);
    if (stderr.isFile() && stderr.size > MAX_STDERR_BYTES) ftruncateSync(2);
  } catch {
    // It is closed, or nothing that has a size.
  }
}
