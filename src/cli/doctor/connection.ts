import { lookup } from "node:dns/promises";
import { once } from "node:events";
import { connect as connectTcp, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { Finding, Probe } from "./probe.js";

const DAY_MS = 86_400_000;
/** A certificate that ends sooner has not been renewed in time. */
const RENEW_MS = 7 * DAY_MS;

/** The way to the gateway: its name, its port, its certificate. */
export const connectionProbe: Probe = {
  name: "connection",
  async run({ gatewayUrl, signal }) {
    const { protocol, hostname, port: named } = await gatewayUrl();
    const isTls = protocol === "https:";
    const host = hostname.replace(/^\[(.*)\]$/, "$1");
    const port = Number(named || (isTls ? 443 : 80));
    let outer: Socket | undefined;
    const open = <S extends Socket>(socket: S): S => {
      outer = socket;
      // The last word of a connection that is cut is of no interest; what fails before is heard by who waits for it.
      return socket.on("error", () => {});
    };
    const since = performance.now();
    try {
      if (!isIP(host)) await lookup(host);
      const socket = open(connectTcp({ host, port, autoSelectFamily: true, signal }));
      await once(socket, "connect", { signal });
      const address = socket.remoteAddress ?? host;
      const reached = `${host}${address === host ? "" : ` is ${address},`} port ${port} answers`;
      if (!isTls) return plain(reached, host, address, since);
      const secure = open(connectTls({ socket, servername: isIP(host) ? "" : host, host }));
      await once(secure, "secureConnect", { signal });
      const until = new Date(secure.getPeerCertificate().valid_to);
      return certified(`${reached} with ${secure.getProtocol()}`, until, since);
    } catch (error) {
      return broken(error as NodeJS.ErrnoException, host, port);
    } finally {
      // The outer one ends the one that it is around. Node 20 does not survive both being destroyed.
      outer?.destroy();
    }
  },
};

const took = (since: number) => `in ${Math.ceil(performance.now() - since)} ms`;

function plain(reached: string, host: string, address: string, since: number): Finding {
  const what = `${reached} ${took(since)}`;
  if (/^127\.|^::1$/.test(address)) return { status: "ok", what };
  return {
    status: "warn",
    what: `${what}, but over plain HTTP: whoever is on the way can read the token`,
    fix: `Put TLS in front of the gateway, and use https://${host}.`,
  };
}

function certified(reached: string, until: Date, since: number): Finding {
  const what = `${reached} ${took(since)}; its certificate ends on ${until.toISOString().slice(0, 10)}`;
  if (until.getTime() - Date.now() > RENEW_MS) return { status: "ok", what };
  return { status: "warn", what: `${what}, soon`, fix: "Renew the certificate of the gateway." };
}

/** What codes of the system and of OpenSSL mean here. */
function broken({ code = "", message }: NodeJS.ErrnoException, host: string, port: number): Finding {
  const at = `${host}:${port}`;
  const fail = (what: string, fix: string): Finding => ({ status: "fail", what, fix });
  const other = "Start one with `cerver up`, or name another with --gateway or CERVER_GATEWAY_URL.";
  if (code === "ENOTFOUND" || code === "EAI_AGAIN")
    return fail(
      `DNS does not know ${host} (${code})`,
      `Check the name, or this machine's network: getent hosts ${host}`,
    );
  if (code === "ECONNREFUSED") return fail(`nothing listens at ${at} (${code})`, other);
  if (/SELF_SIGNED|UNABLE_TO_(?:GET_ISSUER|VERIFY_LEAF)/.test(code))
    return fail(
      `no authority that Node.js knows has signed the certificate of ${at} (${code})`,
      "If it is yours, or your company's: export NODE_EXTRA_CA_CERTS=/path/to/that-authority.pem",
    );
  if (code === "CERT_HAS_EXPIRED")
    return fail(`the certificate of ${at} has expired`, "Renew it, or set this machine's clock: date -u");
  if (code === "CERT_NOT_YET_VALID")
    return fail(`the certificate of ${at} is not valid yet`, "Set this machine's clock: date -u");
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID")
    return fail(
      `the certificate of ${at} is for another name`,
      "Name the gateway with --gateway as its certificate does.",
    );
  if (/^ERR_SSL|EPROTO/.test(code))
    return fail(`what listens at ${at} speaks no TLS`, `Use http:// for it, if it is on this machine: ${at}`);
  if (code === "ABORT_ERR")
    return fail(
      `${at} does not answer`,
      "A firewall may be in between: let this machine connect to it, or name another gateway with --gateway.",
    );
  return fail(`no connection to ${at} (${code || message})`, other);
}
