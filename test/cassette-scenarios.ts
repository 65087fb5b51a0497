import { join } from "node:path";
import { loadCassette } from "../src/gateway/compute/cassette.js";
import { scenarioOf } from "../src/gateway/compute/cassette-figures.js";
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
