/**
 * How values of one kind were spread lately: a histogram with buckets on a logarithmic scale, in which old values fade,
 * by time and by newer values.
 *
 * A level that shifts is noticed sooner than fading alone would: when values keep landing on one side of the median, what
 * was there before is nearly forgotten (a cumulative sum of log ratios; Page, Biometrika 41, 1954).
 *
 * Plain values and pure functions; at most {@link BUCKETS} buckets and {@link RECENT} values.
 */
export interface Sketch {
  /** Bucket → weight. */
  readonly weights: ReadonlyMap<number, number>;
  /** When the weights held, in milliseconds of the wall clock. */
  readonly at: number;
  /** Evidence that values are now slower than the median, and that they are faster. */
  readonly slower: Evidence;
  readonly faster: Evidence;
  /** The newest values: those that made a shift be noticed stay when the rest is forgotten. */
  readonly recent: readonly number[];
}

/** A cumulative sum, over how many values it has been above zero, and where the median was when it left zero. */
export interface Evidence {
  readonly sum: number;
  readonly values: number;
  readonly from: number;
}

export interface Fading {
  /** After this many newer values one counts half. */
  halfLifeSamples: number;
  /** After this long one counts half. */
  halfLifeMs: number;
  /** Whether a shift of the level is looked for. */
  noticesShifts: boolean;
}

export const DEFAULT_FADING: Fading = {
  halfLifeSamples: 20,
  halfLifeMs: 1.5 * 86_400_000,
  noticesShifts: true,
};

/** Values from 10 µs to 15 min, in milliseconds; each bucket is a tenth wider than the one before. */
const SMALLEST = 0.01;
const RATIO = 1.1;
export const BUCKETS = 192;
export const RECENT = 10;
/** A weight below this is nothing. */
const DUST = 0.005;

/** A ratio of less than about 1.4 is noise; one value counts for a doubling at most, however far off it is. */
const SLACK = 0.35;
const CLIP = 0.8;
const ALARM = 1.2;
/** What remains of the past when a shift is noticed. */
const AFTER_SHIFT = 0.05;
/** Before this much evidence a median is too uncertain to compare with. */
const ENOUGH = 3;

const NONE: Evidence = { sum: 0, values: 0, from: 0 };
export const EMPTY_SKETCH: Sketch = { weights: new Map(), at: 0, slower: NONE, faster: NONE, recent: [] };

/** The sketch with one more value. A value that is no number changes nothing. */
export function addValue(sketch: Sketch, value: number, at: number, fading: Fading = DEFAULT_FADING): Sketch {
  if (!Number.isFinite(value) || value < 0) return sketch;
  const median = weightOf(sketch, at, fading) >= ENOUGH ? quantile(sketch, 0.5) : null;
  const looks = median !== null && fading.noticesShifts;
  const slower = looks ? gather(sketch.slower, value, median, 1) : NONE;
  const faster = looks ? gather(sketch.faster, value, median, -1) : NONE;
  const recent = [...sketch.recent, value].slice(-RECENT);
  const faded = fade(sketch, at, 2 ** (-1 / fading.halfLifeSamples), fading);
  const alarm = [slower, faster].find(({ sum }) => sum >= ALARM);
  if (alarm) {
    const since = recent.slice(-alarm.values);
    const past = new Map([...faded].map(([bucket, weight]) => [bucket, weight * AFTER_SHIFT]));
    return {
      weights: addAll(past, since),
      at: latest(sketch, at),
      slower: NONE,
      faster: NONE,
      recent: since,
    };
  }
  return { weights: addAll(faded, [value]), at: latest(sketch, at), slower, faster, recent };
}

/** The value below which this share of the values lies; null when there is none. Exact to half a bucket, 5 %. */
export function quantile({ weights }: Sketch, share: number): number | null {
  const total = [...weights.values()].reduce((sum, weight) => sum + weight, 0);
  if (total === 0) return null;
  let below = 0;
  const wanted = share * total;
  const buckets = [...weights].sort(([a], [b]) => a - b);
  for (const [bucket, weight] of buckets) {
    if (below + weight >= wanted) {
      return SMALLEST * RATIO ** (bucket + (weight === 0 ? 0.5 : (wanted - below) / weight));
    }
    below += weight;
  }
  return SMALLEST * RATIO ** (buckets.at(-1)![0] + 1);
}

/** How many values' worth of evidence is left at this time. */
export function weightOf(sketch: Sketch, now: number, fading: Fading = DEFAULT_FADING): number {
  const total = [...sketch.weights.values()].reduce((sum, weight) => sum + weight, 0);
  return total * age(sketch, now, fading);
}

/** The sketch as a small JSON value. */
export function sketchToJson({ weights, at, slower, faster, recent }: Sketch): SketchJson {
  return {
    at,
    w: [...weights].map(([bucket, weight]) => [bucket, round(weight)]),
    s: [slower, faster].map(({ sum, values, from }) => [round(sum), values, round(from)]),
    r: recent.map(round),
  };
}

export interface SketchJson {
  at: number;
  w: [number, number][];
  s: number[][];
  r: number[];
}

export function sketchFromJson({ at, w, s, r }: SketchJson): Sketch {
  return {
    weights: new Map(w.slice(0, BUCKETS)),
    at,
    slower: evidenceOf(s[0]),
    faster: evidenceOf(s[1]),
    recent: r.slice(-RECENT),
  };
}

function evidenceOf([sum = 0, values = 0, from = 0]: number[] = []): Evidence {
  return { sum, values, from };
}

function bucketOf(value: number): number {
  const bucket = Math.floor(Math.log(Math.max(value, SMALLEST) / SMALLEST) / Math.log(RATIO));
  return Math.min(BUCKETS - 1, bucket);
}

/** The evidence with one more value. It compares with where the median was before, as the median moves along with a shift. */
function gather({ sum, values, from }: Evidence, value: number, median: number, sign: 1 | -1): Evidence {
  const reference = values > 0 ? from : median;
  const off = sign * Math.log(Math.max(value, SMALLEST) / reference);
  const next = sum + Math.max(-CLIP, Math.min(CLIP, off)) - SLACK;
  return next > 0 ? { sum: next, values: values + 1, from: reference } : NONE;
}

function fade(sketch: Sketch, at: number, factor: number, fading: Fading): Map<number, number> {
  const both = factor * age(sketch, at, fading);
  return new Map(
    [...sketch.weights]
      .map(([bucket, weight]) => [bucket, weight * both] as const)
      .filter(([, weight]) => weight >= DUST),
  );
}

/** Clocks may go back: then nothing has aged. */
function age(sketch: Sketch, now: number, { halfLifeMs }: Fading): number {
  return 2 ** (-Math.max(0, now - sketch.at) / halfLifeMs);
}

function latest(sketch: Sketch, at: number): number {
  return Math.max(sketch.at, at);
}

function addAll(weights: ReadonlyMap<number, number>, values: readonly number[]): Map<number, number> {
  const sum = new Map(weights);
  for (const value of values) {
    const bucket = bucketOf(value);
    sum.set(bucket, (sum.get(bucket) ?? 0) + 1);
  }
  return sum;
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}
