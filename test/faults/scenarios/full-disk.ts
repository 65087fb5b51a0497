import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Oracle } from "../oracle.js";
import type { Shape } from "../plan.js";
import { playRound } from "../round.js";
import type { Scenario } from "../scenario.js";
import { SmallDisk } from "../small-disk.js";
import { World } from "../world.js";

const DISK_MEGABYTES = 8;

const SHAPE: Shape = {
  hows: [
    { how: "run", weight: 1 },
    { how: "stream", weight: 1 },
    { how: "background", weight: 2 },
  ],
  keyed: 0.5,
  endings: [
    { by: "exit", weight: 9 },
    { by: "signal", weight: 1 },
  ],
  sizes: [
    { upTo: 20_000, weight: 1 },
    { upTo: 3_000_000, weight: 3 },
  ],
  sleeps: [{ upTo: 1.5, weight: 1 }],
};

/** What happens to the disk while runs print. The last one shows that the relay recovers. */
const STEPS: readonly {
  name: string;
  strike(disk: SmallDisk, world: World, signal: AbortSignal): Promise<void>;
}[] = [
  {
    name: "disk fills while runs print",
    strike: async (disk, _, signal) => {
      await pause(700, signal);
      await disk.fill();
      await pause(2_000, signal);
    },
  },
  {
    name: "disk is full from the start",
    strike: async (disk, _, signal) => {
      await disk.fill();
      await pause(3_000, signal);
      await disk.free();
    },
  },
  {
    name: "kill -9 of the relay on a full disk",
    strike: async (disk, world, signal) => {
      await pause(500, signal);
      await disk.fill();
      await pause(300, signal);
      await world.kill("relay");
      world.startRelay();
      await pause(1_500, signal);
      await disk.free();
    },
  },
  { name: "disk has room again", strike: async (disk) => disk.free() },
];

/** The relay's state on a disk that is full: never a wrong byte, never a wrong end, and what is missing is named. */
export const fullDisk: Scenario = async ({ runs, random, tally, signal }) => {
  const disk = await SmallDisk.mount(DISK_MEGABYTES);
  if (!(disk instanceof SmallDisk)) {
    tally.skipped = disk.why;
    return;
  }
  try {
    const world = await World.start({ stateHome: disk.folder }, signal);
    try {
      const oracle = await Oracle.open(join(world.folder, "oracle"));
      const each = Math.ceil(runs / STEPS.length);
      for (const [at, { name, strike }] of STEPS.entries()) {
        const numbers = Array.from({ length: each }, (_, index) => at * each + index);
        const plans = await Promise.all(
          numbers.map((number) => oracle.plan(number, SHAPE, random.fork(`run/${number}`))),
        );
        await playRound({
          name,
          world,
          oracle,
          plans,
          spreadMs: 1_000,
          strike: async (signal) => {
            tally.struck(name);
            await strike(disk, world, signal);
          },
          tally,
          random: random.fork(`round/${at}`),
          signal,
        });
        await disk.free();
      }
    } finally {
      await tally.end(world);
    }
  } finally {
    await disk.unmount();
  }
};

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return sleep(ms, undefined, { signal });
}
