import { CATALOG } from "../src/gateway/compute/catalog.js";
import type { MeasuredStartup, ProviderProfile } from "../src/gateway/compute/profile.js";
import {
  admission,
  admitted,
  type Breaker,
  newBreaker,
  withOutcome,
} from "../src/gateway/session/routing/breaker.js";
import { type CanaryLedger, counted } from "../src/gateway/session/routing/canary.js";
import {
  addValue,
  DEFAULT_FADING,
  EMPTY_SKETCH,
  quantile,
} from "../src/gateway/session/routing/decayed-sketch.js";
import {
  estimateTime,
  type Measurements,
  withObserved,
} from "../src/gateway/session/routing/measurements.js";
import { type RecordedDecision, replay } from "../src/gateway/session/routing/replay.js";
import { type RouterInput, route } from "../src/gateway/session/routing/router.js";
import type { RoutedRequest } from "../src/gateway/session/routing/wishes.js";
import { seededRandom } from "../src/util/random.js";

/** How quickly a provider starts: three points of its distribution, in milliseconds. */
export interface Shape {
  p50: number;
  p95: number;
  p99: number;
}

/** A provider as a scenario plays it. Time is in milliseconds since the scenario began. */
export interface ScriptedProvider {
  provider: string;
  shape: Shape;
  /** Times everything by this. */
  factor?: (at: number) => number;
  /** The share of creates that fail. */
  failing?: (at: number) => number;
  /** What the router is told before it has measured anything; the shape when nothing is said. */
  prior?: Shape;
}

export interface Scenario {
  name: string;
  providers: readonly ScriptedProvider[];
  creates: number;
  /** Between two creates. */
  everyMs: number;
  request?: RoutedRequest;
}

export interface Played {
  /** Until each session was ready, failed attempts counted. */
  waits: number[];
  decisions: RecordedDecision[];
  canaries: number;
  /** The provider that each create tried first. */
  firstTry: string[];
  /** Creates that no candidate took. */
  lost: number;
}

export const HOUR = 3_600_000;
/** 2026-02-02 00:00 UTC, a Monday. */
const BEGIN = Date.UTC(2026, 1, 2);
/** How long it takes to learn that a create has failed. */
const FAILURE_MS = 3_000;

/** One scenario with its dice thrown: every strategy meets the same luck. */
export class World {
  readonly catalog: ProviderProfile[];
  readonly #dice: Map<string, { speed: number; luck: number }[]>;

  constructor(
    readonly scenario: Scenario,
    seed: number,
  ) {
    const random = seededRandom(seed);
    this.#dice = new Map(
      scenario.providers.map(({ provider }) => [
        provider,
        Array.from({ length: scenario.creates }, () => ({ speed: random(), luck: random() })),
      ]),
    );
    this.catalog = CATALOG.map((profile) => {
      const scripted = scenario.providers.find(({ provider }) => provider === profile.provider);
      if (!scripted) return profile;
      const measured: MeasuredStartup = {
        ...(scripted.prior ?? scripted.shape),
        method: "scripted",
        source: "the scenario",
        date: "2026-02-02",
        checked: true,
      };
      return { ...profile, startup: { published: null, measured } };
    });
  }

  at(index: number): number {
    return index * this.scenario.everyMs;
  }

  /** One attempt to create: whether it succeeded, and after how long that was known. */
  create(provider: string, index: number): { ok: boolean; ms: number } {
    const scripted = this.#scripted(provider);
    const { speed, luck } = this.#dice.get(provider)![index]!;
    const at = this.at(index);
    if (luck < (scripted.failing?.(at) ?? 0)) return { ok: false, ms: FAILURE_MS };
    return { ok: true, ms: quantileOf(scripted.shape, speed) * (scripted.factor?.(at) ?? 1) };
  }

  trueMedian(provider: string, index: number): number {
    const scripted = this.#scripted(provider);
    return scripted.shape.p50 * (scripted.factor?.(this.at(index)) ?? 1);
  }

  /** The mean wait that trying this provider first truly has; a failure costs its time and another attempt. */
  expectedWait(provider: string, index: number): number {
    const scripted = this.#scripted(provider);
    const failing = scripted.failing?.(this.at(index)) ?? 0;
    const start = meanOf(scripted.shape) * (scripted.factor?.(this.at(index)) ?? 1);
    return (1 - failing) * start + failing * (FAILURE_MS + start);
  }

  get providers(): string[] {
    return this.scenario.providers.map(({ provider }) => provider);
  }

  #scripted(provider: string): ScriptedProvider {
    return this.scenario.providers.find((one) => one.provider === provider)!;
  }
}

