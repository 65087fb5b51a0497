import type { Probe } from "./probe.js";

const VARIABLES = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/** Variables that other programs go through a proxy by. Their values may hold a password, and are not shown. */
export const proxyProbe: Probe = {
  name: "proxy",
  async run({ cli: { env }, gatewayUrl }) {
    const set = VARIABLES.filter((name) => env[name]);
    if (set.length === 0) return { status: "ok", what: "no proxy variables are set" };
    const { hostname } = await gatewayUrl();
    const noProxy = env.NO_PROXY ?? env.no_proxy ?? "";
    const are = `${set.join(", ")} ${set.length === 1 ? "is" : "are"} set`;
    if (isExempt(hostname, noProxy))
      return { status: "ok", what: `${are}, and NO_PROXY has ${hostname} in it` };
    return {
      status: "warn",
      what: `${are}, but the relay goes straight to the gateway, past any proxy`,
      fix: `Let this machine connect to ${hostname} itself; then: export NO_PROXY=${hostname}`,
    };
  },
};

/** Whether a list as `localhost,.example.com,*` has a host in it. */
function isExempt(host: string, list: string): boolean {
  return list
    .split(",")
    .map((item) =>
      item
        .trim()
        .replace(/:\d+$/, "")
        .replace(/^\*?\./, ""),
    )
    .some((item) => item === "*" || (item !== "" && (host === item || host.endsWith(`.${item}`))));
}
