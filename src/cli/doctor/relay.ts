import { VERSION } from "../../util/version.js";
import type { Probe } from "./probe.js";
import { shown } from "./shown.js";

/** Whether this machine's relay runs, and which. */
export const relayProbe: Probe = {
  name: "relay",
  async run({ relay, computeId, namedGateway }) {
    const holder = await relay();
    const gatewayUrl = shown((await namedGateway()).gatewayUrl);
    if (holder) {
      const { pid, note, version = "that is older", since } = holder;
      const what = `process ${pid}, version ${version}, since ${since.slice(0, 16).replace("T", " ")} UTC, serves ${shown(note)}`;
      if (holder.version === VERSION) return { status: "ok", what };
      return {
        status: "warn",
        what: `${what}; this is ${VERSION}`,
        fix: "Stop that relay and start it again: its runs go on after a SIGTERM. A service: cerver relay service stop, then start.",
      };
    }
    const id = await computeId();
    if (id === undefined)
      return {
        status: "skipped",
        what: "this machine is no compute of that gateway; `cerver relay` makes it one",
      };
    return {
      status: "fail",
      what: `this machine is ${id}, but no relay runs here`,
      fix: `cerver relay --gateway ${gatewayUrl}`,
    };
  },
};
