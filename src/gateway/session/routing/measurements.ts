import { providerHandle } from "../../../protocol/providers.js";
import {
  addValue,
  DEFAULT_FADING,
  EMPTY_SKETCH,
  type Fading,
  quantile,
  type Sketch,
  type SketchJson,
  sketchFromJson,
  sketchToJson,
  weightOf,
} from "./decayed-sketch.js";

/** What a run or a create showed. Times in milliseconds; what was not measured is left out. */
export interface Observation {
  /** `cmp_…`, or `provider_…` for a whole provider. */
  candidate: string;
  provider: string;
  workload: string;
  at: number;
  startupMs?: number;
  execMs?: number;
  firstByteMs?: number;
  /** Whether a create succeeded, where one ended. A caller's own mistake is no observation. */
  ok?: boolean;
}

export type Measure = "startup" | "exec" | "first_byte";

/** What was measured under one key. */
export interface Cell {
  readonly startup: Sketch;
  readonly exec: Sketch;
  readonly first_byte: Sketch;
  /** Decayed counts of creates, and when they held. */
  readonly ok: number;
  readonly failed: number;
  /** Failures since the last success. */
  readonly row: number;
  readonly at: number;
}

/** All that an account measured, by key; see {@link levelKeys} and {@link hourKey}. */
export type Measurements = ReadonlyMap<string, Cell>;

/** As many keys as one account keeps; the ones longest without news go first. */
export const MAX_CELLS = 2_000;
export const GENERAL = "general";

const EMPTY_CELL: Cell = {
  startup: EMPTY_SKETCH,
  exec: EMPTY_SKETCH,
  first_byte: EMPTY_SKETCH,
  ok: 0,
  failed: 0,
  row: 0,
  at: 0,
};

/** An hour of the day is a ratio to the level of its candidate: it moves slowly, and a shift of the level is not its. */
const HOUR_FADING: Fading = { halfLifeSamples: 60, halfLifeMs: 14 * 86_400_000, noticesShifts: false };
/** A ratio of 1, in the scale of the sketches. */
const EVEN = 1_000;
const HOUR_RATIO_LIMITS = [0.5, 3] as const;

/** How many values' worth the next wider level counts for against a narrower one. */
const WIDER_COUNTS_FOR = 3;
/** And what is known of a provider before anything was measured here. */
const PRIOR_COUNTS_FOR = 2;
const HOUR_COUNTS_FOR = 5;
/** Between two starts that count for an hour of the day, so that one bad day is not taken for a habit. */
const HOUR_EVERY_MS = 20 * 60_000;
/** What was seen in the hours beside counts half. */
const HOURS_NEAR = [
  [-1, 0.5],
  [0, 1],
  [1, 0.5],
] as const;
/** Tails need more values than medians. */
const TAIL_FACTOR = 2;

/** Until something was measured: 97 of 100 creates are taken to succeed. An assumption, not a figure of any provider. */
export const ASSUMED_SUCCESS = 0.97;
const ASSUMED_SUCCESS_COUNTS_FOR = 5;
const SUCCESS_HALF_LIFE_MS = 86_400_000;

/** The keys of the levels, the narrowest first: candidate and workload, candidate, provider. */
export function levelKeys(candidate: string, provider: string, workload: string): string[] {
  const own = [`${candidate}|w:${workload}`, `${candidate}|*`];
  return candidate === providerHandle(provider) ? own : [...own, `${provider}|*`];
}

/** The key of an hour of the day, in UTC. */
export function hourKey(candidate: string, at: number, hours = 0): string {
  return `${candidate}|h:${new Date(at + hours * 3_600_000).getUTCHours()}`;
}

/** Every key that {@link observe} reads for an observation; it changes all but the hours beside. */
export function keysOf({ candidate, provider, workload, at }: Observation): string[] {
  return [
    ...levelKeys(candidate, provider, workload),
    ...HOURS_NEAR.map(([hours]) => hourKey(candidate, at, hours)),
  ];
}

