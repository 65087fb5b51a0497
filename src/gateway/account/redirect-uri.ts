/** Schemes that a browser runs, reads from or dials itself, so that no application can be behind them. */
const BROWSERS_OWN =
  /^(?:about|blob|chrome|data|edge|file|filesystem|ftp|intent|javascript|mailto|sms|tel|vbscript|view-source|ws|wss):$/;

/**
 * Whether a client may be answered at this address: `https`, `http` on this very machine, or an application's own scheme
 * (RFC 8252, section 7), without fragment, user or password.
 */
export function mayRedirectTo(uri: string): boolean {
  if (!/^[!-~]{1,512}$/.test(uri) || uri.includes("#") || !URL.canParse(uri)) return false;
  const url = new URL(uri);
  if (url.username !== "" || url.password !== "") return false;
  if (url.protocol === "https:") return true;
  if (url.protocol === "http:") return isThisMachine(url);
  return !BROWSERS_OWN.test(url.protocol) && (uri.includes("://") || url.protocol.includes("."));
}

/** Whether an address leads to a program on the browser's own machine. */
export function isThisMachine({ protocol, hostname }: URL): boolean {
  return (
    (protocol === "http:" || protocol === "https:") &&
    /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/.test(hostname)
  );
}

/**
 * Whether a client has this address: letter by letter, but for the port on loopback, which programs take as they find it
 * (RFC 8252, section 7.3).
 */
export function isRedirectOf(registered: readonly string[], uri: string): boolean {
  if (!mayRedirectTo(uri)) return false;
  const anyPort = withoutLoopbackPort(uri);
  return registered.some(
    (one) => one === uri || (anyPort !== undefined && withoutLoopbackPort(one) === anyPort),
  );
}

/** Undefined for an address that is not `http` on this machine. */
function withoutLoopbackPort(uri: string): string | undefined {
  const url = new URL(uri);
  if (url.protocol !== "http:" || !isThisMachine(url)) return undefined;
  url.port = "";
  return url.href;
}

/** The address with the answer in its query. What stands there already stays. */
export function withAnswer(uri: string, answer: Record<string, string | undefined>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(answer)) if (value !== undefined) query.set(name, value);
  return `${uri}${uri.includes("?") ? "&" : "?"}${query}`;
}
