import { join } from "node:path";
import { runOrFail, runProgram } from "./manager-program.js";
import type { ServiceManager, ServicePlace, ServiceSpec, ServiceStatus } from "./service.js";

const LABEL = "dev.kompany.cerver.relay";
/** What `launchctl` answers for a service that it does not know. */
const NOT_LOADED = 113;

/**
 * The property list. What each key is for that is not plain:
 *
 * - KeepAlive: an end that the relay chose (code 0) is one; anything else starts it again, every 10 s at most.
 * - AbandonProcessGroup: stopping the relay is not stopping the runs, which the keeper holds.
 * - ProcessType: other kinds are slowed down, and so would be the runs.
 */
export function launchdPlist(
  { command, env, user, stateDir }: ServiceSpec,
  { system }: Pick<ServicePlace, "system">,
): string {
  const stderr = join(stateDir, "relay.stderr.log");
  return `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<!-- Written by \`cerver relay service install\`; \`cerver relay service uninstall\` removes it. -->
<plist version="1.0">
${value({
  Label: LABEL,
  ...(system && { UserName: user.name }),
  ProgramArguments: command,
  EnvironmentVariables: { HOME: user.home, ...env },
  WorkingDirectory: user.home,
  RunAtLoad: true,
  KeepAlive: { SuccessfulExit: false },
  ThrottleInterval: 10,
  ExitTimeOut: 30,
  AbandonProcessGroup: true,
  ProcessType: "Interactive",
  StandardOutPath: "/dev/null",
  StandardErrorPath: stderr,
})}
</plist>
`;
}

/** launchd of this machine, or of this user. */
export function launchd({ system, env, user }: ServicePlace): ServiceManager {
  const file = join(
    system ? "/Library/LaunchDaemons" : join(user.home, "Library/LaunchAgents"),
    `${LABEL}.plist`,
  );
  const domain = system ? "system" : `gui/${user.uid}`;
  const target = `${domain}/${LABEL}`;
  const noManager = system
    ? "See `launchctl print system`."
    : "An agent needs a user who is logged in at the screen; on a Mac without one use --system.";
  const launchctl = (...args: string[]) => runOrFail("launchctl", args, env, noManager);
  const print = () => runProgram("launchctl", ["print", target], env);
  const isLoaded = async () => (await print()).code === 0;
  const bootout = async () => {
    const { code, stderr } = await runProgram("launchctl", ["bootout", target], env);
    if (code !== 0 && code !== NOT_LOADED && (await isLoaded())) await launchctl("bootout", target);
    return stderr;
  };

  return {
    name: "launchd",
    file,
    fileText: (spec) => launchdPlist(spec, { system }),
    async load({ changed }) {
      await launchctl("enable", target);
      const loaded = await isLoaded();
      if (loaded && changed) await bootout();
      if (!loaded || changed) await launchctl("bootstrap", domain, file);
      else await launchctl("kickstart", target);
    },
    async unload() {
      await bootout();
    },
    forget: async () => {},
    async start() {
      if (!(await isLoaded())) await launchctl("bootstrap", domain, file);
      await launchctl("kickstart", target);
    },
    async stop() {
      // launchd would start again what ends while it is loaded; it is loaded again at the next login or start.
      await bootout();
    },
    async status() {
      const { code, stdout, stderr } = await print();
      const state = /^\s*state = (.+)$/m.exec(stdout)?.[1];
      return {
        manager: "launchd",
        scope: system ? "system" : "user",
        file,
        installed: code === 0,
        state: stateOf(code, state, /^\s*last exit code = (\d+)/m.exec(stdout)?.[1]),
        detail: code === 0 ? (state ?? "no state") : stderr.trim().split("\n")[0] || "not loaded",
        pid: Number(/^\s*pid = (\d+)$/m.exec(stdout)?.[1]) || null,
        enabled: code === 0,
        // An agent belongs to the session at the screen.
        without_login: system,
      };
    },
    async advice() {
      if (system) return [];
      return [
        {
          why: "It runs while you are logged in at the screen. On a Mac that nobody logs in to, install it for the machine:",
          type: `sudo cerver relay service install --system --user ${user.name}`,
        },
      ];
    },
  };
}

function stateOf(
  code: number,
  state: string | undefined,
  lastExit: string | undefined,
): ServiceStatus["state"] {
  if (code !== 0) return "stopped";
  if (state === "running") return "running";
  if (state === "spawn scheduled" || state === "waiting") return "starting";
  return lastExit !== undefined && lastExit !== "0" ? "failed" : "stopped";
}

type Plist = string | number | boolean | readonly Plist[] | { readonly [key: string]: Plist };

/** A value as XML, as plist(5) has it. */
function value(of: Plist, indent = ""): string {
  if (typeof of === "string") return `${indent}<string>${escaped(of)}</string>`;
  if (typeof of === "number") return `${indent}<integer>${of}</integer>`;
  if (typeof of === "boolean") return `${indent}<${of}/>`;
  const inner = `${indent}\t`;
  if (Array.isArray(of))
    return `${indent}<array>\n${of.map((one) => value(one, inner)).join("\n")}\n${indent}</array>`;
  const entries = Object.entries(of).map(
    ([key, one]) => `${inner}<key>${escaped(key)}</key>\n${value(one, inner)}`,
  );
  return `${indent}<dict>\n${entries.join("\n")}\n${indent}</dict>`;
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
