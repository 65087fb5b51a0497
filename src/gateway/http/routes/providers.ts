import { Hono } from "hono";
import type { ProviderList } from "../../../protocol/providers.js";
import type { Sessions } from "../../session/sessions.js";
import { type AccountVariables, requireScope } from "../auth.js";

/** `GET /gateway/providers`: what this account can execute on now, and what is missing for the rest. */
export function providerRoutes({ sessions }: { sessions: Sessions }) {
  return new Hono<{ Variables: AccountVariables }>().get("/", requireScope("read"), async (c) =>
    c.json({
      providers: await sessions.provisioning.providers(c.var.principal.accountId),
    } satisfies ProviderList),
  );
}
