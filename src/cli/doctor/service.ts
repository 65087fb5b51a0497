import { installedService, serviceWords } from "../relay-services.js";
import type { Probe } from "./probe.js";

/** Whether something keeps the relay running, and whether it does so while nobody is logged in. */
export const serviceProbe: Probe = {
  name: "service",
  async run({ cli }) {
    const service = await installedService(cli);
    if (!service)
      return {
        status: "skipped",
        what: "nothing keeps the relay running; `cerver relay service install` does",
      };
    const { manager, status } = service;
    const what = serviceWords(status);
    if (status.state === "failed")
      return { status: "fail", what, fix: "cerver relay logs, then cerver relay service start" };
    if (status.state !== "running") return { status: "warn", what, fix: "cerver relay service start" };
    if (!status.enabled)
      return {
        status: "warn",
        what: `${what}; it does not start by itself`,
        fix: "cerver relay service install",
      };
    const [advice] = await manager.advice();
    return advice ? { status: "warn", what, fix: advice.type } : { status: "ok", what };
  },
};
