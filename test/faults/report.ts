import { MUST_BE_ZERO, type Tally } from "./tally.js";

/** The 95th percentile of the seconds from the link's return to a settled record has to be under this. */
export const SETTLE_P95_SECONDS = 5;

export interface ScenarioReport {
  name: string;
  skipped?: string;
  rows: Record<string, number>;
  settle: { runs: number; p50: number; p95: number; max: number };
  faults: Record<string, number>;
  problems: { kind: string; what: string }[];
  notes: string[];
}

export interface Report {
  seed: number;
  seconds: number;
  scenarios: ScenarioReport[];
  /** What has to be otherwise, as sentences. */
  failures: string[];
}

export function reportOf(
  seed: number,
  seconds: number,
  tallies: readonly Tally[],
  unfinished: readonly string[],
): Report {
  const failures = [...unfinished, ...tallies.flatMap(failuresOf)];
  return { seed, seconds, scenarios: tallies.map(scenarioReport), failures };
}

function scenarioReport(tally: Tally): ScenarioReport {
  const { figures } = tally;
  return {
    name: tally.name,
    ...(tally.skipped !== undefined && { skipped: tally.skipped }),
    rows: {
      runs: figures.runs,
      "scripts that began": figures.began,
      "scripts that came to their end": figures.ended,
      ...Object.fromEntries(MUST_BE_ZERO.map((kind) => [kind, tally.count(kind)])),
      "accepted runs without an end": figures.lostRuns,
      "lost bytes": figures.lostBytes,
      "gaps named": figures.gaps,
      "relays that gave up": figures.relaysGaveUp,
    },
    settle: {
      runs: tally.settleSeconds.length,
      p50: quantile(tally.settleSeconds, 0.5),
      p95: quantile(tally.settleSeconds, 0.95),
      max: quantile(tally.settleSeconds, 1),
    },
    faults: Object.fromEntries([...tally.faults].sort()),
    problems: tally.problems,
    notes: tally.notes,
  };
}

function failuresOf(tally: Tally): string[] {
  const { name, rules, figures } = tally;
  const failures = MUST_BE_ZERO.flatMap((kind) => {
    const count = tally.count(kind);
    return count > 0 ? [`${name}: ${count} ${kind}`] : [];
  });
  const p95 = quantile(tally.settleSeconds, 0.95);
  if (p95 >= SETTLE_P95_SECONDS)
    failures.push(`${name}: runs settle ${p95.toFixed(1)} s after the reconnect (p95)`);
  if (rules.losesNothing && figures.lostRuns > 0) failures.push(`${name}: ${figures.lostRuns} lost runs`);
  if (rules.losesNothing && figures.lostBytes > 0) failures.push(`${name}: ${figures.lostBytes} lost bytes`);
  return failures;
}

/** The report for people. */
export function table({ seed, seconds, scenarios, failures }: Report): string {
  const played = scenarios.filter(({ skipped }) => skipped === undefined);
  const columns = played.map(({ name }) => name);
  const width = Math.max(12, ...columns.map((name) => name.length + 2));
  const line = (title: string, cells: readonly string[]) =>
    title.padEnd(42) + cells.map((cell) => cell.padStart(width)).join("");
  const seconds1 = (value: number) => `${value.toFixed(2)} s`;
  const rows = Object.keys(played[0]?.rows ?? {}).map((title) =>
    line(
      title,
      played.map(({ rows }) => String(rows[title])),
    ),
  );
  const settle = (["p50", "p95", "max"] as const).map((which) =>
    line(
      `settled after reconnect, ${which}`,
      played.map(({ settle }) => seconds1(settle[which])),
    ),
  );
  return [
    `Faults, seed ${seed}, ${seconds.toFixed(0)} s\n`,
    line("", columns),
    ...rows,
    line(
      "runs that had to settle",
      played.map(({ settle }) => String(settle.runs)),
    ),
    ...settle,
    "",
    ...played.map(({ name, faults }) => `${name}: ${listed(faults)}`),
    ...scenarios.flatMap(({ name, skipped }) =>
      skipped === undefined ? [] : [`${name}: skipped, ${skipped}`],
    ),
    ...section(
      "Worth a look",
      scenarios.flatMap(({ name, notes }) => notes.map((note) => `${name}: ${note}`)),
    ),
    ...section(
      "Problems",
      scenarios.flatMap(({ problems }) => problems.map(({ kind, what }) => `${kind}: ${what}`)),
    ),
    "",
    failures.length === 0 ? "All as it has to be." : `Not as it has to be:\n  ${failures.join("\n  ")}`,
  ].join("\n");
}

/** So many lines of one kind tell enough; the JSON has them all. */
const LISTED = 40;

function section(title: string, lines: readonly string[]): string[] {
  if (lines.length === 0) return [];
  const more = lines.length > LISTED ? [`  and ${lines.length - LISTED} more`] : [];
  return ["", `${title}:`, ...lines.slice(0, LISTED).map((line) => `  ${line}`), ...more];
}

function listed(counts: Record<string, number>): string {
  return Object.entries(counts)
    .map(([name, count]) => `${count} × ${name}`)
    .join(", ");
}

export function quantile(values: readonly number[], q: number): number {
  if (values.length === 0) return 0;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(q * sorted.length) - 1))]!;
}
