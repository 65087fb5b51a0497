import { basename } from "node:path";
import { z } from "zod";
import { CerverError } from "../../protocol/errors.js";
import { parse } from "../../protocol/parse.js";
import type { RehearsalName } from "../../protocol/providers.js";
import { durationMs } from "../../util/duration.js";
import { type Cassette, loadCassette } from "./cassette.js";
import { figuresOf } from "./cassette-figures.js";
import { profileOf } from "./catalog.js";
import type { ProviderAdapter } from "./contract.js";
import type { ProviderProfile } from "./profile.js";
import { randomSandboxId, rehearsalClock, rehearsalProvider } from "./providers/rehearsal.js";

/** A cassette as a provider of a gateway. */
export interface Rehearsal {
  adapter: ProviderAdapter;
  profile: ProviderProfile;
}

/** What may stand behind a cassette's path, as in a URL's query. */
const Playing = z.strictObject({
  speed: z.coerce.number().positive().max(100_000).optional(),
  seed: z.coerce.number().int().min(0).max(0xffff_ffff).optional(),
  latency: z.coerce.number().min(0).max(1000).optional(),
  from: z
    .string()
    .transform((text, context) => {
      const ms = durationMs(text);
      if (ms !== undefined) return ms;
      context.addIssue("is no time such as 12h or 30m");
      return z.NEVER;
    })
    .optional(),
  otherwise: z.enum(["refuse", "echo"]).optional(),
});

/**
 * Opens cassettes as providers. A single one is called `rehearsal`, of several each `rehearsal_` and its file's name.
 *
 * Throws `invalid_request` when a file is no cassette, or two have one name.
 */
export async function openRehearsals(
  places: readonly string[],
  now: () => number = Date.now,
): Promise<Rehearsal[]> {
  const isAlone = places.length === 1;
  const opened: Rehearsal[] = [];
  for (const place of places) {
    const [path, query] = [place.replace(/\?.*$/s, ""), place.slice(place.indexOf("?") + 1)];
    const { seed = Math.floor(Math.random() * 0x1_0000_0000), ...playing } = parse(
      Playing,
      place.includes("?") ? Object.fromEntries(new URLSearchParams(query)) : {},
    );
    const cassette = await loadCassette(path);
    const title = titleOf(path);
    const name: RehearsalName = isAlone ? "rehearsal" : `rehearsal_${title}`;
    if (opened.some(({ profile }) => profile.provider === name)) {
      throw new CerverError("invalid_request", `Two cassettes would be called ${name}.`, {
        hint: "Give their files different names.",
      });
    }
    opened.push({
      adapter: rehearsalProvider(cassette, {
        ...defined(playing),
        name,
        seed,
        newSandboxId: randomSandboxId,
        clock: rehearsalClock(now),
      }),
      profile: rehearsalProfile(cassette, name, isAlone ? undefined : title),
    });
  }
  return opened;
}

/** What the router and people are told of a rehearsal: what the recorded provider can do, at no price, and that it is one. */
export function rehearsalProfile(
  cassette: Cassette,
  name: RehearsalName,
  title: string | undefined,
): ProviderProfile {
  const { provider, price, made, recorded_at } = cassette.header;
  const real = profileOf(provider)!;
  const date = recorded_at.slice(0, 10);
  const { create } = figuresOf(cassette).times;
  return {
    ...real,
    provider: name,
    label: `${real.label} (rehearsal${title === undefined ? "" : `: ${title}`})`,
    kind: "rehearsal",
    // There is nobody behind its ports.
    publicPreview: false,
    credentials: [],
    price: {
      usdPerVcpuHour: price?.usd_per_hour ?? 0,
      usdPerGbHour: 0,
      usdPerCreate: price?.usd_per_create ?? 0,
      defaultVcpus: 1,
      defaultGb: 0,
      source: price ? "the cassette" : "a rehearsal: nobody is paid",
      date,
      checked: true,
    },
    startup: {
      published: null,
      measured: create && {
        p50: create.p50_ms,
        p95: create.p95_ms,
        p99: create.p99_ms,
        method: `${create.n} creates on a cassette that was ${made}`,
        source: "the cassette that is rehearsed",
        date,
        checked: true,
      },
    },
  };
}

/** A file's name as a part of a provider's name. */
function titleOf(path: string): string {
  const stem = basename(path).replace(/\.(?:jsonl|ndjson|json|cassette)$/i, "");
  return (
    stem
      .toLowerCase()
      .replace(/[^a-z0-9-]+/g, "-")
      .slice(0, 48) || "cassette"
  );
}

function defined<T extends object>(value: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined)) as never;
}
