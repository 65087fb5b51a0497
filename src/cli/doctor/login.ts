import type { Probe } from "./probe.js";
import { shown } from "./shown.js";

/** Whether there is a token for the chosen gateway, and where it is kept. */
export const loginProbe: Probe = {
  name: "login",
  async run({ cli, gateway }) {
    const { gatewayUrl, from, token, tokenFrom, tokenWithheld } = await gateway();
    const where = `${shown(gatewayUrl)} (${FROM[from]})`;
    if (token === undefined) {
      return {
        status: "fail",
        what: `there is no token for ${where}`,
        fix:
          tokenWithheld ??
          `cerver login --gateway ${shown(gatewayUrl)}, or \`cerver up\` for a gateway of your own`,
      };
    }
    if (tokenFrom === "env") {
      const variable = cli.env.CERVER_API_TOKEN ? "CERVER_API_TOKEN" : "CERVER_API_KEY";
      return { status: "ok", what: `the token for ${where} is in ${variable}` };
    }
    const { apiKey } = await import("../../login/credential-store.js");
    const kept = await (await cli.credentials()).where(apiKey(gatewayUrl));
    return { status: "ok", what: `the token for ${where} is in ${kept}` };
  },
};

const FROM = {
  flag: "by --gateway",
  env: "by CERVER_GATEWAY_URL",
  project: "by .cerver.json",
  user: "by your settings",
  default: "unless you say another",
} as const;
