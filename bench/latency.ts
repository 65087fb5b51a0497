import type { Bench } from "./bench.js";
import { ECHO, EXTERNAL, LIST, NODE } from "./commands.js";
import { Absent, type Command, type Lane } from "./contender.js";
import type { Figure, Line, Who } from "./table.js";
import { inTurns, quantile, ratioOf, type Turn } from "./turns.js";

/** The others give a picture, no target: a quarter of the runs is enough for that. */
const OTHERS_EVERY = 4;

const TARGETS: Record<string, { command: Command; target: string; share: number }> = {
  echo: { command: ECHO, target: "at most 0.7 x bare", share: 1 },
  true: { command: EXTERNAL, target: "at most 0.7 x bare", share: 1 },
  ls: { command: LIST, target: "at most 0.7 x bare", share: 1 },
  // Each takes twenty times as long.
  node: { command: NODE, target: "at most 0.3 x bare", share: 1 / 3 },
};

/** One run at a time: how long a caller waits. */
export async function latency(bench: Bench, row: string): Promise<Line[]> {
  const { command, target, share } = TARGETS[row]!;
  const rounds = Math.ceil(bench.options.runs * share);
  const lanes = new Map<Who, Lane>();
  const absent: Partial<Record<Who, Figure>> = {};
  for (const [name, contender] of Object.entries(await bench.contenders())) {
    if (contender instanceof Absent) absent[name as Who] = contender.word;
    else lanes.set(name as Who, (await contender.lanes(command, 1))[0]!);
  }
  const isOther = (name: Who) => name !== "cerver" && name !== "bare";
  const turns = [...lanes].map(
    ([name, once]): Turn => ({ name, once, every: isOther(name) ? OTHERS_EVERY : 1 }),
  );
  const times = await inTurns(turns, rounds, Math.min(30, rounds));
  const figures = (q: number) =>
    Object.fromEntries([...times].map(([name, values]) => [name, quantile(values, q)]));

  const alone = new Map<string, number[]>();
  for (const turn of turns.filter(({ every }) => every === 1)) {
    alone.set(turn.name, (await inTurns([turn], Math.ceil(rounds / 3), 5)).get(turn.name)!);
  }
  bench.note(
    "alone: runs of one kind back to back. In turns, what a run leaves to do after its answer falls on the next in turn.",
  );
  bench.note("The client here is a plain socket; a client on Node's http adds about 0.3 ms to each request.");
  const { name } = command;
  return [
    {
      row,
      what: `${name}, p50`,
      unit: "ms",
      figures: { ...figures(0.5), ...absent },
      ratio: ratioOf(times.get("cerver")!, times.get("bare")!),
      target,
    },
    { row, what: `${name}, p95`, unit: "ms", figures: { ...figures(0.95), ...absent } },
    {
      row,
      what: `${name}, p50 alone`,
      unit: "ms",
      figures: Object.fromEntries([...alone].map(([who, values]) => [who, quantile(values, 0.5)])),
      ratio: ratioOf(alone.get("cerver")!, alone.get("bare")!),
    },
  ];
}
