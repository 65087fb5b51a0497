import { Hono } from "hono";
import { ComputeExecRequest, HeartbeatRequest, RegisterComputeRequest } from "../../../protocol/computes.js";
import { CerverError } from "../../../protocol/errors.js";
import type { ApiTokens, Principal } from "../../account/api-tokens.js";
import type { CloudProviders } from "../../compute/cloud-providers.js";
import type { Computes } from "../../compute/computes.js";
import { type AccountVariables, has, requireScope } from "../auth.js";
import { json } from "../validate.js";

export interface ComputeRoutesDeps {
  computes: Computes;
  clouds: CloudProviders;
  tokens: ApiTokens;
}

/** `/v2/computes`: attaching hosts, their heartbeats, and the list of them (contract section 3). */
export function computeRoutes({ computes, clouds, tokens }: ComputeRoutesDeps) {
  const read = requireScope("read");
  const attach = requireScope("run", "relay");
  return new Hono<{ Variables: AccountVariables }>()
    .post("/register", attach, json(RegisterComputeRequest), async (c) => {
      const { principal } = c.var;
      const body = c.req.valid("json");
      if (principal.computeId !== null) onlyItsOwn(principal, body.compute_id ?? principal.computeId);
      const proposed = principal.computeId ?? body.compute_id;
      const compute = await computes.register(principal.accountId, {
        ...body,
        ...(proposed !== undefined && { compute_id: proposed }),
      });
      return c.json({ ...compute, ...(await credential(tokens, principal, compute.compute_id, body.label)) });
    })
    .post("/:id/heartbeat", attach, json(HeartbeatRequest), async (c) => {
      const id = c.req.param("id");
      onlyItsOwn(c.var.principal, id);
      return c.json(await computes.heartbeat(c.var.principal.accountId, id, c.req.valid("json")));
    })
    .get("/", read, async (c) => {
      const { accountId } = c.var.principal;
      return c.json({
        computes: [...(await computes.list(accountId)), ...(await clouds.computes(accountId))],
      });
    })
    .get("/:id", requireScope("read", "relay"), async (c) => {
      const { accountId, scopes } = c.var.principal;
      const id = c.req.param("id");
      // A relay may see how it is seen.
      if (!has(scopes, "read")) onlyItsOwn(c.var.principal, id);
      const handle = (await clouds.computes(accountId)).find(({ compute_id }) => compute_id === id);
      return c.json(handle ?? (await computes.get(accountId, id)));
    })
    .post("/:id/exec", requireScope("run"), json(ComputeExecRequest), async (c) => {
      const { accountId } = c.var.principal;
      const answer = await computes.exec(accountId, c.req.param("id"), c.req.valid("json"), c.req.raw.signal);
      const type = answer.headers.get("content-type");
      return c.newResponse(answer.body, answer.status as 200, type ? { "content-type": type } : {});
    })
    .delete("/:id", requireScope("run", "relay"), async (c) => {
      const { principal } = c.var;
      const id = c.req.param("id");
      onlyItsOwn(principal, id);
      await computes.remove(principal.accountId, id);
      await tokens.revokeForCompute(principal.accountId, id);
      return c.json({ success: true, compute_id: id });
    });
}

/**
 * The credential that a host goes on with: a relay token is bound to the compute it has just registered, any other
 * token gets a relay token for this compute alone beside it, shown this once.
 */
async function credential(
  tokens: ApiTokens,
  { accountId, scopes, tokenId, computeId }: Principal,
  registered: string,
  label: string,
): Promise<{ relay_token?: string }> {
  if (scopes.has("relay") && !scopes.has("run") && !scopes.has("admin")) {
    if (computeId === null && tokenId !== null) await tokens.bindToCompute(tokenId, registered);
    return {};
  }
  // A host has one credential: the one from its last registration.
  await tokens.revokeForCompute(accountId, registered);
  const { key } = await tokens.create(accountId, {
    label: `relay of ${label}`,
    scopes: ["relay"],
    computeId: registered,
  });
  return { relay_token: key };
}

/** A relay's token serves the compute that it registered, and no other. */
function onlyItsOwn({ scopes, computeId }: Principal, id: string): void {
  if (scopes.has("run") || scopes.has("admin") || computeId === id) return;
  throw new CerverError("forbidden", `This token serves ${computeId ?? "no compute yet"}, not ${id}.`, {
    hint: "Register the compute first, or use a token with the scope run.",
  });
}
