import { Hono } from "hono";
import { AccountLimits } from "../../../protocol/costs.js";
import type { Sessions } from "../../session/sessions.js";
import { type AccountVariables, requireScope } from "../auth.js";
import { json } from "../validate.js";

/** `/v2/account/limits`: what an account may spend and hold, and what it has; `/orphans`: what could not be ended yet. */
export function accountLimitRoutes({ sessions }: { sessions: Sessions }) {
  const read = requireScope("read");
  return new Hono<{ Variables: AccountVariables }>()
    .get("/limits", read, async (c) => c.json(await sessions.costs.limits(c.var.principal.accountId)))
    .put("/limits", requireScope("admin"), json(AccountLimits), async (c) =>
      c.json(await sessions.costs.setLimits(c.var.principal.accountId, c.req.valid("json"))),
    )
    .get("/orphans", read, async (c) => {
      const rows = await sessions.orphans.list(c.var.principal.accountId);
      return c.json({
        orphans: rows.map(({ id, session_id, provider, compute_id, sandbox_id, found_at, why }) => ({
          orphan_id: id,
          session_id,
          provider,
          compute_id,
          sandbox_id,
          found_at: new Date(found_at).toISOString(),
          why,
        })),
      });
    });
}
