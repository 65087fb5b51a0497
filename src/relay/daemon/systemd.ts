import { join } from "node:path";
import { cerverPaths } from "../../util/paths.js";
import { runOrFail, runProgram } from "./manager-program.js";
import type { ServiceManager, ServicePlace, ServiceSpec, ServiceStatus } from "./service.js";

const UNIT = "cerver-relay.service";
const SHOWN = ["LoadState", "ActiveState", "SubState", "MainPID", "UnitFileState", "Result", "NRestarts"];

/** What a relay exits with when starting it again cannot help (sysexits.h, EX_CONFIG). */
export const GAVE_UP = 78;

/**
 * The unit. What each line is for that is not plain:
 *
 * - KillMode: stopping the relay is not stopping the runs, which the keeper holds in this unit's control group.
 * - Delegate: the keeper makes a group in there for each run.
 * - OOMPolicy: a run that takes too much memory ends alone.
 * - No sandboxing here (NoNewPrivileges, ProtectHome, PrivateTmp): runs would inherit it, and lose sudo, bubblewrap or files
 *   that their owner let them have.
 */
export function systemdUnit(
  { command: [program = "", ...args], env, user, configDir }: ServiceSpec,
  { system }: Pick<ServicePlace, "system">,
): string {
  const lines = [
    "# Written by `cerver relay service install`; `cerver relay service uninstall` removes it.",
    "[Unit]",
    "Description=cerver relay: this machine as a compute",
    ...(system ? ["Wants=network-online.target", "After=network-online.target"] : []),
    "StartLimitIntervalSec=300",
    "StartLimitBurst=10",
    "",
    "[Service]",
    "Type=exec",
    ...(system ? [`User=${user.name}`] : []),
    `ExecStart=${[quoted(program), ...args.map(quotedWord)].join(" ")}`,
    "WorkingDirectory=~",
    ...Object.entries(env).map(([name, value]) => `Environment=${quoted(`${name}=${value}`)}`),
    `EnvironmentFile=-${escapedPercent(join(configDir, "relay.env"))}`,
    "Restart=always",
    "RestartSec=5",
    `RestartPreventExitStatus=${GAVE_UP}`,
    "KillMode=process",
    "TimeoutStopSec=30",
    "Delegate=yes",
    "OOMPolicy=continue",
    "SyslogIdentifier=cerver-relay",
    "",
    "[Install]",
    `WantedBy=${system ? "multi-user.target" : "default.target"}`,
    "",
  ];
  return lines.join("\n");
}

/** systemd of this machine, or of this user. */
export function systemd({ system, env, user }: ServicePlace): ServiceManager {
  const scope = system ? [] : ["--user"];
  const file = system
    ? join("/etc/systemd/system", UNIT)
    : join(cerverPaths({ ...env, CERVER_HOME: undefined }).config, "../systemd/user", UNIT);
  const noManager = system
    ? "See `systemctl status`."
    : "A user's services need a session of that user: log in as it (not by su or sudo), or use --system.";
  const systemctl = (...args: string[]) => runOrFail("systemctl", [...scope, ...args], env, noManager);

  return {
    name: "systemd",
    file,
    fileText: (spec) => systemdUnit(spec, { system }),
    async load({ changed }) {
      await systemctl("daemon-reload");
      await systemctl("enable", UNIT);
      // One that ran into its limit does not start again before this.
      await runProgram("systemctl", [...scope, "reset-failed", UNIT], env);
      await systemctl(changed ? "restart" : "start", UNIT);
    },
    async unload() {
      await systemctl("disable", "--now", UNIT);
    },
    async forget() {
      await systemctl("daemon-reload");
      await runProgram("systemctl", [...scope, "reset-failed", UNIT], env);
    },
    async start() {
      await runProgram("systemctl", [...scope, "reset-failed", UNIT], env);
      await systemctl("start", UNIT);
    },
    async stop() {
      await systemctl("stop", UNIT);
    },
    async status() {
      const { stdout, stderr, code } = await runProgram(
        "systemctl",
        [...scope, "show", UNIT, `--property=${SHOWN.join(",")}`],
        env,
      );
      const shown = Object.fromEntries(stdout.split("\n").map((line) => splitAt(line, "=")));
      return {
        manager: "systemd",
        scope: system ? "system" : "user",
        file,
        installed: shown.LoadState === "loaded",
        state: code === 0 ? stateOf(shown) : "unknown",
        detail:
          code === 0
            ? `${shown.ActiveState} (${shown.SubState}${shown.Result === "success" ? "" : `, ${shown.Result}`})`
            : stderr.trim().split("\n")[0]!,
        pid: Number(shown.MainPID) || null,
        enabled: shown.UnitFileState === "enabled",
        without_login: system ? true : await lingers(user.name, env),
      };
    },
    async advice() {
      if (system || (await lingers(user.name, env)) !== false) return [];
      return [
        {
          why: "It ends when you log out, and starts when you log in. To let it run without you:",
          type: `loginctl enable-linger ${user.name}`,
        },
      ];
    },
  };
}

function stateOf({ ActiveState, SubState }: Record<string, string | undefined>): ServiceStatus["state"] {
  if (ActiveState === "active") return "running";
  if (ActiveState === "failed") return "failed";
  if (ActiveState === "activating" || SubState === "auto-restart") return "starting";
  return ActiveState === "inactive" || ActiveState === "deactivating" ? "stopped" : "unknown";
}

/** Whether a user's services run while that user is not logged in; null where logind does not say. */
async function lingers(user: string, env: ServicePlace["env"]): Promise<boolean | null> {
  const { code, stdout } = await runProgram(
    "loginctl",
    ["show-user", user, "--property=Linger", "--value"],
    env,
  ).catch(() => ({ code: 1, stdout: "" }));
  return code === 0 ? stdout.trim() === "yes" : null;
}

/** A text as one word of a setting: in quotes, with `%` doubled (systemd.syntax(7), systemd.unit(5) "Specifiers"). */
function quoted(text: string): string {
  return `"${escapedPercent(text).replace(/["\\]/g, "\\$&")}"`;
}

/** {@link quoted}, for the arguments, where systemd would also put in variables (systemd.service(5) "Command lines"). */
function quotedWord(text: string): string {
  return quoted(text.replaceAll("$", "$$$$"));
}

function escapedPercent(text: string): string {
  return text.replaceAll("%", "%%");
}

function splitAt(line: string, sign: string): [string, string] {
  const at = line.indexOf(sign);
  return [line.slice(0, at), line.slice(at + 1)];
}
