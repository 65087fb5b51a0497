import { CATALOG } from "../src/gateway/compute/catalog.js";
import type { MeasuredStartup, ProviderProfile } from "../src/gateway/compute/profile.js";
import {
  admission,
  admitted,
  type Breaker,
  newBreaker,
  withOutcome,
} from "../src/gateway/session/breaker.js";
import { type CanaryLedger, counted } from "../src/gateway/session/canary.js";
import { type Measurements, withObserved } from "../src/gateway/session/measurements.js";
import type { RecordedDecision } from "../src/gateway/session/replay.js";
import { type RouterInput, route } from "../src/gateway/session/router.js";
import type { RoutedRequest } from "../src/gateway/session/wishes.js";
import { providerHandle } from "../src/protocol/providers.js";

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
  /** What the true median was of the candidate that a create tried first. */
  firstTry: string[];
  /** Creates that no candidate took. */
  lost: number;
}

export const HOUR = 3_600_000;
/** 2026-02-02 00:00 UTC, a Monday. */
const BEGIN = Date.UTC(2026, 1, 2);
/** How long it takes to learn that a create has failed. */
const FAILURE_MS = 3_000;

/** What a strategy may see and decide. */
export type Strategy = (world: World, index: number) => Played;

/** One scenario with its dice thrown: every strategy meets the same luck. */
export class World {
  readonly catalog: ProviderProfile[];
  readonly #dice: Map<string, { speed: number; luck: number }[]>;

  constructor(
    readonly scenario: Scenario,
    seed: number,
  ) {
    const random = mulberry32(seed);
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
  const random = mulberry32(seed);
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

/** A small random source with a seed (Tommy Ettinger's mulberry32). */
export function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
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

export { providerHandle };
