import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, openSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CerverError } from "../../protocol/errors.js";
import { ownProgram } from "../../util/own-program.js";
import { makePrivateFolder } from "../../util/private-folder.js";
import { VERSION } from "../../util/version.js";

/** A unix socket's path has room for 107 bytes on Linux and 103 on macOS (unix(7), sys/un.h). */
const MAX_SOCKET_PATH_BYTES = 100;
const START_TIMEOUT_MS = 15_000;
/** What a fork costs follows from how much memory a process has written to. */
const KEEPER_FLAGS = ["--max-semi-space-size=2", "--v8-pool-size=0"];

/** Where the keeper of a state folder listens: in that folder, or with a name made from its path where that is too long. */
export function keeperSocketPath(stateDir: string): string {
  const path = join(stateDir, "keeper.sock");
  if (Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES) return path;
  const name = createHash("sha256").update(stateDir).digest("hex").slice(0, 24);
  return join(tmpdir(), `cerver-${process.getuid?.() ?? 0}`, `${name}.sock`);
}

/** Connects to the keeper that runs already; undefined when there is none. */
export function connectKeeper(stateDir: string): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connect(keeperSocketPath(stateDir));
    socket.once("error", () => resolve(undefined));
    socket.once("connect", () => resolve(socket));
  });
}

/**
 * Starts a keeper, in a session of its own: what ends this process, or its terminal, leaves it alone. It gets the
 * environment of runs, which holds nothing secret.
 */
export async function startKeeper(stateDir: string, env: Record<string, string>): Promise<void> {
  await makePrivateFolder(stateDir);
  const log = openSync(join(stateDir, "keeper.log"), "w", 0o600);
  try {
    const child = spawn(
      process.execPath,
      [...KEEPER_FLAGS, keeperProgram(), keeperSocketPath(stateDir), stateDir, `cerver/${VERSION}`],
      { cwd: stateDir, env, detached: true, stdio: ["ignore", "pipe", log] },
    );
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(cannotStart("it did not answer in time")), START_TIMEOUT_MS);
      const done = (error?: Error) => {
        clearTimeout(timer);
        child.stdout?.destroy();
        child.unref();
        if (error) reject(error);
        else resolve();
      };
      child.once("error", (error) => done(cannotStart(error.message)));
      child.once("exit", (code) => done(code === 0 ? undefined : cannotStart(`it ended with code ${code}`)));
      child.stdout?.once("data", () => done());
    });
  } finally {
    closeSync(log);
  }
}

/** The keeper's own bundle: small, so that it starts quickly and a fork of it costs little. */
function keeperProgram(): string {
  const program = ownProgram("keeper.js");
  if (program) return program;
  throw cannotStart("this installation lacks dist/keeper.js; build or install it again");
}

function cannotStart(why: string): CerverError {
  return new CerverError("provider_failed", `The keeper of this machine's runs cannot be started: ${why}.`, {
    hint: "Its log is keeper.log in the state folder ($XDG_STATE_HOME/cerver).",
  });
}
