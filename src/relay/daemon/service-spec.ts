import { realpathSync } from "node:fs";
import { userInfo } from "node:os";
import { join, sep } from "node:path";
import { CerverError } from "../../protocol/errors.js";
import { cerverPaths, type Env } from "../../util/paths.js";
import { runProgram } from "./manager-program.js";
import type { ServiceSpec } from "./service.js";

/** What a relay may need of the environment that it was installed from, and what holds no secret. */
const SAVED = [
  "PATH",
  "SHELL",
  "LANG",
  "LC_ALL",
  "LC_CTYPE",
  "TZ",
  "XDG_CONFIG_HOME",
  "XDG_DATA_HOME",
  "XDG_STATE_HOME",
  "NODE_EXTRA_CA_CERTS",
  "CERVER_HOME",
  "CERVER_LABELS",
  "CERVER_LOG",
  "CERVER_MACHINE_ID",
  "CERVER_REDACT",
  "CERVER_RUN_GRACE",
  "CERVER_SECRETS_ALLOW",
  "CERVER_SECRETS_BACKEND",
  "CERVER_UPDATE",
] as const;
/** Addresses of proxies, which may hold a password. */
const PROXIES = ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"] as const;

export interface SpecWish {
  env: Env;
  /** The file of cerver that was started. */
  program: string;
  /** Flags of `cerver relay`. */
  flags: readonly string[];
  user: ServiceSpec["user"];
  /** For a service of another user: that one's folders count, not those of who installs it. */
  ofAnother: boolean;
  manager: string;
}

/** What a service is to start. `left` names what was not written, because it may be secret. */
export function serviceSpec(wish: SpecWish): { spec: ServiceSpec; left: string[] } {
  const { env, program, flags, user, ofAnother, manager } = wish;
  const ofFolders = ofAnother ? { HOME: user.home } : env;
  const paths = cerverPaths(ofFolders);
  const saved = SAVED.filter((name) => !ofAnother || !/^XDG_|^CERVER_HOME$/.test(name));
  const left = PROXIES.filter((name) => env[name] && hasPassword(env[name]));
  const kept = [...saved, ...PROXIES].filter((name) => env[name] && !left.includes(name as never));
  const spec: ServiceSpec = {
    command: [process.execPath, lastingPath(program, paths.data), "relay", "--service", manager, ...flags],
    env: Object.fromEntries(kept.map((name) => [name, env[name]!])),
    user,
    configDir: paths.config,
    stateDir: paths.state,
  };
  for (const text of [...spec.command, ...Object.values(spec.env), spec.configDir, spec.stateDir])
    refuseControls(text);
  return { spec, left };
}

/** Who asks, or with a name that user of this machine. Throws `not_found` when there is none. */
export async function serviceUser(name: string | undefined, env: Env): Promise<ServiceSpec["user"]> {
  if (name === undefined) {
    const { username, uid, homedir } = userInfo();
    return { name: username, uid, home: env.HOME || homedir };
  }
  const found = process.platform === "darwin" ? await byDirectory(name, env) : await byGetent(name, env);
  if (found) return found;
  throw new CerverError("not_found", `This machine has no user called "${name}".`, {
    hint: "Name the one whose relay it is to be: --user NAME.",
  });
}

/** getent(1): `name:x:uid:gid:words:home:shell`. */
async function byGetent(name: string, env: Env): Promise<ServiceSpec["user"] | undefined> {
  const { code, stdout } = await runProgram("getent", ["passwd", "--", name], env);
  const [found, , uid, , , home] = stdout.trim().split(":");
  return code === 0 && found && home ? { name: found, uid: Number(uid), home } : undefined;
}

async function byDirectory(name: string, env: Env): Promise<ServiceSpec["user"] | undefined> {
  const record = `/Users/${name}`;
  if (name.includes("/")) return undefined;
  const { code, stdout } = await runProgram(
    "dscl",
    [".", "-read", record, "UniqueID", "NFSHomeDirectory"],
    env,
  );
  const uid = /^UniqueID: (\d+)$/m.exec(stdout)?.[1];
  const home = /^NFSHomeDirectory: (.+)$/m.exec(stdout)?.[1];
  return code === 0 && uid && home ? { name, uid: Number(uid), home } : undefined;
}

/**
 * The program by a path that stays when cerver is updated: where the installer put it, `current` leads to the version in use.
 */
export function lastingPath(program: string, dataDir: string): string {
  const isVersion = realPath(program).startsWith(realPath(join(dataDir, "versions")) + sep);
  return isVersion ? join(dataDir, "current", "node_modules", ".bin", "cerver") : program;
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

function hasPassword(text: string): boolean {
  return /\/\/[^/]*@/.test(text) || /^[^/]*:[^/]*@/.test(text);
}

/** A service's file is read line by line: a text with an end of line in it would become two settings. */
function refuseControls(text: string): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this is about
  if (!/[\u0000-\u001f\u007f]/.test(text)) return;
  throw new CerverError(
    "invalid_request",
    `A service cannot be given ${JSON.stringify(text).slice(0, 200)}.`,
    {
      hint: "Leave out line ends and other control characters.",
    },
  );
}
