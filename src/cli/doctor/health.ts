import type { Probe } from "./probe.js";

/** Whether what answers there is a cerver gateway. */
export const healthProbe: Probe = {
  name: "gateway",
  needs: ["connection"],
  async run({ health: ask, gatewayUrl }) {
    const { status, health, tookMs } = await ask();
    if (health)
      return { status: "ok", what: `${health.service} ${health.version} answers in ${Math.ceil(tookMs)} ms` };
    const { host } = await gatewayUrl();
    return {
      status: "fail",
      what: `what answers at ${host} is no healthy cerver gateway (HTTP ${status} to GET /health)`,
      fix: "Check the address; a proxy or another program may be in between. Name another with --gateway.",
    };
  },
};
