import { homedir } from "node:os";
import { join } from "node:path";

/** The variables of an environment; `process.env` fits. */
export type Env = Readonly<Record<string, string | undefined>>;

/**
 * Where cerver keeps its files, by the XDG Base Directory Specification 0.8.
 *
 * `CERVER_HOME` puts everything under one folder instead. macOS uses the same places, as its developers expect.
 */
export function cerverPaths(env: Env) {
  const home = env.HOME || homedir();
  const under = (variable: string, fallback: string) => {
    if (env.CERVER_HOME) return join(env.CERVER_HOME, fallback.split("/").at(-1)!);
    const base = env[variable];
    // The specification asks to ignore relative paths.
    return join(base?.startsWith("/") ? base : join(home, fallback), "cerver");
  };
  return {
    /** Settings and credentials. */
    config: under("XDG_CONFIG_HOME", ".config"),
    /** The gateway's database. */
    data: under("XDG_DATA_HOME", ".local/share"),
    /** Journals, logs and the sandboxes' working folders. */
    state: under("XDG_STATE_HOME", ".local/state"),
  };
}
export type CerverPaths = ReturnType<typeof cerverPaths>;
