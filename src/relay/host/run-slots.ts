import { CerverError } from "../../protocol/errors.js";

/** How many runs a relay has under way, and how many it takes. */
export class RunSlots {
  #taken = 0;

  constructor(readonly limit: number) {}

  get taken(): number {
    return this.#taken;
  }

  /** Takes a slot, to be given back once by the returned function. Throws `relay_full` when there is none. */
  take(): () => void {
    if (this.#taken >= this.limit) {
      throw new CerverError(
        "relay_full",
        `This compute has ${this.limit} runs under way, as many as it takes.`,
        {
          hint: "Try again when one has ended, or start its relay with a larger --max-runs.",
          details: { retry_after_ms: 1_000 },
        },
      );
    }
    this.#taken++;
    let given = false;
    return () => {
      if (given) return;
      given = true;
      this.#taken--;
    };
  }
}
