import { z } from "zod";
import { ComputeRemoved } from "../../../../protocol/answers.js";
import {
  Compute,
  ComputeExecRequest,
  ComputeList,
  HeartbeatRequest,
  RegisterComputeRequest,
} from "../../../../protocol/computes.js";
import type { Theme } from "../operation.js";

const Registered = Compute.extend({
  relay_token: z.string().optional().describe("A credential for this compute alone, shown this once."),
}).meta({ id: "RegisteredComputeRecord" });

export const computes: Theme = {
  name: "Computes",
  description: "Hosts that sessions run on: relays that dial in, and cloud providers.",
  operations: [
    {
      id: "listComputes",
      method: "get",
      path: "/v2/computes",
      summary: "The account's computes",
      scope: "read",
      answers: { 200: { what: "All of them.", json: ComputeList } },
    },
    {
      id: "registerCompute",
      method: "post",
      path: "/v2/computes/register",
      summary: "Attach this host",
      scope: ["run", "relay"],
      body: { json: RegisterComputeRequest, optional: false },
      answers: { 200: { what: "The compute.", json: Registered } },
      errors: ["too_many_requests"],
    },
    {
      id: "getCompute",
      method: "get",
      path: "/v2/computes/{compute_id}",
      summary: "One compute",
      description: "A relay's own token may ask for its own compute.",
      scope: ["read", "relay"],
      answers: { 200: { what: "The compute.", json: Compute } },
      errors: ["compute_not_found"],
    },
    {
      id: "heartbeat",
      method: "post",
      path: "/v2/computes/{compute_id}/heartbeat",
      summary: "Say that this host is there",
      scope: ["run", "relay"],
      body: { json: HeartbeatRequest },
      answers: { 200: { what: "The compute.", json: Compute } },
      errors: ["compute_not_found"],
    },
    {
      id: "execOnCompute",
      method: "post",
      path: "/v2/computes/{compute_id}/exec",
      summary: "Pass one request on to a compute's own surface",
      description: "The answer has the status and the body of the compute's.",
      scope: "run",
      body: { json: ComputeExecRequest, optional: false },
      answers: { 200: { what: "Whatever the compute answers.", json: z.unknown() } },
      errors: ["compute_not_found", "compute_offline", "compute_lost"],
    },
    {
      id: "deleteCompute",
      method: "delete",
      path: "/v2/computes/{compute_id}",
      summary: "Remove a compute from the account",
      scope: ["run", "relay"],
      answers: { 200: { what: "It is gone, and so are its tokens.", json: ComputeRemoved } },
      errors: ["compute_not_found", "conflict"],
    },
    {
      id: "connectRelay",
      method: "get",
      path: "/v2/connect/ws",
      summary: "A relay's link, upgraded to a websocket",
      scope: ["run", "relay"],
      query: z.object({ compute_id: z.string() }),
      answers: { 101: { what: "Frames of the tunnel from here on (subprotocol `cerver.tunnel.2`)." } },
      errors: ["compute_not_found"],
    },
  ],
};