/**
 * The cells that an observation changes, as they are after it.
 *
 * A start is split into a level and an hour's ratio to it: a slow morning that comes every day must not look like a provider
 * that got slower, nor the other way round.
 */
export function observe(cells: Measurements, seen: Observation): Map<string, Cell> {
  const changed = new Map<string, Cell>();
  const keys = levelKeys(seen.candidate, seen.provider, seen.workload);
  const { startupMs } = seen;
  const atLevel =
    startupMs === undefined
      ? seen
      : { ...seen, startupMs: startupMs / hourFactor(cells, seen.candidate, seen.at) };
  for (const key of keys) changed.set(key, withObservation(cells.get(key) ?? EMPTY_CELL, atLevel));
  const level = keys
    .slice(0, 2)
    .map((key) => cells.get(key)?.startup)
    .find((sketch) => sketch && weightOf(sketch, seen.at) >= WIDER_COUNTS_FOR);
  const typical = level && quantile(level, 0.5);
  const key = hourKey(seen.candidate, seen.at);
  const hour = cells.get(key) ?? EMPTY_CELL;
  if (startupMs !== undefined && typical && Math.abs(seen.at - hour.at) >= HOUR_EVERY_MS) {
    const startup = addValue(hour.startup, (startupMs / typical) * EVEN, seen.at, HOUR_FADING);
    changed.set(key, { ...hour, startup, at: Math.max(hour.at, seen.at) });
  }
  return changed;
}

/** The measurements after an observation, kept within {@link MAX_CELLS}. */
export function withObserved(cells: Measurements, seen: Observation): Measurements {
  const all = new Map([...cells, ...observe(cells, seen)]);
  if (all.size <= MAX_CELLS) return all;
  return new Map([...all].sort(([, a], [, b]) => b.at - a.at).slice(0, MAX_CELLS));
}

export interface TimeEstimate {
  p50: number;
  p95: number;
  /** How many own measurements are behind it, after fading. */
  n: number;
}

/**
 * What to expect: each level is drawn to the next wider one, the widest to the prior, the more so the less was measured.
 * The hour of the day then scales a startup. Null when neither a measurement nor a prior is there.
 */
export function estimateTime(
  cells: Measurements,
  measure: Measure,
  about: { candidate: string; provider: string; workload: string; at: number },
  prior: { p50: number; p95: number } | null,
): TimeEstimate | null {
  const { candidate, provider, workload, at } = about;
  const levels = levelKeys(candidate, provider, workload).reverse();
  let p50 = prior?.p50 ?? null;
  let p95 = prior?.p95 ?? null;
  let n = 0;
  for (const [index, key] of levels.entries()) {
    const sketch = cells.get(key)?.[measure];
    if (!sketch) continue;
    const weight = weightOf(sketch, at);
    const wider = index === 0 ? PRIOR_COUNTS_FOR : WIDER_COUNTS_FOR;
    p50 = drawn(quantile(sketch, 0.5), weight, p50, wider);
    p95 = drawn(quantile(sketch, 0.95), weight, p95, wider * TAIL_FACTOR);
    if (key.startsWith(`${candidate}|`)) n = Math.max(n, weight);
  }
  if (p50 === null || p95 === null) return null;
  const factor = measure === "startup" ? hourFactor(cells, candidate, at) : 1;
  return { p50: p50 * factor, p95: Math.max(p95, p50) * factor, n };
}

/** The share of creates that succeed, and how many own ones are behind it. */
export function estimateSuccess(
  cells: Measurements,
  about: { candidate: string; provider: string; workload: string; at: number },
): { share: number; n: number } {
  const cell = cells.get(`${about.candidate}|*`);
  const age = cell ? 2 ** (-Math.max(0, about.at - cell.at) / SUCCESS_HALF_LIFE_MS) : 0;
  const [ok, failed] = [(cell?.ok ?? 0) * age, (cell?.failed ?? 0) * age];
  const n = ok + failed;
  return {
    share: (ok + ASSUMED_SUCCESS * ASSUMED_SUCCESS_COUNTS_FOR) / (n + ASSUMED_SUCCESS_COUNTS_FOR),
    n,
  };
}

