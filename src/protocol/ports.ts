import { z } from "zod";
import { PROVIDER_PATH } from "./sandbox.js";

/** How long a link to a port works when nothing is said, and at most, in seconds. */
export const DEFAULT_LINK_SECONDS = 3_600;
export const MAX_LINK_SECONDS = 7 * 24 * 3_600;

/** A port as paths name it. */
export const PortNumber = z.coerce.number().int().min(1).max(65_535);

/** Body of `POST /v2/sessions/:id/ports/:port/link`. */
export const PortLinkRequest = z.strictObject({
  expires_in: z
    .number()
    .int()
    .min(1)
    .max(MAX_LINK_SECONDS)
    .default(DEFAULT_LINK_SECONDS)
    .describe("Seconds until the link stops working."),
});
export type PortLinkRequest = z.infer<typeof PortLinkRequest>;

/** Its answer. `expires_at` is null where a vendor serves the port under an address of its own. */
export const PortLink = z.looseObject({
  url: z.string(),
  expires_at: z.string().nullable(),
  port: z.number().int(),
});
export type PortLink = z.infer<typeof PortLink>;

/** One TCP port that a process of the session listens on. */
export const ListeningPort = z.looseObject({
  port: z.number().int(),
  address: z.string(),
  pid: z.number().int(),
  command: z.string(),
});
export type ListeningPort = z.infer<typeof ListeningPort>;

/** Answer of `GET /v2/sessions/:id/ports`, and of the relay's list. */
export const PortList = z.looseObject({ ports: z.array(ListeningPort) });
export type PortList = z.infer<typeof PortList>;

/**
 * Where a relay serves a sandbox's port: what follows is the path at the local server. A `socket` takes the visitor's
 * bytes as its request's body and answers with those of the local server.
 */
export function relayPortPath(sandboxId: string, kind: "ports" | "sockets", port: number): string {
  return `${PROVIDER_PATH}/sandboxes/${encodeURIComponent(sandboxId)}/${kind}/${port}`;
}

/**
 * The header by which a relay says that an answer is the local server's and not its own: `answer`, or `upgraded` when
 * the connection has changed its protocol.
 */
export const PORT_ANSWER_HEADER = "x-cerver-port-answer";

/** Headers that speak about one connection and are never handed on (RFC 9110, section 7.6.1). */
const HOP_BY_HOP = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** The headers that may be handed on: none about the connection, none that `Connection` names, none of our own. */
export function endToEnd(headers: Iterable<readonly [name: string, value: string]>): [string, string][] {
  const all = [...headers].map(([name, value]) => [name.toLowerCase(), value] as [string, string]);
  const named = new Set(
    all
      .filter(([name]) => name === "connection")
      .flatMap(([, value]) => value.split(",").map((one) => one.trim().toLowerCase())),
  );
  return all.filter(([name]) => !HOP_BY_HOP.has(name) && !named.has(name) && !name.startsWith("x-cerver-"));
}
