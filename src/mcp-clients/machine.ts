import { posix, win32 } from "node:path";
import type { Env } from "../util/paths.js";

/** The computer whose MCP clients are configured, as far as it matters where their files are. */
export interface Machine {
  platform: NodeJS.Platform;
  /** The user's home folder. */
  home: string;
  /** The folder that `--scope project` means. */
  cwd: string;
  env: Env;
}

/** Joins a path as that machine writes paths, whichever this one is. */
export function pathOn({ platform }: Pick<Machine, "platform">, ...parts: string[]): string {
  return (platform === "win32" ? win32 : posix).join(...parts);
}

/** Where that machine's graphical programs keep a user's settings. */
export function settingsFolder(machine: Machine): string {
  const { platform, home, env } = machine;
  if (platform === "win32") return env.APPDATA || pathOn(machine, home, "AppData", "Roaming");
  if (platform === "darwin") return pathOn(machine, home, "Library", "Application Support");
  return env.XDG_CONFIG_HOME?.startsWith("/") ? env.XDG_CONFIG_HOME : pathOn(machine, home, ".config");
}