export interface RouterOptions {
  learns: boolean;
  canary: number;
  mode: "fastest" | "balanced" | "cheapest" | "resilient";
  seed: number;
}

/** Plays a scenario with the router: it routes, creates fall back, and what happened is learnt. */
export function playRouter(world: World, { learns, canary, mode, seed }: RouterOptions): Played {
  const random = seededRandom(seed);
  const request: RoutedRequest = {
    ...world.scenario.request,
    policy: { ...world.scenario.request?.policy, mode, canary: { share: canary } },
  };
  const access = new Map(world.providers.map((name) => [name, { adapter: true, credentials: true }]));
  const breakers = new Map<string, Breaker>();
  let measurements: Measurements = new Map();
  let canaries: CanaryLedger = { creates: 0, canaries: 0 };
  const played: Played = { waits: [], decisions: [], canaries: 0, firstTry: [], lost: 0 };
  for (let index = 0; index < world.scenario.creates; index++) {
    const now = BEGIN + world.at(index);
    const input: RouterInput = {
      request,
      computes: [],
      catalog: world.catalog,
      access,
      activeRuns: new Map(),
      measurements,
      breakers,
      canaries,
      now,
      chance: random(),
    };
    const { order, decision, routing } = route(input);
    canaries = counted(canaries, routing.canary_run);
    let wait = 0;
    let startupMs: number | undefined;
    for (const candidate of order) {
      const breaker = breakers.get(candidate.key) ?? newBreaker(now);
      if (learns && admission(breaker, now) === "no") continue;
      const { ok, ms } = world.create(candidate.provider, index);
      wait += ms;
      if (learns) {
        breakers.set(candidate.key, withOutcome(admitted(breaker, now), { kind: ok ? "ok" : "failed" }, now));
        measurements = withObserved(measurements, {
          candidate: candidate.key,
          provider: candidate.provider,
          workload: "general",
          at: now,
          ok,
          ...(ok && { startupMs: ms }),
        });
      }
      if (!ok) continue;
      startupMs = ms;
      break;
    }
    if (startupMs === undefined) played.lost++;
    played.waits.push(wait);
    played.firstTry.push(order[0]?.provider ?? "none");
    played.decisions.push({ decision, actual: { startupMs } });
  }
  return { ...played, canaries: canaries.canaries };
}

/** Knows what is going on, but not the luck of the single create: nobody can do better by choosing. */
export function playOracle(world: World): Played {
  return playOrder(world, (index) =>
    [...world.providers].sort((a, b) => world.expectedWait(a, index) - world.expectedWait(b, index)),
  );
}

export function playRoundRobin(world: World): Played {
  return playOrder(world, (index) => {
    const first = index % world.providers.length;
    return [...world.providers.slice(first), ...world.providers.slice(0, first)];
  });
}

function playOrder(world: World, orderAt: (index: number) => string[]): Played {
  const played: Played = { waits: [], decisions: [], canaries: 0, firstTry: [], lost: 0 };
  for (let index = 0; index < world.scenario.creates; index++) {
    const order = orderAt(index);
    let wait = 0;
    let done = false;
    for (const provider of order) {
      const { ok, ms } = world.create(provider, index);
      wait += ms;
      done = ok;
      if (ok) break;
    }
    if (!done) played.lost++;
    played.waits.push(wait);
    played.firstTry.push(order[0]!);
  }
  return played;
}

