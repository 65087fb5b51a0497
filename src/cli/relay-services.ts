import { CerverError } from "../protocol/errors.js";
import type { ServiceManager, ServiceStatus } from "../relay/daemon/service.js";
import type { CliContext } from "./context.js";

export interface WhoseService {
  system?: boolean;
  user?: string;
}

/** The manager of the service that is meant: the caller's own, or with `system` the machine's. */
export async function chosenService(context: CliContext, { system = false, user }: WhoseService) {
  const { serviceManager } = await import("../relay/daemon/service.js");
  const { serviceUser } = await import("../relay/daemon/service-spec.js");
  const { env } = context;
  const isRoot = context.process.getuid?.() === 0;
  if (user !== undefined && !system)
    throw new CerverError("invalid_request", "--user belongs to --system.", {
      hint: "Without --system the service is that of whoever installs it.",
    });
  if (!system && isRoot && env.SUDO_USER && env.SUDO_USER !== "root")
    throw new CerverError("invalid_request", "By sudo this would be root's service, not yours.", {
      hint: "Leave out sudo, or install it for the machine with --system.",
    });
  const name = user ?? (system && isRoot ? env.SUDO_USER : undefined);
  const owner = await serviceUser(name, env);
  return {
    manager: serviceManager({ system, env, user: owner }),
    user: owner,
    isRoot,
    ofAnother: owner.uid !== context.process.getuid?.(),
  };
}

/** The service that this user's relay has here, if any: a user's own comes first. */
export async function installedService(
  context: CliContext,
): Promise<{ manager: ServiceManager; status: ServiceStatus } | undefined> {
  const { serviceManager } = await import("../relay/daemon/service.js");
  const { serviceUser } = await import("../relay/daemon/service-spec.js");
  const user = await serviceUser(undefined, context.env);
  for (const system of [false, true]) {
    try {
      const manager = serviceManager({ system, env: context.env, user });
      const status = await manager.status();
      if (status.installed) return { manager, status };
    } catch (error) {
      // Where there is no manager there is no service.
      if (!(error instanceof CerverError) || error.code !== "unsupported") throw error;
      return undefined;
    }
  }
  return undefined;
}

/** A service in a few words, such as `systemd user unit, running (process 71)`. */
export function serviceWords({ manager, scope, state, detail, pid, without_login }: ServiceStatus): string {
  const kind =
    manager === "systemd" ? `systemd ${scope} unit` : scope === "user" ? "launchd agent" : "launchd daemon";
  const process = pid === null ? detail : `process ${pid}`;
  const login = without_login === false ? "; it ends when you log out" : "";
  return `${kind}, ${state} (${process})${login}`;
}
