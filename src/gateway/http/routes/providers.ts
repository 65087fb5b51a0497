import { Hono } from "hono";
import type { ProviderList } from "../../../protocol/providers.js";
import type { ProviderProfile } from "../../compute/catalog.js";
import type { Computes } from "../../compute/computes.js";
import type { ProviderRegistry } from "../../compute/registry.js";
import { type AccountVariables, requireScope } from "../auth.js";

export interface ProviderRoutesDeps {
  catalog: readonly ProviderProfile[];
  providers: ProviderRegistry;
  computes: Computes;
}

/** `GET /gateway/providers`: what this account can execute on now, and what is missing for the rest. */
export function providerRoutes({ catalog, providers, computes }: ProviderRoutesDeps) {
  return new Hono<{ Variables: AccountVariables }>().get("/", requireScope("read"), async (c) => {
    const attached = await computes.list(c.var.principal.accountId);
    const list = catalog.map(({ provider, label, howToEnable }) => {
      const own = attached.filter((compute) => compute.provider === provider);
      const ready = own.filter((compute) => compute.status === "ready").length;
      const executable = providers.has(provider) && ready > 0;
      return {
        provider,
        label,
        executable,
        reason: executable
          ? `${ready} ready ${ready === 1 ? "compute" : "computes"}`
          : own.length > 0
            ? `Every one of its ${own.length} computes is offline. ${howToEnable}`
            : howToEnable,
        computes: own.map(({ compute_id, label, status }) => ({ compute_id, label, status })),
      };
    });
    return c.json({ providers: list } satisfies ProviderList);
  });
}
