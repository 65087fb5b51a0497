import type { MiddlewareHandler } from "hono";
import { CerverError } from "../../protocol/errors.js";

const LOOPBACK_HOST = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?$/i;

/** Whether a name or address is this machine's own loopback. */
export function isLoopback(host: string): boolean {
  return LOOPBACK_HOST.test(host) || host === "::1";
}

/**
 * Guards a gateway without tokens against web pages: a page that rebinds its own name to 127.0.0.1 still sends that
 * name as Host, and a page on another site sends its Origin.
 */
export function localOnly(): MiddlewareHandler {
  return async (c, next) => {
    const host = c.req.header("host") ?? "";
    if (!isLoopback(host)) {
      throw new CerverError(
        "forbidden",
        `This gateway has no tokens, so it answers to localhost only, not to "${host}".`,
        {
          hint: "Use http://127.0.0.1 or http://localhost, or start the gateway without --no-auth.",
        },
      );
    }
    const origin = c.req.header("origin");
    if (origin !== undefined && origin !== `http://${host}`) {
      throw new CerverError(
        "forbidden",
        `This gateway has no tokens, so pages of "${origin}" may not call it.`,
        {
          hint: "Start the gateway without --no-auth and give that page a token.",
        },
      );
    }
    await next();
  };
}
