import { existsSync, realpathSync } from "node:fs";
import { basename } from "node:path";
import type { Env } from "../util/paths.js";
import { pathOn } from "./machine.js";

/** What a client starts: a program, its arguments, and variables that are added to the client's own. */
export interface LaunchCommand {
  command: string;
  args: string[];
  env?: Record<string, string>;
}

export interface LaunchOptions {
  platform: NodeJS.Platform;
  /** This Node, `process.execPath`. */
  execPath: string;
  /** This program as it was started, `process.argv[1]`. */
  program: string;
  env: Env;
  /** Names the gateway in the arguments. */
  gatewayUrl?: string | undefined;
  /** For a file that other machines read too: npx from their PATH, and no path of this one. */
  portable?: boolean | undefined;
}

const NPX = ["-y", "-p", "cerver", "cerver-mcp"];

/** Names that stay when Node is updated; what they lead to often has a version in its path. */
const LASTING_NODES = ["/opt/homebrew/bin/node", "/usr/local/bin/node", "/usr/bin/node"];

/**
 * The command by which a client starts `cerver mcp` of this installation.
 *
 * A client with windows has a short PATH that rarely holds Node, so both paths are absolute. The program is named as it
 * was started: a link such as `~/.local/bin/cerver` goes on leading to the newest version. npx empties its cache when it
 * likes, so from there npx itself is written, with a PATH in which it finds Node.
 */
export function launchCommand(options: LaunchOptions): LaunchCommand {
  const { platform, program, portable } = options;
  const tail = options.gatewayUrl ? ["--gateway", options.gatewayUrl] : [];
  const env = filesEnvironment(options);
  if (portable) return { command: "npx", args: [...NPX, ...tail] };
  if (!/[\\/]_npx[\\/]/.test(program)) {
    const verb = /^cerver-mcp(?:\.js)?$/.test(basename(program)) ? [] : ["mcp"];
    return withEnv({ command: lastingNode(options), args: [program, ...verb, ...tail] }, env);
  }
  // Windows gives every program the user's whole PATH, and starts a .cmd by its shell only.
  if (platform === "win32") return withEnv({ command: "cmd", args: ["/c", "npx", ...NPX, ...tail] }, env);
  const folder = lastingNode(options).replace(/\/[^/]+$/, "");
  const PATH = [...new Set([folder, "/usr/local/bin", "/usr/bin", "/bin"])].join(":");
  return withEnv({ command: pathOn(options, folder, "npx"), args: [...NPX, ...tail] }, { PATH, ...env });
}

/** Where this shell keeps cerver's files, if it is elsewhere than a program without its variables looks. */
function filesEnvironment({ env }: LaunchOptions): Record<string, string> {
  if (env.CERVER_HOME) return { CERVER_HOME: env.CERVER_HOME };
  return env.XDG_CONFIG_HOME?.startsWith("/") ? { XDG_CONFIG_HOME: env.XDG_CONFIG_HOME } : {};
}

function withEnv(command: LaunchCommand, env: Record<string, string>): LaunchCommand {
  return Object.keys(env).length > 0 ? { ...command, env } : command;
}

function lastingNode({ platform, execPath }: LaunchOptions): string {
  if (platform === "win32") return execPath;
  const isThisNode = (path: string) => existsSync(path) && realpathSync(path) === execPath;
  return LASTING_NODES.find(isThisNode) ?? execPath;
}
