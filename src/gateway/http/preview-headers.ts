import { endToEnd } from "../../protocol/ports.js";
import type { PreviewAddress } from "./preview-address.js";

/** A previewed page is somebody else's: without a host of its own it gets an origin that is nobody's. */
const SANDBOX = "sandbox allow-scripts allow-forms allow-popups allow-downloads";

/** What the visitor's request says of the way it came, which the next one says anew. */
const ABOUT_THE_WAY = /^(?:forwarded|x-forwarded-.*|x-real-ip|host|expect|referer)$/;
/** What speaks for a whole origin, and must not speak for the gateway's; and what keeps a sandboxed page from its own parts. */
const FOR_AN_ORIGIN = [
  "alt-svc",
  "clear-site-data",
  "cross-origin-embedder-policy",
  "cross-origin-opener-policy",
  "cross-origin-resource-policy",
  "nel",
  "origin-agent-cluster",
  "report-to",
  "reporting-endpoints",
  "service-worker-allowed",
  "strict-transport-security",
];
const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\]|0\.0\.0\.0)$/;

/** Cookies of the gateway's own, which no server behind it sees or sets. */
const OWN_COOKIE = /^(?:__Host-|__Secure-)?cerver_/i;

export interface Visit {
  address: PreviewAddress;
  /** The Host header of the visitor. */
  host: string;
  scheme: "http" | "https";
  remoteAddress: string;
}

/** The headers of a visitor's request as the local server gets them. */
export function requestHeaders(headers: Iterable<readonly [string, string]>, visit: Visit): Headers {
  const { address, host, scheme, remoteAddress } = visit;
  const sent = new Headers();
  let via = "";
  for (const [name, value] of endToEnd(headers)) {
    if (name === "x-forwarded-for") via = `${value}, `;
    if (ABOUT_THE_WAY.test(name)) continue;
    if (name === "authorization" && isOwnToken(value)) continue;
    const kept =
      name === "cookie" ? foreignCookies(value) : name === "origin" ? localOrigin(value, visit) : value;
    if (kept !== "") sent.append(name, kept);
  }
  sent.set("x-forwarded-for", via + remoteAddress);
  sent.set("x-forwarded-host", host);
  sent.set("x-forwarded-proto", scheme);
  if (address.prefix !== "") sent.set("x-forwarded-prefix", address.prefix);
  return sent;
}

/** The headers of a local server's answer as the visitor gets them. */
export function answerHeaders(headers: Headers, { address }: Visit, fromNobody: boolean): Headers {
  const given = new Headers();
  for (const [name, value] of endToEnd(headers)) {
    if (name === "set-cookie") {
      const cookie = scopedCookie(value, address.prefix);
      if (cookie !== undefined) given.append(name, cookie);
    } else given.append(name, name === "location" ? visibleLocation(value, address) : value);
  }
  given.set("cache-control", privately(given.get("cache-control")));
  if (address.isOwnHost) return given;
  for (const name of FOR_AN_ORIGIN) given.delete(name);
  given.append("content-security-policy", SANDBOX);
  given.set("referrer-policy", "no-referrer");
  if (fromNobody) allowNobody(given);
  return given;
}

/** What a sandboxed page is told that asks, as browsers do, whether it may ask its own server. */
export function preflightHeaders(asked: Headers): Headers {
  const given = new Headers({
    "access-control-allow-methods": asked.get("access-control-request-method") ?? "GET",
    "access-control-max-age": "600",
  });
  const headers = asked.get("access-control-request-headers");
  if (headers !== null) given.set("access-control-allow-headers", headers);
  allowNobody(given);
  return given;
}

/** A sandboxed page's origin is "null", which is also anybody else's: what it may read is guarded by the ticket in its path. */
function allowNobody(headers: Headers): void {
  headers.set("access-control-allow-origin", "*");
  headers.set("access-control-expose-headers", "*");
  headers.delete("access-control-allow-credentials");
}

/** Whether a request may be from a page of this preview: one without Origin is from no page at all. */
export function isOwnOrigin(
  origin: string | undefined,
  { address, host }: Pick<Visit, "address" | "host">,
): boolean {
  if (origin === undefined) return true;
  if (origin === "null") return !address.isOwnHost;
  return URL.canParse(origin) && new URL(origin).host === host.toLowerCase();
}

/** Whether an Authorization header carries a token of ours, rather than what a previewed app logs in with. */
export function isOwnToken(authorization: string): boolean {
  return /^Bearer +ck_/i.test(authorization);
}

/** Local servers compare Origin and Host; the host is local to them, so the origin of their own page is too. */
function localOrigin(origin: string, visit: Visit): string {
  return isOwnOrigin(origin, visit) ? `http://localhost:${visit.address.port}` : origin;
}

function foreignCookies(header: string): string {
  return header
    .split(/;\s*/)
    .filter((pair) => !OWN_COOKIE.test(pair.trim()))
    .join("; ");
}

/** A cookie stays with the port that sets it: no domain, and a path within its own. */
function scopedCookie(cookie: string, prefix: string): string | undefined {
  const [pair = "", ...attributes] = cookie.split(";");
  if (OWN_COOKIE.test(pair.trim())) return undefined;
  const kept = attributes.flatMap((attribute) => {
    const [name = "", value = ""] = attribute.split("=");
    const word = name.trim().toLowerCase();
    if (word === "domain") return [];
    if (word !== "path" || prefix === "") return [attribute.trim()];
    return [`Path=${prefix}${value.trim().startsWith("/") ? value.trim() : "/"}`];
  });
  return [pair.trim(), ...kept].join("; ");
}

/** A redirect to the local server's own address leads to where the visitor sees it. */
function visibleLocation(location: string, { port, prefix, target }: PreviewAddress): string {
  const base = `http://localhost:${port}${target}`;
  if (!/^(?:\/|[a-z][a-z0-9+.-]*:)/i.test(location) || !URL.canParse(location, base)) return location;
  const url = new URL(location, base);
  const isLocal =
    /^https?:$/.test(url.protocol) && LOOPBACK.test(url.hostname) && url.port === portOf(url, port);
  return isLocal ? `${prefix}${url.pathname}${url.search}${url.hash}` : location;
}

/** How a URL of its scheme spells this port: not at all when it is the scheme's own. */
function portOf({ protocol }: URL, port: number): string {
  return (protocol === "http:" && port === 80) || (protocol === "https:" && port === 443) ? "" : String(port);
}

/** Whoever keeps copies for many must not keep this: who may see it is decided for each request. */
function privately(cacheControl: string | null): string {
  const kept = (cacheControl ?? "")
    .split(",")
    .map((one) => one.trim())
    .filter((one) => one !== "" && !/^(?:public|private|s-maxage=.*)$/i.test(one));
  return ["private", ...kept].join(", ");
}
