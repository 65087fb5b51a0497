import type { Random } from "./random.js";
import type { Tally } from "./tally.js";

/** What a scenario is played with. */
export interface Stage {
  /** How many runs the scenario has to make. */
  runs: number;
  /** How many worlds it may have at a time, when it needs no particular number. */
  worlds: number;
  random: Random;
  tally: Tally;
  /** A line about how it goes. */
  say(line: string): void;
  signal: AbortSignal;
}

/** A way to make trouble. Everything it starts it ends, also when the signal aborts. */
export type Scenario = (stage: Stage) => Promise<void>;
