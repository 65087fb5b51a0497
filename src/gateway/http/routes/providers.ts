import { Hono } from "hono";
import type { ProviderList } from "../../../protocol/providers.js";
import type { CloudProviders } from "../../compute/cloud-providers.js";
import type { Computes } from "../../compute/computes.js";
import { enableCommands, type ProviderProfile, profileView } from "../../compute/profile.js";
import type { ProviderRegistry } from "../../compute/registry.js";
import { type AccountVariables, requireScope } from "../auth.js";

export interface ProviderRoutesDeps {
  catalog: readonly ProviderProfile[];
  providers: ProviderRegistry;
  computes: Computes;
  clouds: CloudProviders;
  /** The address to put into commands that people paste. */
  publicUrl: () => string;
}

/** `GET /gateway/providers`: what this account can execute on now, and what is missing for the rest. */
export function providerRoutes({ catalog, providers, computes, clouds, publicUrl }: ProviderRoutesDeps) {
  return new Hono<{ Variables: AccountVariables }>().get("/", requireScope("read"), async (c) => {
    const { accountId } = c.var.principal;
    const attached = [...(await computes.list(accountId)), ...(await clouds.computes(accountId))];
    const list = catalog.map((profile) => {
      const { provider, label } = profile;
      const own = attached.filter((compute) => compute.provider === provider);
      const ready = own.filter((compute) => compute.status === "ready").length;
      const executable = providers.has(provider) && ready > 0;
      return {
        provider,
        label,
        executable,
        reason: executable
          ? profile.kind === "rehearsal"
            ? "A recording is played: nothing runs."
            : `${ready} ready ${ready === 1 ? "compute" : "computes"}`
          : own.length > 0
            ? `Every one of its ${own.length} computes is offline. ${howToEnable(profile, publicUrl())}`
            : howToEnable(profile, publicUrl()),
        computes: own.map(({ compute_id, label, status }) => ({ compute_id, label, status })),
        profile: profileView(profile, publicUrl()),
      };
    });
    return c.json({ providers: list } satisfies ProviderList);
  });
}

function howToEnable(profile: ProviderProfile, gatewayUrl: string): string {
  const [command] = enableCommands(profile, gatewayUrl);
  if (command === undefined) return `${profile.label} is known for comparison only.`;
  return profile.provider === "p69"
    ? `Run \`${command}\` on the machine you want to use.`
    : `Give this account's credentials: \`${command}\`.`;
}
