import { atOnce } from "./at-once.js";
import type { Bench } from "./bench.js";
import { IdlePair } from "./idle.js";
import { latency } from "./latency.js";
import { stoppedReader } from "./stopped-reader.js";
import { streams } from "./streams.js";
import type { Line } from "./table.js";

/** The rows in their order: what allocates much, in the bench as well, comes after what is sensitive to that. */
export const ROWS = ["echo", "true", "ls", "node", "at-once", "streams", "stopped-reader", "idle"] as const;
export type Row = (typeof ROWS)[number];

/** Measures the chosen rows, one after the other. */
export async function measure(
  bench: Bench,
  rows: readonly Row[],
  onRow: (row: Row) => void,
): Promise<Line[]> {
  const lines: Line[] = [];
  // Begins first, so that it has stood idle long enough at the end.
  const idle = rows.includes("idle") ? await IdlePair.start(bench) : undefined;
  for (const row of rows) {
    onRow(row);
    if (row === "idle") lines.push(...(await idle!.measure(bench)));
    else if (row === "at-once") lines.push(...(await atOnce(bench)));
    else if (row === "streams") lines.push(...(await streams(bench)));
    else if (row === "stopped-reader") lines.push(...(await stoppedReader(bench)));
    else lines.push(...(await latency(bench, row)));
  }
  return lines;
}
