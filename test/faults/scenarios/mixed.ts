import { join } from "node:path";
import { PATH_FAULTS, PROCESS_FAULTS, strikeFor } from "../faults.js";
import { Oracle } from "../oracle.js";
import type { Plan, Shape } from "../plan.js";
import type { Random } from "../random.js";
import { playRound } from "../round.js";
import type { Scenario, Stage } from "../scenario.js";
import { World } from "../world.js";

const RUNS_A_ROUND = 16;
/** Over this long the callers begin and the faults strike. */
const SPREAD_MS = 2_500;
const STRIKE_MS = 3_500;

const SHAPE: Shape = {
  hows: [
    { how: "run", weight: 3 },
    { how: "stream", weight: 3 },
    { how: "background", weight: 4 },
  ],
  keyed: 0.6,
  endings: [
    { by: "exit", weight: 86 },
    { by: "signal", weight: 6 },
    { by: "timeout", weight: 4 },
    { by: "cancel", weight: 4 },
  ],
  sizes: [
    { upTo: 200, weight: 4 },
    { upTo: 20_000, weight: 5 },
    { upTo: 300_000, weight: 1 },
    // More than an answer holds.
    { upTo: 2_500_000, weight: 0.2 },
  ],
  sleeps: [
    { upTo: 0.1, weight: 3 },
    { upTo: 3, weight: 6 },
    // Longer than the worlds' grace: whoever does not come back leaves such a run abandoned.
    { upTo: 8, weight: 1 },
  ],
};

/** Every fault at random moments, on several worlds side by side, because most of the time everybody waits. */
export const mixed: Scenario = async (stage) => {
  const { runs, worlds } = stage;
  const shares = Array.from({ length: worlds }, (_, at) => Math.floor((runs + at) / worlds));
  const playing = shares.map((share, at) => playWorld(at, share, stage));
  // Every world has ended before this does, also when one of them fails.
  await Promise.allSettled(playing);
  await Promise.all(playing);
};

async function playWorld(at: number, runs: number, stage: Stage): Promise<void> {
  const { tally, signal, say } = stage;
  const random = stage.random.fork(`world-${at}`);
  const world = await World.start({ grace: "5s" }, signal);
  try {
    const oracle = await Oracle.open(join(world.folder, "oracle"));
    for (let done = 0; done < runs; done += RUNS_A_ROUND) {
      const name = `world ${at}`;
      const plans = await drawPlans(oracle, done, Math.min(RUNS_A_ROUND, runs - done), random);
      await playRound({
        name,
        world,
        oracle,
        plans,
        spreadMs: SPREAD_MS,
        strike: (signal) =>
          strikeBoth(world, random.fork(`faults/${done}`), signal, tally.struck.bind(tally)),
        tally,
        random: random.fork(`round/${done}`),
        signal,
      });
      await oracle.forgetPieces();
      say(
        `${name}: ${Math.min(done + RUNS_A_ROUND, runs)} of ${runs} runs, ${tally.problems.length} problems`,
      );
    }
  } finally {
    await tally.end(world);
  }
}

async function drawPlans(oracle: Oracle, from: number, count: number, random: Random): Promise<Plan[]> {
  const plans: Plan[] = [];
  for (let number = from; number < from + count; number++)
    plans.push(await oracle.plan(number, SHAPE, random.fork(`run/${number}`)));
  return plans;
}

/** The path and the processes have faults of their own at the same time. */
async function strikeBoth(
  world: World,
  random: Random,
  signal: AbortSignal,
  onStrike: (name: string) => void,
): Promise<void> {
  await Promise.all([
    strikeFor(STRIKE_MS, PATH_FAULTS, world, random.fork("path"), signal, onStrike),
    strikeFor(STRIKE_MS, PROCESS_FAULTS, world, random.fork("processes"), signal, onStrike),
  ]);
}
