import type { CassetteSink } from "../src/gateway/compute/recorder.js";
import type { CassetteHeader, CassetteLine } from "../src/protocol/cassette.js";

/** A cassette in memory. */
export class CassetteLines implements CassetteSink {
  readonly lines: CassetteLine[];

  constructor(header: CassetteHeader) {
    this.lines = [header];
  }

  write(line: CassetteLine): void {
    this.lines.push(line);
  }

  get text(): string {
    return this.lines.map((line) => `${JSON.stringify(line)}\n`).join("");
  }
}
