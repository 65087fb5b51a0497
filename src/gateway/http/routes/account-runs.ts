import { Hono } from "hono";
import { ListRunsQuery } from "../../../protocol/runs.js";
import type { Sessions } from "../../session/sessions.js";
import { type AccountVariables, requireScope } from "../auth.js";
import { query } from "../validate.js";

/** `/v2/runs`: the account's runs, whatever their session. */
export function accountRunRoutes({ sessions }: { sessions: Sessions }) {
  const read = requireScope("read");
  return new Hono<{ Variables: AccountVariables }>()
    .get("/", read, query(ListRunsQuery), async (c) =>
      c.json(await sessions.records.list({ accountId: c.var.principal.accountId }, c.req.valid("query"))),
    )
    .get("/:run", read, async (c) => {
      const { accountId } = c.var.principal;
      const sessionId = await sessions.records.sessionOf(accountId, c.req.param("run"));
      return c.json(await sessions.runs.get(await sessions.get(accountId, sessionId), c.req.param("run")));
    });
}
