/** Prints what docs/router.md says of the router's simulations: `npx tsx scripts/simulate-router.ts`. */
import {
  mean,
  type Played,
  percentile,
  playOracle,
  playRoundRobin,
  playRouter,
  regret,
  SCENARIOS,
  World,
} from "../test/router-simulation.js";

const SEEDS = [1, 2];

const router = (world: World, learns: boolean, canary: number): Played =>
  playRouter(world, { learns, canary, mode: "fastest", seed: 7 });
const STRATEGIES: [string, (world: World) => Played][] = [
  ["router", (world) => router(world, true, 0)],
  ["router, canary 5 %", (world) => router(world, true, 0.05)],
  ["profiles only", (world) => router(world, false, 0)],
  ["round robin", playRoundRobin],
];

console.log(`| scenario | oracle, mean ms (P95) | ${STRATEGIES.map(([name]) => name).join(" | ")} |`);
console.log(`|---|---|${STRATEGIES.map(() => "---|").join("")}`);
for (const scenario of SCENARIOS) {
  const worlds = SEEDS.map((seed) => new World(scenario, seed));
  const oracles = worlds.map(playOracle);
  const cells = STRATEGIES.map(([, play]) => {
    const all = worlds.map(play);
    const share = mean(all.map((played, index) => regret(played, oracles[index]!)));
    const p95 = mean(all.map(({ waits }) => percentile(waits, 0.95)));
    return `+${(share * 100).toFixed(1)} % (${p95.toFixed(0)})`;
  });
  const [ms, p95] = [
    mean(oracles.map(({ waits }) => mean(waits))),
    mean(oracles.map(({ waits }) => percentile(waits, 0.95))),
  ];
  console.log(`| ${scenario.name} | ${ms.toFixed(0)} (${p95.toFixed(0)}) | ${cells.join(" | ")} |`);
}
