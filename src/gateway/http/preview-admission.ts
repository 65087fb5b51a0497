import { CerverError } from "../../protocol/errors.js";
import type { ApiTokens } from "../account/api-tokens.js";
import type { Ports } from "../session/ports.js";
import type { Session } from "../session/session-record.js";
import type { Sessions } from "../session/sessions.js";
import { has } from "./auth.js";
import type { PreviewAddress } from "./preview-address.js";
import { isOwnToken } from "./preview-headers.js";

export interface AdmissionDeps {
  sessions: Sessions;
  ports: Ports;
  tokens: ApiTokens;
}

/** A ticket that a browser keeps for one port's own host. Over https no other host can set a cookie of that name. */
export function ticketCookie(scheme: "http" | "https"): string {
  return scheme === "https" ? "__Host-cerver_preview" : "cerver_preview";
}

/** The session whose port this visitor may see, by a token of its account, else by a ticket; and until when. */
export async function admit(
  address: PreviewAddress,
  { authorization, cookie }: { authorization: string | undefined; cookie: string | undefined },
  { sessions, ports, tokens }: AdmissionDeps,
  scheme: "http" | "https",
): Promise<{ session: Session; until: number | undefined }> {
  const { sessionId, port } = address;
  if (authorization !== undefined && isOwnToken(authorization)) {
    const principal = await tokens.verify(authorization.replace(/^Bearer +/i, ""));
    if (!principal)
      throw mayNot("unauthenticated", "The token in the Authorization header is wrong, expired or revoked.");
    if (!has(principal.scopes, "run"))
      throw mayNot("forbidden", "This token may not open ports: it needs the scope run.");
    return { session: await sessions.open(principal.accountId, sessionId), until: undefined };
  }
  const ticket =
    address.ticket ?? (address.isOwnHost ? cookieValue(cookie, ticketCookie(scheme)) : undefined);
  if (ticket === undefined)
    throw mayNot("unauthenticated", "This port is shown to those who have a link to it.");
  const until = ports.expiryOf(ticket, sessionId, port);
  return { session: await sessions.openSigned(sessionId), until };
}

function mayNot(code: "unauthenticated" | "forbidden", sentence: string): CerverError {
  return new CerverError(code, sentence, {
    hint: "Open the whole link that `cerver port SESSION PORT` prints.",
  });
}

function cookieValue(header: string | undefined, name: string): string | undefined {
  const pairs = (header ?? "").split(/;\s*/);
  return pairs.find((pair) => pair.startsWith(`${name}=`))?.slice(name.length + 1);
}
