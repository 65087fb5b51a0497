/** Where a request to a previewed port goes, as its host and path say. */
export interface PreviewAddress {
  sessionId: string;
  port: number;
  /** What the visitor's paths begin with, without a slash at its end: nothing on a host of the port's own. */
  prefix: string;
  /** The path at the local server, with its query. */
  target: string;
  /** The ticket in the path. */
  ticket: string | undefined;
  /** Whether the port has a host of its own, and so an origin of its own. */
  isOwnHost: boolean;
}

const PATH = /^(\/(?:v2|gateway)\/sessions\/([\w-]{1,128})\/ports\/(\d{1,5})(?:\/~([\w.-]{1,256}))?)(\/.*)?$/;
const HOST_LABEL = /^(\d{1,5})-([0-9a-f]{32})$/;
const SESSION_PREFIX = "sess_";

/**
 * Reads a Host header and a path with its query: `/v2/sessions/ID/ports/PORT/~TICKET/…`, or `PORT-ID.preview.example.com/…` where
 * there is a preview host such as `*.preview.example.com`. Undefined for any other address, and for a port's path without
 * the slash after it.
 */
export function previewAddress(
  host: string,
  url: string,
  previewHost: string | undefined,
): PreviewAddress | undefined {
  const own = previewHost === undefined ? undefined : ownHost(host, previewHost);
  // Nearly every request is for something else.
  if (!own && !url.includes("/ports/")) return undefined;
  if (!url.startsWith("/") || !URL.canParse(`http://preview${url}`)) return undefined;
  // Dots that lead upwards are taken out here: on their way they must not leave the port's own path.
  const { pathname, search } = new URL(`http://preview${url}`);
  if (own) return { ...own, prefix: "", target: pathname + search, ticket: undefined, isOwnHost: true };
  const [, prefix, sessionId, port, ticket, path] = PATH.exec(pathname) ?? [];
  if (!prefix || !sessionId || !path || !isPort(Number(port))) return undefined;
  return { sessionId, port: Number(port), prefix, target: path + search, ticket, isOwnHost: false };
}

/** The beginning of the address under which a port is seen on a host of its own, or by a path with a ticket. */
export function previewUrl(
  { sessionId, port, ticket }: { sessionId: string; port: number; ticket: string },
  publicUrl: string,
  previewHost: string | undefined,
): string {
  const id = sessionId.slice(SESSION_PREFIX.length);
  if (previewHost === undefined || !HOST_LABEL.test(`${port}-${id}`))
    return `${publicUrl}/v2/sessions/${sessionId}/ports/${port}/~${ticket}/`;
  const base = new URL(publicUrl);
  const name = previewHost.replace("*", `${port}-${id}`);
  const host = /:\d+$/.test(name) || base.port === "" ? name : `${name}:${base.port}`;
  return `${base.protocol}//${host}/?${LINK_PARAMETER}=${ticket}`;
}

/** Carries a ticket to a host of a port's own, where it becomes a cookie at once. */
export const LINK_PARAMETER = "cerver_link";

function ownHost(host: string, previewHost: string): { sessionId: string; port: number } | undefined {
  const [name = ""] = host.toLowerCase().split(":");
  const [suffix = ""] = previewHost.toLowerCase().slice(1).split(":");
  if (!name.endsWith(suffix)) return undefined;
  const [, port, id] = HOST_LABEL.exec(name.slice(0, -suffix.length)) ?? [];
  return id && isPort(Number(port)) ? { sessionId: SESSION_PREFIX + id, port: Number(port) } : undefined;
}

function isPort(port: number): boolean {
  return port >= 1 && port <= 65_535;
}
