import { Hono } from "hono";
import { EnableProviderRequest } from "../../../protocol/providers.js";
import type { CloudProviders } from "../../compute/cloud-providers.js";
import { type AccountVariables, requireScope } from "../auth.js";
import { json } from "../validate.js";

/** `/v2/account/providers`: cloud providers with the account's own credentials (contract section 3.4). */
export function accountProviderRoutes({ clouds }: { clouds: CloudProviders }) {
  const admin = requireScope("admin");
  return new Hono<{ Variables: AccountVariables }>()
    .get("/", requireScope("read"), async (c) =>
      c.json({ providers: await clouds.list(c.var.principal.accountId) }),
    )
    .post("/", admin, json(EnableProviderRequest), async (c) =>
      c.json(await clouds.enable(c.var.principal.accountId, c.req.valid("json"), c.req.raw.signal), 201),
    )
    .delete("/:name", admin, async (c) => {
      await clouds.disable(c.var.principal.accountId, c.req.param("name"));
      return c.json({ success: true, provider: c.req.param("name") });
    });
}
