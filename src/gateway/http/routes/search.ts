import { Hono } from "hono";
import { SearchQuery } from "../../../protocol/search.js";
import type { Sessions } from "../../session/sessions.js";
import { type AccountVariables, requireScope } from "../auth.js";
import { query } from "../validate.js";

/** `/v2/search`: finding in the account's transcripts. */
export function searchRoutes({ sessions }: { sessions: Sessions }) {
  return new Hono<{ Variables: AccountVariables }>().get(
    "/",
    requireScope("read"),
    query(SearchQuery),
    async (c) => c.json(await sessions.search(c.var.principal.accountId, c.req.valid("query"))),
  );
}
