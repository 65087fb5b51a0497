import { CerverError } from "../../protocol/errors.js";
import type { Probe } from "./probe.js";
import { shown } from "./shown.js";

/** This machine as the gateway sees it. */
export const computeProbe: Probe = {
  name: "compute",
  needs: ["token", "relay"],
  async run({ client, computeId, gateway, relay }) {
    const { gatewayUrl } = await gateway();
    const serves = (await relay())?.note;
    const id = await computeId();
    if (serves !== gatewayUrl || id === undefined)
      return { status: "skipped", what: `the relay here does not serve ${shown(gatewayUrl)}` };
    const again = `Stop the relay and start it again: cerver relay --gateway ${shown(gatewayUrl)}`;
    try {
      const { label, status } = await (await client()).compute(id);
      if (status === "ready") return { status: "ok", what: `the gateway sees ${label} (${id}) as ready` };
      return {
        status: "fail",
        what: `the gateway sees ${label} (${id}) as ${status}, though its relay runs`,
        fix: `See what the relay says; it needs websockets to get through. ${again}`,
      };
    } catch (error) {
      if (!(error instanceof CerverError) || error.code !== "compute_not_found") throw error;
      return {
        status: "fail",
        what: `the account of this token has no compute ${id}`,
        fix: `It was removed, or belongs to another account: see \`cerver whoami\`. ${again}`,
      };
    }
  },
};
