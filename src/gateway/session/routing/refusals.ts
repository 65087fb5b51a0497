import type { Estimates, Refusal } from "../../../protocol/routing.js";
import { type Breaker, heldWords } from "./breaker.js";
import type { Contender } from "./contender.js";
import type { Wishes } from "./wishes.js";

/** Why a candidate cannot take this session; empty when it can. */
export function refusalsOf(
  contender: Contender,
  wishes: Wishes,
  estimates: Estimates,
  breaker: Breaker | undefined,
  now: number,
): Refusal[] {
  return [
    ...outOfReach(contender),
    ...notWanted(contender, wishes),
    ...held(wishes, breaker, now),
    ...unmet(contender, wishes),
    ...overLimits(contender, wishes, estimates),
  ];
}

const AWAY: Record<NonNullable<Contender["away"]>, (label: string) => string> = {
  offline: (label) => `${label} is offline`,
  modelled_only: (label) => `${label} is known for comparison only: this gateway has no adapter for it`,
  no_adapter: (label) => `This gateway runs without an adapter for ${label}`,
  no_credentials: () => "No credentials for it on this account",
};

function outOfReach({ away, label }: Contender): Refusal[] {
  return away === undefined ? [] : [{ code: away, reason: AWAY[away](label).slice(0, 200) }];
}

function notWanted({ key, provider }: Contender, { computeId, providers }: Wishes): Refusal[] {
  if (computeId !== undefined && key !== computeId) {
    return [{ code: "not_asked_for", reason: "Another compute was asked for" }];
  }
  if (computeId === undefined && providers && !providers.has(provider)) {
    return [{ code: "provider_not_allowed", reason: "Its provider is not allowed by the policy" }];
  }
  return [];
}

/** Whoever names a candidate gets it, or its own error: nothing else could be chosen in its place. */
function held({ named }: Wishes, breaker: Breaker | undefined, now: number): Refusal[] {
  const words = breaker && !named ? heldWords(breaker, now) : undefined;
  return words ? [{ code: "held", reason: words[0]!.toUpperCase() + words.slice(1) }] : [];
}

const LEVELS = ["none", "low", "medium", "high"];

function unmet(contender: Contender, { requirements }: Wishes): Refusal[] {
  const { runtime, persistence_level: persistence, region, labels = {} } = requirements;
  const refusals: (Refusal | false)[] = [
    runtime !== undefined &&
      contender.runtimes !== null &&
      !contender.runtimes.includes(runtime) && { code: "runtime", reason: `It has no ${runtime} runtime` },
    lacks(contender, requirements.package_install, contender.packageInstall) && {
      code: "package_install",
      reason: "Packages cannot be installed on it, as far as is known",
    },
    requirements.public_preview === true &&
      contender.publicPreview !== true && {
        code: "public_preview",
        reason: "Public preview is not available on it",
      },
    persistence !== undefined &&
      LEVELS.indexOf(persistence) > LEVELS.indexOf(contender.persistence ?? "none") && {
        code: "persistence_level",
        reason:
          contender.persistence === null
            ? `Nothing says that it keeps files, and ${persistence} persistence is required`
            : `It keeps files with ${contender.persistence} persistence, and ${persistence} is required`,
      },
    lacks(contender, requirements.desktop, contender.desktop) && {
      code: "desktop",
      reason: "It has no desktop",
    },
    lacks(contender, requirements.browser, contender.browser) && {
      code: "browser",
      reason: contender.browser === null ? "Nothing says that it has a browser" : "It has no browser",
    },
    region !== undefined &&
      !contender.regions?.includes(region) && {
        code: "region",
        reason: contender.regions ? `It is not in ${region}` : `Nothing says that it is in ${region}`,
      },
  ];
  const missing = Object.entries(labels).filter(([name, value]) => contender.labels[name] !== value);
  const first = missing[0];
  return [
    ...refusals.filter((refusal) => refusal !== false),
    ...(first
      ? [{ code: "labels" as const, reason: `It has no label ${first[0]}=${first[1]}`.slice(0, 200) }]
      : []),
  ];
}

/**
 * Whether something that is required is missing. A vendor has to say that it has it; the relays of the public system do not
 * speak of everything their machines have, so there silence is not a no.
 */
function lacks({ computeId }: Contender, required: boolean | undefined, has: boolean | null): boolean {
  if (required !== true) return false;
  return computeId === undefined ? has !== true : has === false;
}

function overLimits({ maxMinutes }: Contender, { policy, minutes }: Wishes, estimates: Estimates): Refusal[] {
  const { max_startup_ms: startupLimit, max_cost_usd: costLimit } = policy;
  const { startup, cost } = estimates;
  const refusals: (Refusal | false)[] = [
    maxMinutes !== null &&
      minutes > maxMinutes && {
        code: "timeout_minutes",
        reason: `It ends sandboxes after ${maxMinutes} minutes at the latest, and ${minutes} are required`,
      },
    startupLimit !== undefined &&
      startup !== null &&
      startup.p50_ms > startupLimit && {
        code: "max_startup_ms",
        reason: `Startup is ${Math.round(startup.p50_ms)} ms, over the ${startupLimit} ms asked for`,
      },
    costLimit !== undefined &&
      (cost === null || cost.usd > costLimit) && {
        code: "max_cost_usd",
        reason:
          cost === null
            ? `No price is known for it, and it may cost ${dollars(costLimit)} at most`
            : `${minutes} minutes cost up to ${dollars(cost.usd)}, over the ${dollars(costLimit)} allowed`,
      },
  ];
  return refusals.filter((refusal) => refusal !== false);
}

export function dollars(usd: number): string {
  return `$${usd >= 1 ? usd.toFixed(2) : Number(usd.toPrecision(2))}`;
}