const shapeOf = (name: string): Shape => {
  const { p50, p95, p99 } = CATALOG.find(({ provider }) => provider === name)!.startup.measured!;
  return { p50, p95, p99 };
};
const scaled = ({ p50, p95, p99 }: Shape, factor: number): Shape => ({
  p50: p50 * factor,
  p95: p95 * factor,
  p99: p99 * factor,
});

/** Between dated figures, in equal ratios. */
function through(points: readonly [day: number, factor: number][]): (at: number) => number {
  return (at) => {
    const day = at / (24 * HOUR);
    const next = points.findIndex(([when]) => when > day);
    if (next === 0) return points[0]![1];
    if (next === -1) return points.at(-1)![1];
    const [[a, from], [b, to]] = [points[next - 1]!, points[next]!];
    return from * (to / from) ** ((day - a) / (b - a));
  };
}
const during =
  (spans: readonly [fromHour: number, toHour: number][], then: number, otherwise: number) =>
  (at: number): number =>
    spans.some(([from, to]) => at >= from * HOUR && at < to * HOUR) ? then : otherwise;

const e2b = { provider: "e2b", shape: shapeOf("e2b") };
const vercel = { provider: "vercel", shape: shapeOf("vercel") };
const cloudflare = { provider: "cloudflare", shape: shapeOf("cloudflare") };

/** The corpus: shapes as computesdk/benchmarks measured them on 2026-05-05, moved as each scenario says. */
export const SCENARIOS: Scenario[] = [
  { name: "steady", providers: [e2b, vercel, cloudflare], creates: 2_000, everyMs: 10 * 60_000 },
  {
    // Medians of 2026-02-21, 03-01, 04-01 and 05-05, as the benchmark saw them; what is known before is February's.
    name: "drift of a season",
    providers: [
      {
        ...e2b,
        factor: through([
          [0, 235 / 491],
          [8, 254 / 491],
          [39, 437 / 491],
          [73, 1],
        ]),
        prior: scaled(e2b.shape, 235 / 491),
      },
      {
        ...vercel,
        factor: through([
          [0, 2697 / 671],
          [8, 2639 / 671],
          [39, 1750 / 671],
          [73, 1],
        ]),
        prior: scaled(vercel.shape, 2697 / 671),
      },
      cloudflare,
    ],
    creates: 3_504,
    everyMs: 30 * 60_000,
  },
  {
    // The order changes: what was slowest becomes quickest, and only somebody who looks can know.
    name: "a newcomer overtakes",
    providers: [
      e2b,
      vercel,
      {
        ...cloudflare,
        factor: through([
          [0, 1],
          [5, 1],
          [7, 0.1],
        ]),
      },
    ],
    creates: 2_000,
    everyMs: 10 * 60_000,
  },
  {
    name: "the best slows down 3x for two days",
    providers: [{ ...e2b, factor: during([[96, 144]], 3, 1) }, vercel, cloudflare],
    creates: 2_000,
    everyMs: 10 * 60_000,
  },
  {
    name: "two outages of the best",
    providers: [
      {
        ...e2b,
        failing: during(
          [
            [72, 76],
            [200, 206],
          ],
          1,
          0.005,
        ),
      },
      vercel,
      cloudflare,
    ],
    creates: 4_000,
    everyMs: 5 * 60_000,
  },
  {
    name: "heavy tails of the best",
    providers: [
      { ...e2b, shape: { p50: 300, p95: 9_000, p99: 30_000 }, prior: shapeOf("e2b") },
      vercel,
      cloudflare,
    ],
    creates: 2_000,
    everyMs: 10 * 60_000,
  },
  {
    name: "slow hours every day",
    providers: [
      {
        ...e2b,
        factor: (at) => {
          const hour = new Date(BEGIN + at).getUTCHours();
          return hour >= 9 && hour < 17 ? 2.5 : 1;
        },
      },
      vercel,
      cloudflare,
    ],
    creates: 4_000,
    everyMs: 10 * 60_000,
  },
];

