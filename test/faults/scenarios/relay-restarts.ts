import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Oracle } from "../oracle.js";
import type { Shape } from "../plan.js";
import { playRound } from "../round.js";
import type { Scenario } from "../scenario.js";
import { World } from "../world.js";

/** kill -9 is the hard way; SIGTERM is what a service manager sends, and background runs outlive it as well. */
const RESTARTS = ["SIGKILL", "SIGTERM", "SIGKILL"] as const;

const SHAPE: Shape = {
  hows: [{ how: "background", weight: 1 }],
  // Asked for again until it is taken, so that each of them has to be there in the end.
  keyed: 1,
  endings: [
    { by: "exit", weight: 9 },
    { by: "signal", weight: 1 },
  ],
  sizes: [{ upTo: 60_000, weight: 1 }],
  sleeps: [{ upTo: 12, weight: 1 }],
};

/** Three relay restarts while background runs print and sleep: no run and no byte is lost. */
export const relayRestarts: Scenario = async ({ runs, random, tally, signal }) => {
  const world = await World.start({}, signal);
  try {
    const oracle = await Oracle.open(join(world.folder, "oracle"));
    const plans = await Promise.all(
      Array.from({ length: runs }, (_, number) => oracle.plan(number, SHAPE, random.fork(`run/${number}`))),
    );
    await playRound({
      name: `${runs} background runs`,
      world,
      oracle,
      plans,
      spreadMs: 1_500,
      strike: async (signal) => {
        for (const how of RESTARTS) {
          await sleep(random.int(1_000, 2_500), undefined, { signal });
          tally.struck(`${how} of the relay`);
          await world.kill("relay", how);
          await sleep(random.int(0, 800), undefined, { signal });
          await world.heal(signal);
        }
      },
      tally,
      random: random.fork("round"),
      signal,
    });
  } finally {
    await tally.end(world);
  }
};
