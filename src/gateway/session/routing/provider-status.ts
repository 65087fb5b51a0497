import type { z } from "zod";
import type { ProviderStatus } from "../../../protocol/providers.js";
import { enableCommands, type ProviderProfile, profileView } from "../../compute/profile.js";
import type { Candidate, RouterInput } from "./router.js";

type Status = z.infer<typeof ProviderStatus>;

/**
 * What an account can do with a provider now, and if nothing, why not. `candidates` are what a router found for a
 * request that asks for nothing.
 */
export function providerStatus(
  profile: ProviderProfile,
  { computes }: Pick<RouterInput, "computes">,
  candidates: readonly Candidate[],
  gatewayUrl: string,
): Status {
  const { provider, label } = profile;
  const own = computes.filter((compute) => compute.provider === provider);
  const ready = candidates.filter((one) => one.provider === provider && one.executable);
  const best = ready[0] ?? candidates.find((one) => one.provider === provider);
  return {
    provider,
    label,
    executable: ready.length > 0,
    reason:
      ready.length > 0
        ? readyWords(profile, ready.length)
        : missingWords(profile, own.length, best, gatewayUrl),
    computes: own.map(({ compute_id, label, status }) => ({ compute_id, label, status })),
    profile: profileView(profile, gatewayUrl),
    ...(best && {
      own_measurements: {
        startup: best.estimates.startup,
        exec: best.estimates.exec,
        success: best.estimates.success,
      },
    }),
  };
}

function readyWords({ provider, kind }: ProviderProfile, count: number): string {
  if (kind === "rehearsal") return "A recording is played: nothing runs.";
  if (provider !== "p69") return "Enabled with this account's own credentials";
  return `${count} ready ${count === 1 ? "compute" : "computes"}`;
}

function missingWords(
  profile: ProviderProfile,
  attached: number,
  candidate: Candidate | undefined,
  gatewayUrl: string,
): string {
  const held = candidate?.refusals.find(({ code }) => code === "held");
  if (held) return held.reason;
  const enable = howToEnable(profile, gatewayUrl);
  return attached > 0 ? `Every one of its ${attached} computes is offline. ${enable}` : enable;
}

function howToEnable(profile: ProviderProfile, gatewayUrl: string): string {
  const [command] = enableCommands(profile, gatewayUrl);
  if (command === undefined) return `${profile.label} is known for comparison only.`;
  return profile.provider === "p69"
    ? `Run \`${command}\` on the machine you want to use.`
    : `Give this account's credentials: \`${command}\`.`;
}
