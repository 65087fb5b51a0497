import type { ServerResponse } from "node:http";
import type { HttpBindings } from "@hono/node-server";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import { type Context, Hono, type MiddlewareHandler } from "hono";
import { CerverError } from "../../../protocol/errors.js";
import { parse } from "../../../protocol/parse.js";
import { DEFAULT_LINK_SECONDS, PortLinkRequest, type PortList, PortNumber } from "../../../protocol/ports.js";
import { pour } from "../../../util/byte-stream.js";
import type { Session } from "../../session/session-record.js";
import { type AccountVariables, requireScope } from "../auth.js";
import { LINK_PARAMETER, type PreviewAddress, previewAddress } from "../preview-address.js";
import { type AdmissionDeps, admit, ticketCookie } from "../preview-admission.js";
import { answerHeaders, preflightHeaders, requestHeaders, type Visit } from "../preview-headers.js";
import { json } from "../validate.js";

export interface PortRoutesDeps extends AdmissionDeps {
  publicUrl: () => string;
  previewHost?: string | undefined;
}

type Variables = AccountVariables;

/** Methods that a web request cannot have (Fetch standard, "forbidden method"). */
const UNCARRIED = /^(?:CONNECT|TRACE|TRACK)$/i;

/** Answers who comes by a link, or to a port's own host, before anything of the gateway's own is looked at. */
export function previews(deps: PortRoutesDeps): MiddlewareHandler<{ Variables: Variables }> {
  return (c, next) => {
    const address = addressOf(c, deps);
    if (!address || (address.ticket === undefined && !address.isOwnHost)) return next();
    return welcome(c, address, deps);
  };
}

async function welcome(c: Context, address: PreviewAddress, deps: PortRoutesDeps): Promise<Response> {
  if (isPreflight(c, address)) {
    deps.ports.expiryOf(address.ticket!, address.sessionId, address.port);
    return new Response(null, { status: 204, headers: preflightHeaders(c.req.raw.headers) });
  }
  const visit = visitOf(c, address, deps);
  const entered = enter(c, visit, deps);
  if (entered) return entered;
  const credentials = { authorization: c.req.header("authorization"), cookie: c.req.header("cookie") };
  const { session, until } = await admit(address, credentials, deps, visit.scheme);
  return show(c, visit, session, until, deps);
}

/** `/v2/sessions/:id/ports`: what listens, links to it, and the ports themselves for those who have a token. */
export function portRoutes(deps: PortRoutesDeps) {
  const { sessions, ports } = deps;
  const run = requireScope("run");
  const load = (c: Context<{ Variables: Variables }>) =>
    sessions.open(c.var.principal.accountId, c.req.param("id") as string);
  return new Hono<{ Variables: Variables }>()
    .get("/:id/ports", requireScope("read"), async (c) =>
      c.json({ ports: await ports.list(await load(c), c.req.raw.signal) } satisfies PortList),
    )
    .post("/:id/ports/:port/link", run, json(PortLinkRequest), async (c) => {
      const port = parse(PortNumber, c.req.param("port"));
      const { expires_in } = c.req.valid("json");
      return c.json(await ports.link(await load(c), port, expires_in, c.req.raw.signal), 201);
    })
    .get("/:id/ports/:port", run, (c) => c.redirect(`${new URL(c.req.url).pathname}/`, 307))
    .all("/:id/ports/:port/*", run, async (c) => {
      const session = await load(c);
      const address = addressOf(c, deps);
      if (!address) {
        throw new CerverError("not_found", `There is no port ${c.req.param("port")}.`, {
          hint: "A port is a number from 1 to 65535.",
        });
      }
      // A page that a signed-in browser opens would have no token for its own parts: it gets a link.
      if (c.var.principal.tokenId === null && c.req.header("sec-fetch-dest") === "document") {
        const { url } = await ports.link(session, address.port, DEFAULT_LINK_SECONDS, c.req.raw.signal);
        c.header("Referrer-Policy", "no-referrer");
        return c.redirect(within(url, address.target), 303);
      }
      return show(c, visitOf(c, address, deps), session, undefined, deps);
    });
}

