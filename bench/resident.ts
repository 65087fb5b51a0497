import type { Cerver } from "./cerver.js";
import { residentMb } from "./processes.js";

const LOOK_EVERY_MS = 200;

/** Watches how much memory the processes of an installation take, beside what they took when this began. */
export class ResidentGrowth {
  readonly #processes: { role: string; pid: number; before: number; most: number }[];
  readonly #timer: NodeJS.Timeout;

  constructor(cerver: Cerver) {
    const { waiting: _, ...roles } = cerver.processes();
    this.#processes = Object.entries(roles).map(([role, pid]) => {
      const before = residentMb(pid);
      return { role, pid, before, most: before };
    });
    this.#timer = setInterval(() => this.#look(), LOOK_EVERY_MS);
  }

  /** The most that each took more than before, so far. MB. */
  soFar(): { role: string; mb: number }[] {
    this.#look();
    return this.#processes.map(({ role, before, most }) => ({ role, mb: most - before }));
  }

  end(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    for (const each of this.#processes) each.most = Math.max(each.most, residentMb(each.pid));
  }
}
