import { setTimeout as sleep } from "node:timers/promises";
import type { Lane } from "./contender.js";

/** What a guest leaves to do is over by then, and does not fall on those who take part in every round. */
const SETTLE_MS = 20;

export interface Turn {
  name: string;
  once: Lane;
  /** Takes part in every so many rounds. */
  every: number;
}

/** Lets everybody run once in each round, so that whatever else the machine does hits all. Milliseconds of each run. */
export async function inTurns(turns: readonly Turn[], rounds: number, warmUp: number) {
  const times = new Map(turns.map(({ name }): [string, number[]] => [name, []]));
  for (let round = -warmUp; round < rounds; round++) {
    let hadGuests = false;
    for (const { name, once, every } of turns) {
      if (round % every !== 0) continue;
      hadGuests ||= every > 1;
      const began = performance.now();
      await once();
      if (round >= 0) times.get(name)!.push(performance.now() - began);
    }
    if (hadGuests) await sleep(SETTLE_MS);
  }
  return times;
}

export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]!;
}

export const median = (values: readonly number[]) => quantile(values, 0.5);

/** A ratio of medians, and how far it moved within the run: it is made of each fifth of the values as well. */
export interface Ratio {
  of: number;
  from: number;
  to: number;
}

export function ratioOf(ours: readonly number[], theirs: readonly number[]): Ratio {
  const parts = Math.min(5, ours.length, theirs.length);
  const part = (values: readonly number[], i: number) =>
    values.slice(Math.floor((i * values.length) / parts), Math.floor(((i + 1) * values.length) / parts));
  const ratios = Array.from({ length: parts }, (_, i) => median(part(ours, i)) / median(part(theirs, i)));
  return { of: median(ours) / median(theirs), from: Math.min(...ratios), to: Math.max(...ratios) };
}
