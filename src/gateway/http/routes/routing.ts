import { Hono } from "hono";
import { ReplayQuery } from "../../../protocol/routing.js";
import { CreateSessionRequest } from "../../../protocol/sessions.js";
import type { Sessions } from "../../session/sessions.js";
import { type AccountVariables, requireScope } from "../auth.js";
import { json, query } from "../validate.js";

/** `/v2/routing`: what the router would say, and what another policy would have said. Nothing is made. */
export function routingRoutes({ sessions }: { sessions: Sessions }) {
  const read = requireScope("read");
  return new Hono<{ Variables: AccountVariables }>()
    .post("/explain", read, json(CreateSessionRequest), async (c) => {
      const { decision, why } = await sessions.provisioning.recommend(
        c.var.principal.accountId,
        c.req.valid("json"),
      );
      return c.json({ ...decision, ...(why && { why }) });
    })
    .get("/replay", read, query(ReplayQuery), async (c) => {
      const { policy, since } = c.req.valid("query");
      return c.json(await sessions.replay(c.var.principal.accountId, policy, since));
    });
}
