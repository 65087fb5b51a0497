import { randomBytes } from "node:crypto";
import { request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import type { Duplex } from "node:stream";
import { TUNNEL_SUBPROTOCOL } from "../../protocol/tunnel.js";
import type { Probe } from "./probe.js";

/** More than any refusal has. */
const MAX_BODY = 64 * 1024;

interface Answer {
  status: number;
  body: string;
}

/**
 * Whether a websocket gets through to the address of relays. It goes there without a token: who refuses it for want of
 * one is the gateway, and nothing in between has lost the upgrade.
 */
export const websocketProbe: Probe = {
  name: "websocket",
  needs: ["connection"],
  async run({ gatewayUrl, signal }) {
    const url = new URL(
      `${(await gatewayUrl()).href.replace(/\/+$/, "")}/v2/connect/ws?compute_id=cmp_doctor`,
    );
    const [upgraded, plain] = await Promise.all([ask(url, true, signal), ask(url, false, signal)]);
    if (upgraded.status !== 401) {
      return {
        status: "fail",
        what: `a websocket to ${url.pathname} is answered with HTTP ${upgraded.status}, not refused for want of a token`,
        fix: LET_PASS,
      };
    }
    if (reasonOf(upgraded.body) === reasonOf(plain.body)) {
      return {
        status: "warn",
        what: "a websocket is answered like a plain request, as if a proxy took its Upgrade header away",
        fix: LET_PASS,
      };
    }
    return { status: "ok", what: "upgrades get through to the gateway" };
  },
};

const LET_PASS =
  "Let the proxy in front of the gateway pass websockets on. nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;";

function ask(url: URL, upgrade: boolean, signal: AbortSignal): Promise<Answer> {
  const headers = {
    connection: "Upgrade",
    upgrade: "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": randomBytes(16).toString("base64"),
    "sec-websocket-protocol": TUNNEL_SUBPROTOCOL,
  };
  return new Promise((resolve, reject) => {
    const request = (url.protocol === "https:" ? requestHttps : requestHttp)(url, {
      agent: false,
      signal,
      ...(upgrade && { headers }),
    });
    request.once("error", reject);
    request.once("upgrade", ({ statusCode = 0 }, socket: Duplex) => {
      socket.destroy();
      resolve({ status: statusCode, body: "" });
    });
    request.once("response", (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        body += chunk;
        if (body.length > MAX_BODY) request.destroy(new Error("The answer is too large."));
      });
      response.once("error", reject);
      response.once("end", () => resolve({ status: response.statusCode ?? 0, body }));
    });
    request.end();
  });
}

/** A refusal without what is different each time. */
function reasonOf(body: string): string {
  return body.replace(/"request_id":"[^"]*"/, "");
}