/** How much slower than usual a candidate starts around this hour, drawn to 1 while little is known. */
function hourFactor(cells: Measurements, candidate: string, at: number): number {
  let weights = HOUR_COUNTS_FOR;
  let sum = 0;
  for (const [hours, counts] of HOURS_NEAR) {
    const sketch = cells.get(hourKey(candidate, at, hours))?.startup;
    const ratio = sketch && quantile(sketch, 0.5);
    if (!ratio) continue;
    const weight = counts * weightOf(sketch, at, HOUR_FADING);
    weights += weight;
    sum += weight * Math.log(ratio / EVEN);
  }
  return Math.min(HOUR_RATIO_LIMITS[1], Math.max(HOUR_RATIO_LIMITS[0], Math.exp(sum / weights)));
}

/** Between two times on a logarithmic scale, by their weights. */
function drawn(own: number | null, weight: number, wider: number | null, counts: number): number | null {
  if (own === null || weight === 0) return wider;
  if (wider === null) return own;
  const share = weight / (weight + counts);
  return Math.exp(share * Math.log(Math.max(own, 1e-6)) + (1 - share) * Math.log(Math.max(wider, 1e-6)));
}

function withObservation(cell: Cell, seen: Observation): Cell {
  const add = (sketch: Sketch, value: number | undefined) =>
    value === undefined ? sketch : addValue(sketch, value, seen.at);
  const fades = seen.ok === undefined ? 1 : 2 ** (-1 / DEFAULT_FADING.halfLifeSamples);
  const factor = fades * 2 ** (-Math.max(0, seen.at - cell.at) / SUCCESS_HALF_LIFE_MS);
  return {
    startup: add(cell.startup, seen.startupMs),
    exec: add(cell.exec, seen.execMs),
    first_byte: add(cell.first_byte, seen.firstByteMs),
    ok: cell.ok * factor + (seen.ok === true ? 1 : 0),
    // A row of failures is one outage, which the breaker deals with: together they count for two at most.
    failed: cell.failed * factor + (seen.ok === false ? 2 ** -cell.row : 0),
    row: seen.ok === undefined ? cell.row : seen.ok ? 0 : cell.row + 1,
    at: Math.max(cell.at, seen.at),
  };
}

/** The version of the JSON that {@link cellToJson} writes. */
const CELL_VERSION = 1;

interface CellJson {
  v: number;
  startup: SketchJson;
  exec: SketchJson;
  first_byte: SketchJson;
  ok: number;
  failed: number;
  row: number;
  at: number;
}

/** A cell as JSON: a few hundred bytes, 8 kB at most. */
export function cellToJson(cell: Cell): string {
  return JSON.stringify({
    v: CELL_VERSION,
    startup: sketchToJson(cell.startup),
    exec: sketchToJson(cell.exec),
    first_byte: sketchToJson(cell.first_byte),
    ok: Math.round(cell.ok * 1000) / 1000,
    failed: Math.round(cell.failed * 1000) / 1000,
    row: cell.row,
    at: cell.at,
  } satisfies CellJson);
}

/** Reads what {@link cellToJson} wrote; undefined for another version, which is learnt anew. */
export function cellFromJson(json: string): Cell | undefined {
  const read = JSON.parse(json) as CellJson;
  if (read.v !== CELL_VERSION) return undefined;
  return {
    startup: sketchFromJson(read.startup),
    exec: sketchFromJson(read.exec),
    first_byte: sketchFromJson(read.first_byte),
    ok: read.ok,
    failed: read.failed,
    row: read.row,
    at: read.at,
  };
}
