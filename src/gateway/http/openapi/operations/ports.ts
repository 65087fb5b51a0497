import { PortLink, PortLinkRequest, PortList } from "../../../../protocol/ports.js";
import type { Theme } from "../operation.js";

const PORTS = "/v2/sessions/{session_id}/ports";
const errors = [
  "session_not_found",
  "session_ended",
  "no_compute",
  "unsupported",
  "compute_offline",
] as const;

export const ports: Theme = {
  name: "Ports",
  description:
    "Servers that run in a session, shown through the gateway. The ports themselves are below `…/ports/PORT/`.",
  operations: [
    {
      id: "listPorts",
      method: "get",
      path: PORTS,
      summary: "The TCP ports that the session's processes listen on",
      scope: "read",
      answers: { 200: { what: "The ports.", json: PortList } },
      errors: [...errors],
    },
    {
      id: "linkPort",
      method: "post",
      path: `${PORTS}/{port}/link`,
      summary: "A link that shows a port to whoever has it, until it expires",
      scope: "run",
      body: { json: PortLinkRequest },
      answers: { 201: { what: "The link.", json: PortLink } },
      errors: [...errors, "not_found"],
    },
  ],
};
