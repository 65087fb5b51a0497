// The fault suite: runs under faults, with the truth about them kept outside of the product.
//
// - A World is a gateway, a relay and a bad path between them (tcp-proxy.ts), as real processes.
// - The Oracle knows what each run has to print and how it has to end, and reads what its script wrote down.
// - A round asks for some runs (plan.ts, caller.ts), strikes (faults.ts), heals, waits until everything is settled
//   (round.ts), and holds every answer, event, record and output against the truth (verify.ts).
//
// A new fault is an entry in one of the lists of faults.ts. A new scenario is a file in scenarios/ that exports a
// Scenario, and an entry in SCENARIOS below; most of them start a World, draw plans of a Shape and call playRound with a
// `strike` of their own.
import { setMaxListeners } from "node:events";
import { Random } from "./random.js";
import { type Report, reportOf } from "./report.js";
import type { Scenario } from "./scenario.js";
import { fullDisk } from "./scenarios/full-disk.js";
import { mixed } from "./scenarios/mixed.js";
import { relayRestarts } from "./scenarios/relay-restarts.js";
import { type Rules, Tally } from "./tally.js";

export const SCENARIOS = {
  mixed: { play: mixed, rules: {} },
  "relay restarts": { play: relayRestarts, rules: { losesNothing: true } },
  "full disk": { play: fullDisk, rules: { diskFills: true } },
} satisfies Record<string, { play: Scenario; rules: Rules }>;
export type ScenarioName = keyof typeof SCENARIOS;

export interface SuiteOptions {
  seed: number;
  /** How many runs each scenario makes. One that is not named is not played. */
  runs: Partial<Record<ScenarioName, number>>;
  /** Worlds that `mixed` plays side by side. */
  worlds: number;
  /** Scenarios one after another, as figures want it, or all at once, as a short slice does. @default false */
  atOnce?: boolean;
  /** Milliseconds after which everything ends, finished or not. */
  deadlineMs: number;
  say?(line: string): void;
  signal?: AbortSignal;
}

/** Plays the scenarios and reports. A scenario that fails or is not finished in time is a failure of the report. */
export async function runSuite(options: SuiteOptions): Promise<Report> {
  const { seed, runs, worlds, deadlineMs, say = () => {} } = options;
  const began = performance.now();
  const deadline = new AbortController();
  const timer = setTimeout(
    () => deadline.abort(new Error(`not finished after ${deadlineMs / 1000} s`)),
    deadlineMs,
  );
  const signal = AbortSignal.any([deadline.signal, ...(options.signal ? [options.signal] : [])]);
  setMaxListeners(0, signal);
  const tallies: Tally[] = [];
  const unfinished: string[] = [];

  const play = async (name: ScenarioName, count: number) => {
    const { play, rules } = SCENARIOS[name];
    const tally = new Tally(name, rules);
    tallies.push(tally);
    const random = new Random(`${seed}/${name}`);
    try {
      await play({ runs: count, worlds, random, tally, say: (line) => say(`${name}, ${line}`), signal });
    } catch (error) {
      const why = signal.aborted
        ? (signal.reason as Error).message
        : ((error as Error).stack ?? String(error));
      unfinished.push(`${name}: ${why}`);
    }
    if (tally.skipped === undefined && tally.figures.runs < count)
      unfinished.push(`${name}: ${tally.figures.runs} of ${count} runs were made`);
  };

  const wanted = Object.entries(runs) as [ScenarioName, number][];
  try {
    if (options.atOnce) await Promise.all(wanted.map(([name, count]) => play(name, count)));
    else for (const [name, count] of wanted) await play(name, count);
  } finally {
    clearTimeout(timer);
  }
  return reportOf(seed, (performance.now() - began) / 1000, tallies, unfinished);
}