/** The value at this share of the distribution, in equal ratios between its points, with a Pareto tail beyond the last. */
export function quantileOf({ p50, p95, p99 }: Shape, share: number): number {
  const points: [number, number][] = [
    [0, p50 * 0.75],
    [0.5, p50],
    [0.95, p95],
    [0.99, p99],
  ];
  if (share >= 0.99) return Math.min(p99 * (0.01 / (1 - share)) ** 0.4, Math.max(120_000, p99));
  const next = points.findIndex(([at]) => at > share);
  const [[a, from], [b, to]] = [points[next - 1]!, points[next]!];
  return from * (to / from) ** ((share - a) / (b - a));
}

const means = new Map<string, number>();
function meanOf(shape: Shape): number {
  const key = `${shape.p50}/${shape.p95}/${shape.p99}`;
  const known = means.get(key);
  if (known !== undefined) return known;
  const steps = 20_000;
  let sum = 0;
  for (let step = 0; step < steps; step++) sum += quantileOf(shape, (step + 0.5) / steps);
  means.set(key, sum / steps);
  return sum / steps;
}

const PAST = 60;
const ABOUT = { candidate: "provider_x", provider: "x", workload: "general" };

/**
 * After how many starts the estimate has gone over four fifths of the way (in ratio) to a level that is twice the one before,
 * with sixty starts of the past: as the router learns, and by fading alone.
 */
export function startsToNotice(shape: Shape, seed: number): { router: number; fadingAlone: number } {
  const random = seededRandom(seed);
  const starts = Array.from(
    { length: PAST + 100 },
    (_, index) => quantileOf(shape, random()) * (index < PAST ? 1 : 2),
  );
  const noticed = (estimate: number, index: number) => index >= PAST && estimate > shape.p50 * 2 ** 0.8;
  let cells: Measurements = new Map();
  const router = starts.findIndex((startupMs, index) => {
    const at = BEGIN + index * 5 * 60_000;
    cells = withObserved(cells, { ...ABOUT, at, startupMs, ok: true });
    return noticed(estimateTime(cells, "startup", { ...ABOUT, at }, shape)!.p50, index);
  });
  let sketch = EMPTY_SKETCH;
  const fadingAlone = starts.findIndex((startupMs, index) => {
    sketch = addValue(sketch, startupMs, BEGIN + index * 5 * 60_000, {
      ...DEFAULT_FADING,
      noticesShifts: false,
    });
    return noticed(quantile(sketch, 0.5)!, index);
  });
  return { router: router - PAST + 1, fadingAlone: fadingAlone - PAST + 1 };
}

/** The share of starts after which the estimate is off by more than half, though nothing changes. */
export function falseAlarms(shape: Shape, seed: number, starts: number): number {
  const random = seededRandom(seed);
  let cells: Measurements = new Map();
  let off = 0;
  for (let index = 0; index < starts; index++) {
    const at = BEGIN + index * 5 * 60_000;
    cells = withObserved(cells, { ...ABOUT, at, startupMs: quantileOf(shape, random()), ok: true });
    const estimate = estimateTime(cells, "startup", { ...ABOUT, at }, shape)!.p50;
    if (estimate > shape.p50 * 1.5 || estimate < shape.p50 / 1.5) off++;
  }
  return off / starts;
}

/** What a replay says that another policy's choices would have started in, beside the scenario's true medians for them. */
export function replayAgainstTruth(
  world: World,
  played: Played,
  mode: "fastest" | "cheapest",
): { said: number; truth: number } {
  const truths = played.decisions.map((recorded, index) => {
    const { changes } = replay([recorded], mode);
    const key = changes[0]?.would_be ?? recorded.decision.chosen!;
    return world.trueMedian(key.replace("provider_", ""), index);
  });
  return { said: replay(played.decisions, mode).startup_ms!.would_be, truth: mean(truths) };
}

