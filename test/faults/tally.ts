import type { World } from "./world.js";

/** What has to be nothing at the end. */
export const MUST_BE_ZERO = [
  "fake successes",
  "double executions",
  "lost runs never settled",
  "output hash mismatches",
  "runs without a record",
  "false words that nothing was done",
  "other failures",
] as const;
export type Wrong = (typeof MUST_BE_ZERO)[number];

/** Found of a scenario, and not wrong in every one of them. */
export interface Figures {
  runs: number;
  /** Scripts that began. */
  began: number;
  /** Scripts that came to their end. */
  ended: number;
  /** Runs that the gateway took and that did not come to an end of their own although nobody ended them. */
  lostRuns: number;
  /** Bytes that ended runs printed and that can no longer be read. */
  lostBytes: number;
  /** Gaps that the product named. */
  gaps: number;
  /** Relays that ended on their own and had to be started again. */
  relaysGaveUp: number;
}

export interface Problem {
  kind: Wrong;
  what: string;
}

/** What a scenario expects beyond what every scenario does. */
export interface Rules {
  /** No run and no byte is lost. */
  losesNothing?: boolean;
  /** Output may be gone, and the answer to a question for it may say so. */
  diskFills?: boolean;
}

/** The counts of one scenario. */
export class Tally {
  readonly figures: Figures = {
    runs: 0,
    began: 0,
    ended: 0,
    lostRuns: 0,
    lostBytes: 0,
    gaps: 0,
    relaysGaveUp: 0,
  };
  readonly problems: Problem[] = [];
  readonly notes: string[] = [];
  /** Seconds from the link's return to a settled record, for each run that was not settled when it returned. */
  readonly settleSeconds: number[] = [];
  /** How often each kind of fault struck. */
  readonly faults = new Map<string, number>();
  /** Why the scenario did not take place. */
  skipped: string | undefined;

  constructor(
    readonly name: string,
    readonly rules: Rules = {},
  ) {}

  struck(fault: string): void {
    this.faults.set(fault, (this.faults.get(fault) ?? 0) + 1);
  }

  wrong(kind: Wrong, what: string): void {
    this.problems.push({ kind, what: `${this.name}, ${what}` });
  }

  /** Says once what is worth a look although no count rests on it. */
  note(what: string): void {
    if (!this.notes.includes(what)) this.notes.push(what);
  }

  /** Ends a world, and keeps what it has to tell. */
  async end(world: World): Promise<void> {
    const left = await world.stop();
    this.figures.relaysGaveUp += world.gaveUp.length;
    for (const words of world.gaveUp) this.note(`a relay gave up: ${words}`);
    // A keeper of runs goes on its own, a few seconds after the relay.
    for (const command of left.filter((command) => !command.includes("keeper")))
      this.note(`an orderly stop left behind: ${command.slice(0, 120)}`);
  }

  count(kind: Wrong): number {
    return this.problems.filter((problem) => problem.kind === kind).length;
  }
}
