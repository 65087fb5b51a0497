import { Hono } from "hono";
import { AuditQuery, ReportSecretUse } from "../../../protocol/audit.js";
import type { Sessions } from "../../session/sessions.js";
import { type AccountVariables, requireScope } from "../auth.js";
import { json, query } from "../validate.js";

/** `/v2/audit`: who used which secret for what. */
export function auditRoutes({ sessions: { secretUses } }: { sessions: Sessions }) {
  return new Hono<{ Variables: AccountVariables }>()
    .get("/", requireScope("read"), query(AuditQuery), async (c) =>
      c.json(await secretUses.list(c.var.principal.accountId, c.req.valid("query"))),
    )
    .post("/secret-uses", requireScope("run"), json(ReportSecretUse), async (c) =>
      c.json(await secretUses.report(c.var.principal, c.req.valid("json")), 201),
    );
}
