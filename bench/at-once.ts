import type { Bench } from "./bench.js";
import { ECHO } from "./commands.js";
import { Absent, type Lane } from "./contender.js";
import { type Line, WHO, type Who } from "./table.js";
import { median, ratioOf } from "./turns.js";

const LANES = 32;

/** Many runs at once: how many a second end. */
export async function atOnce(bench: Bench): Promise<Line[]> {
  const { short } = bench.options;
  const [rounds, seconds] = short ? [1, 0.5] : [5, 2];
  const contenders = await bench.contenders();
  const figures: Line["figures"] = {};
  const lanes = new Map<Who, Lane[]>();
  for (const who of WHO) {
    const contender = contenders[who];
    if (contender instanceof Absent) figures[who] = contender.word;
    else lanes.set(who, await contender.lanes(ECHO, LANES));
  }
  for (const each of lanes.values()) await runsPerSecond(each, seconds / 4);

  const rates = new Map([...lanes.keys()].map((who): [Who, number[]] => [who, []]));
  for (let round = 0; round < rounds; round++) {
    for (const [who, each] of lanes) {
      // The two that give a picture only do not take part in every round.
      if (round % 2 === 1 && who !== "cerver" && who !== "bare") continue;
      rates.get(who)!.push(await runsPerSecond(each, seconds));
    }
  }
  for (const [who, values] of rates) figures[who] = median(values);
  return [
    {
      row: "at-once",
      what: `${ECHO.name}, ${LANES} at once`,
      unit: "runs/s",
      figures,
      ratio: ratioOf(rates.get("cerver")!, rates.get("bare")!),
      target: "at least 0.9 x bare",
    },
  ];
}

/** Lets every lane run again and again; what has begun in time is waited for, and counts with its time. */
async function runsPerSecond(lanes: readonly Lane[], seconds: number): Promise<number> {
  const began = performance.now();
  let runs = 0;
  await Promise.all(
    lanes.map(async (once) => {
      while (performance.now() - began < seconds * 1000) {
        await once();
        runs++;
      }
    }),
  );
  return runs / ((performance.now() - began) / 1000);
}
