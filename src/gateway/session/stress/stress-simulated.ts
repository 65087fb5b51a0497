import type { Estimates, TimeFigure } from "../../../protocol/routing.js";
import type { StressSample } from "../../../protocol/stress-tests.js";
import { seededRandom } from "../../../util/random.js";

/** What a simulation knows of one provider. */
export interface Simulated {
  provider: string;
  label: string;
  estimates: Estimates;
}

/** The 95th percentile of the normal distribution. */
const Z95 = 1.6449;

/**
 * Draws samples from what is known: log-normal times through the estimate's median and P95, and failures by its share.
 * The same seed gives the same samples. Only creates that follow each other are simulated: of others nothing is known.
 */
export function simulate(known: readonly Simulated[], sampleSize: number, seed: number): StressSample[] {
  const random = seededRandom(seed);
  return known.flatMap(({ provider, estimates }) => {
    const { startup, exec, success } = estimates;
    if (!startup) return [];
    return Array.from({ length: sampleSize }, (_, index): StressSample => {
      const about = { provider, pattern: "sequential" as const, index };
      // Every sample draws as often as every other, so that a change of one figure moves no other sample.
      const [fails, create, run] = [random(), draw(startup, random), exec ? draw(exec, random) : 0];
      if (fails > success.share)
        return { ...about, ok: false, code: "simulated", error: "drawn from its share of failures" };
      return {
        ...about,
        ok: true,
        create_ms: create,
        tti_ms: create + run,
        ...(exec && { exec_ms: [run] }),
      };
    });
  });
}

/** What a simulated report is made of, in words. */
export function madeOf(known: readonly Simulated[], sampleSize: number, seed: number): string[] {
  return [
    `Simulated: ${sampleSize} draws for each provider with seed ${seed}. Nothing was run.`,
    ...known.map(({ label, estimates: { startup, exec, success } }) => {
      if (!startup) return `${label}: no figure of its startup is known, so it cannot be simulated.`;
      const own = startup.n > 0 ? `, ${startup.n} own measurements` : "";
      const start = `startup ${startup.p50_ms} ms (median), ${startup.p95_ms} ms (P95), ${startup.source}${own}`;
      const commands = exec
        ? `commands ${exec.p50_ms} ms, ${exec.source}`
        : "commands not known, taken as 0 ms";
      return `${label}: ${start}; ${commands}; ${Math.round(success.share * 1000) / 10} % succeed, ${success.source}.`;
    }),
  ];
}

function draw({ p50_ms, p95_ms }: TimeFigure, random: () => number): number {
  const sigma = Math.log(Math.max(p95_ms, p50_ms * 1.0001) / p50_ms) / Z95;
  return Math.round(p50_ms * Math.exp(sigma * normal(random)) * 100) / 100;
}

/** A standard normal value (Box and Muller, 1958). */
function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}