async function show(
  c: Context,
  visit: Visit,
  session: Session,
  until: number | undefined,
  { ports }: PortRoutesDeps,
): Promise<Response> {
  const { address } = visit;
  const { method, headers, body, signal } = c.req.raw;
  if (UNCARRIED.test(method)) {
    throw new CerverError("method_not_allowed", `A port is not shown by the method ${method}.`, {
      hint: "Every other method passes through.",
    });
  }
  const request = { method, path: address.target, headers: requestHeaders(headers, visit), body };
  const response = await ports.forward(session, address.port, request, { signal, until });
  const fromNobody = address.ticket !== undefined && headers.get("origin") === "null";
  return send(response, answerHeaders(response.headers, visit, fromNobody), c.env as HttpBindings);
}

/** By hand: what a web response becomes on its way out would get a type of content that its server did not give. */
async function send(
  { status, body }: Response,
  headers: Headers,
  { incoming, outgoing }: HttpBindings,
): Promise<Response> {
  if (!body || incoming.method === "HEAD") {
    await body?.cancel();
    return new Response(null, { status, headers });
  }
  // A visitor that is still sending may never stop: its connection serves no other request after this one.
  if (!incoming.complete) outgoing.shouldKeepAlive = false;
  for (const [name, value] of headers) outgoing.appendHeader(name, value);
  outgoing.writeHead(status);
  outgoing.flushHeaders();
  await pour(body, outgoing as ServerResponse);
  return RESPONSE_ALREADY_SENT;
}

/** On a host of its own, the ticket of a link becomes a cookie at once, and leaves the address. */
function enter(
  c: Context,
  { address, host, scheme }: Visit,
  { ports }: PortRoutesDeps,
): Response | undefined {
  const url = new URL(c.req.url);
  const ticket = url.searchParams.get(LINK_PARAMETER);
  if (!address.isOwnHost || ticket === null || c.req.method !== "GET") return undefined;
  const endsAt = ports.expiryOf(ticket, address.sessionId, address.port);
  url.searchParams.delete(LINK_PARAMETER);
  const seconds = Math.max(1, Math.floor((endsAt - Date.now()) / 1000));
  const cookie = `${ticketCookie(scheme)}=${ticket}; Path=/; Max-Age=${seconds}; HttpOnly; SameSite=Lax`;
  return new Response(null, {
    status: 303,
    headers: {
      location: `${scheme}://${host}${url.pathname}${url.search}`,
      "set-cookie": scheme === "https" ? `${cookie}; Secure` : cookie,
      "cache-control": "no-store",
      "referrer-policy": "no-referrer",
    },
  });
}

function isPreflight(c: Context, { ticket }: PreviewAddress): boolean {
  return (
    ticket !== undefined &&
    c.req.method === "OPTIONS" &&
    c.req.header("origin") === "null" &&
    c.req.header("access-control-request-method") !== undefined
  );
}

function addressOf(c: Context, { previewHost }: PortRoutesDeps): PreviewAddress | undefined {
  const { url } = c.req;
  const path = url.slice(url.indexOf("/", url.indexOf("://") + 3));
  return previewAddress(c.req.header("host") ?? "", path, previewHost);
}

function visitOf(c: Context, address: PreviewAddress, { publicUrl }: PortRoutesDeps): Visit {
  const { incoming } = c.env as HttpBindings;
  return {
    address,
    host: c.req.header("host") ?? "",
    scheme: publicUrl().startsWith("https:") ? "https" : "http",
    remoteAddress: incoming.socket.remoteAddress ?? "unknown",
  };
}

/** The same path and query behind a link. */
function within(link: string, target: string): string {
  const url = new URL(link);
  const { pathname, search } = new URL(`http://preview${target}`);
  url.pathname = url.pathname.replace(/\/$/, "") + pathname;
  url.search = [url.search.slice(1), search.slice(1)].filter((part) => part !== "").join("&");
  return url.href;
}