/** Random requests against random worlds: how often something was tried that the request rules out. */
export function policyViolations(
  rounds: number,
  seed: number,
): { tried: number; refused: number; violations: number } {
  const random = seededRandom(seed);
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)]!;
  const names = ["e2b", "vercel", "cloudflare"];
  const result = { tried: 0, refused: 0, violations: 0 };
  let measurements: Measurements = new Map();
  for (let round = 0; round < rounds; round++) {
    const now = BEGIN + round * 60_000;
    const limits = {
      runtime: pick(["node", "python", "ruby", undefined]),
      region: pick(["fra1", "iad1", undefined, undefined, undefined]),
      persistence: pick(["low", "medium", "high", undefined, undefined] as const),
      minutes: pick([5, 20, 120, 2_000]),
      maxStartup: pick([300, 600, 1_500, undefined]),
      maxCost: pick([0, 0.01, 0.1, 1, undefined]),
      allowed: names.filter(() => random() < 0.6),
    };
    const { order } = route({
      request: {
        requirements: {
          timeout_minutes: limits.minutes,
          ...(limits.runtime && { runtime: limits.runtime }),
          ...(limits.region && { region: limits.region }),
          ...(limits.persistence && { persistence_level: limits.persistence }),
        },
        policy: {
          mode: pick(["balanced", "fastest", "cheapest", "resilient"] as const),
          allowed_providers: limits.allowed,
          canary: { share: 0.2 },
          ...(limits.maxStartup && { max_startup_ms: limits.maxStartup }),
          ...(limits.maxCost !== undefined && { max_cost_usd: limits.maxCost }),
        },
      },
      computes: [],
      catalog: CATALOG,
      access: new Map(names.map((name) => [name, { adapter: true, credentials: true }])),
      activeRuns: new Map(),
      measurements,
      breakers: new Map(),
      canaries: { creates: 0, canaries: 0 },
      now,
      chance: 0,
    });
    if (order.length === 0) result.refused++;
    for (const { provider, estimates } of order) {
      const profile = CATALOG.find((one) => one.provider === provider)!;
      const { price, limits: has } = profile;
      const usd =
        price!.usdPerCreate +
        (limits.minutes / 60) *
          (price!.defaultVcpus * price!.usdPerVcpuHour + price!.defaultGb * price!.usdPerGbHour);
      const levels = ["low", "medium", "high"];
      const broken = [
        limits.runtime !== undefined && !profile.runtimes.includes(limits.runtime),
        limits.region !== undefined && !profile.regions?.includes(limits.region),
        limits.persistence !== undefined &&
          levels.indexOf(profile.persistence ?? "") < levels.indexOf(limits.persistence),
        has.maxLifetimeMinutes !== null && limits.minutes > has.maxLifetimeMinutes,
        limits.maxStartup !== undefined && estimates.startup!.p50_ms > limits.maxStartup,
        limits.maxCost !== undefined && usd > limits.maxCost + 1e-6,
        limits.allowed.length > 0 && !limits.allowed.includes(provider),
        profile.kind !== "live",
      ];
      result.tried++;
      if (broken.includes(true)) result.violations++;
    }
    const provider = pick(names);
    measurements = withObserved(measurements, {
      candidate: `provider_${provider}`,
      provider,
      workload: "general",
      at: now,
      startupMs: quantileOf(shapeOf(provider), random()) * pick([0.3, 1, 2]),
      ok: random() < 0.95,
    });
  }
  return result;
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]!;
}

/** How much longer than the oracle's its sessions waited on average, as a share. */
export function regret(played: Played, oracle: Played): number {
  return mean(played.waits) / mean(oracle.waits) - 1;
}
