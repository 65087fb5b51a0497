import { join } from "node:path";
import { type Cassette, loadCassette } from "../src/gateway/compute/cassette.js";
import { faultOf, timeFigures } from "../src/gateway/compute/cassette-figures.js";
import { HOUR, type Scenario } from "./router-simulation.js";

/** The corpus is ten times as fast as vendors are; what a failed create costs in the simulation is not. */
const LATENCY = 10;
const MINUTE = HOUR / 60;

/** Days of the cassette corpus as E2B has them, each beside a steady Vercel, three times over. */
export async function cassetteScenarios(
  names = ["drift", "outage", "heavy-tail", "throttling", "lost-answers"],
): Promise<Scenario[]> {
  const load = async (name: string, windowMs: number) =>
    scenarioOf(
      await loadCassette(join(import.meta.dirname, `fixtures/cassettes/${name}.jsonl`)),
      windowMs,
      LATENCY,
    )!;
  const vercel = { provider: "vercel", ...(await load("steady", HOUR)) };
  return Promise.all(
    names.map(async (name) => ({
      name,
      providers: [{ provider: "e2b", ...(await load(name, 30 * MINUTE)) }, vercel],
      creates: 3 * 288,
      everyMs: 5 * MINUTE,
    })),
  );
}

/**
 * A cassette's creates as a scenario of a simulation has them: the shape of the whole tape, and at each time how much slower
 * it was than that and which share failed. `latency` times everything.
 */
export function scenarioOf(
  cassette: Cassette,
  windowMs: number,
  latency = 1,
): {
  shape: { p50: number; p95: number; p99: number };
  factor(at: number): number;
  failing(at: number): number;
} | null {
  const creates = cassette.calls.filter(({ operation }) => operation === "createSandbox");
  const whole = timeFigures(creates.flatMap((call) => (faultOf(call) === undefined ? [call.took_ms] : [])));
  if (!whole) return null;
  const about = (at: number) => {
    const then = at % cassette.durationMs;
    return creates.filter(({ at_ms }) => Math.abs(at_ms - then) <= windowMs / 2);
  };
  return {
    shape: { p50: latency * whole.p50_ms, p95: latency * whole.p95_ms, p99: latency * whole.p99_ms },
    factor: (at) => {
      const good = timeFigures(
        about(at).flatMap((call) => (faultOf(call) === undefined ? [call.took_ms] : [])),
      );
      return good && whole.p50_ms > 0 ? good.p50_ms / whole.p50_ms : 1;
    },
    failing: (at) => {
      const then = about(at);
      return then.length === 0 ? 0 : then.filter((call) => faultOf(call) !== undefined).length / then.length;
    },
  };
}
