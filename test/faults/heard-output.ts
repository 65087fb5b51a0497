import type { RunEvent } from "./api.js";

export type StreamName = "stdout" | "stderr";

/**
 * The output of a run as the events of its streams tell it, put together over every connection that told some of it.
 *
 * Each piece is held against what the run was meant to print at that place, so that a wrong byte is found also where
 * others are missing.
 */
export class HeardOutput {
  /** Bytes heard so far, or named as dropped. */
  readonly at: Record<StreamName, number> = { stdout: 0, stderr: 0 };
  readonly gaps: Record<StreamName, number> = { stdout: 0, stderr: 0 };
  wrong: string | undefined;
  readonly #expected: Record<StreamName, Buffer>;

  constructor(expected: Record<StreamName, Buffer>) {
    this.#expected = expected;
  }

  /** What to ask for the rest with. */
  get eventId(): string {
    return `${this.at.stdout}:${this.at.stderr}`;
  }

  take(event: RunEvent, id: string | undefined): void {
    if (event.type === "gap") this.#gap(event);
    if (event.type !== "stdout" && event.type !== "stderr") return;
    const { type: name, offset, data, encoding } = event;
    const bytes = Buffer.from(data, encoding ?? "utf8");
    const at = this.at[name];
    if (offset > at) this.#isWrong(`${name} jumps from ${at} to ${offset}`);
    if (!this.#expected[name].subarray(offset, offset + bytes.length).equals(bytes))
      this.#isWrong(`${name} has other bytes at ${offset}..${offset + bytes.length}`);
    this.at[name] = Math.max(at, offset + bytes.length);
    const after = offsetsOf(id);
    if (after && after[name] !== offset + bytes.length)
      this.#isWrong(`the event that ends at ${offset + bytes.length} of ${name} has the id ${id}`);
  }

  /** Checks that nothing is missing at the end that no gap speaks of. */
  ends(): void {
    for (const name of ["stdout", "stderr"] as const) {
      const { length } = this.#expected[name];
      if (this.at[name] !== length) this.#isWrong(`${name} ends after ${this.at[name]} of ${length} bytes`);
    }
  }

  #gap({ stream, offset, bytes }: RunEvent & { type: "gap" }): void {
    if (offset !== this.at[stream])
      this.#isWrong(`a gap of ${stream} begins at ${offset}, after ${this.at[stream]} bytes`);
    this.gaps[stream]++;
    this.at[stream] = offset + bytes;
  }

  #isWrong(what: string): void {
    this.wrong ??= what;
  }
}

function offsetsOf(id: string | undefined): Record<StreamName, number> | undefined {
  const match = /^(\d+):(\d+)$/.exec(id ?? "");
  return match ? { stdout: Number(match[1]), stderr: Number(match[2]) } : undefined;
}
