import { atOnce } from "./at-once.js";
import type { Bench } from "./bench.js";
import { IdlePair } from "./idle.js";
import { latency } from "./latency.js";
import { mcpStart } from "./mcp-start.js";
import { memory } from "./memory.js";
import { stoppedReader } from "./stopped-reader.js";
import { streams } from "./streams.js";
import type { Line } from "./table.js";

/** The rows in their order: what allocates much, in the bench as well, comes after what is sensitive to that. */
export const ROWS = [
  "echo",
  "true",
  "ls",
  "node",
  "mcp",
  "memory",
  "at-once",
  "streams",
  "stopped-reader",
  "idle",
] as const;
export type Row = (typeof ROWS)[number];

/** Measures the chosen rows, one after the other. One that fails leaves the others their turn. */
export async function measure(
  bench: Bench,
  rows: readonly Row[],
  on: { row(row: Row): void; failure(row: Row, error: Error): void },
): Promise<Line[]> {
  const lines: Line[] = [];
  // Begins first, so that it has stood idle long enough at the end.
  const idle = rows.includes("idle") ? await IdlePair.start(bench) : undefined;
  for (const row of rows) {
    on.row(row);
    try {
      lines.push(...(await measureRow(bench, row, idle)));
    } catch (error) {
      on.failure(row, error as Error);
      lines.push({ row, what: row, unit: "", figures: { cerver: "failed" } });
    }
  }
  return lines;
}

function measureRow(bench: Bench, row: Row, idle: IdlePair | undefined): Promise<Line[]> {
  switch (row) {
    case "mcp":
      return mcpStart(bench);
    case "memory":
      return memory(bench);
    case "at-once":
      return atOnce(bench);
    case "streams":
      return streams(bench);
    case "stopped-reader":
      return stoppedReader(bench);
    case "idle":
      return idle!.measure(bench);
    default:
      return latency(bench, row);
  }
}
