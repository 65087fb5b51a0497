/** Prints what docs/router.md says of the router's simulations: `npx tsx scripts/simulate-router.ts`. */
import { CATALOG } from "../src/gateway/compute/catalog.js";
import { cassetteScenarios } from "../test/cassette-scenarios.js";
import {
  falseAlarms,
  mean,
  type Played,
  percentile,
  playOracle,
  playRoundRobin,
  playRouter,
  policyViolations,
  regret,
  replayAgainstTruth,
  SCENARIOS,
  type Scenario,
  startsToNotice,
  World,
} from "../test/router-simulation.js";

const SEEDS = Array.from({ length: Number(process.argv[2] ?? 5) }, (_, index) => index + 1);

const router = (world: World, learns: boolean, canary: number): Played =>
  playRouter(world, { learns, canary, mode: "fastest", seed: 7 });
const STRATEGIES: [string, (world: World) => Played][] = [
  ["router", (world) => router(world, true, 0)],
  ["router, canary 5 %", (world) => router(world, true, 0.05)],
  ["profiles only", (world) => router(world, false, 0)],
  ["round robin", playRoundRobin],
];

function printRegret(scenarios: readonly Scenario[]): void {
  console.log(`| scenario | oracle, mean ms (P95) | ${STRATEGIES.map(([name]) => name).join(" | ")} |`);
  console.log(`|---|---|${STRATEGIES.map(() => "---|").join("")}`);
  for (const scenario of scenarios) {
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
}

printRegret(SCENARIOS);
console.log("\nThe cassette corpus:\n");
printRegret(await cassetteScenarios());

console.log(
  "\n| starts until a 2x slowdown is noticed | median | P90 | most | fading alone, median | false alarms |",
);
console.log("|---|---|---|---|---|---|");
for (const { provider, startup } of CATALOG) {
  if (!startup.measured) continue;
  const { p50, p95, p99 } = startup.measured;
  const shape = { p50, p95, p99 };
  const seen = Array.from({ length: 40 * SEEDS.length }, (_, seed) => startsToNotice(shape, seed));
  const router = seen.map((one) => one.router);
  const wrong = mean([1, 2, 3].map((seed) => falseAlarms(shape, seed, 1_500)));
  console.log(
    `| ${provider} (P95/P50 ${(p95 / p50).toFixed(2)}) | ${percentile(router, 0.5)} | ${percentile(router, 0.9)} | ` +
      `${Math.max(...router)} | ${percentile(
        seen.map((one) => one.fadingAlone),
        0.5,
      )} | ${(wrong * 100).toFixed(2)} % |`,
  );
}

console.log(
  "\n| replay of `cheapest` as `fastest` | said, ms | truth, ms | off | canary 5 %: said | truth | off |",
);
console.log("|---|---|---|---|---|---|---|");
for (const scenario of SCENARIOS) {
  const world = new World({ ...scenario, request: { requirements: { timeout_minutes: 60 } } }, 1);
  const cells = [0, 0.05].map((canary) => {
    const played = playRouter(world, { learns: true, canary, mode: "cheapest", seed: 7 });
    const { said, truth } = replayAgainstTruth(world, played, "fastest");
    return `${said.toFixed(0)} | ${truth.toFixed(0)} | ${((said / truth - 1) * 100).toFixed(1)} %`;
  });
  console.log(`| ${scenario.name} | ${cells.join(" | ")} |`);
}

console.log("\npolicy violations:", policyViolations(20_000, 1));
