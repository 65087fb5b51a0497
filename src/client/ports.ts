import { PortLink, PortList } from "../protocol/ports.js";
import { at, type GatewayHttp } from "./http.js";
import type * as wire from "./wire.js";

/** The ports that servers in a session listen on. */
export interface PortCalls {
  /** The TCP ports that the session's processes listen on. */
  ports(sessionId: string): Promise<wire.PortList["ports"]>;
  /** A link that shows a port of the session to whoever has it. */
  linkPort(sessionId: string, port: number, body?: wire.PortLinkRequest): Promise<wire.PortLink>;
}

export function portCalls(http: GatewayHttp): PortCalls {
  return {
    ports: async (id) => (await http.json("GET", at`/v2/sessions/${id}/ports`, PortList)).ports,
    linkPort: (id, port, body = {}) =>
      http.json("POST", at`/v2/sessions/${id}/ports/${String(port)}/link`, PortLink, { body }),
  };
}
