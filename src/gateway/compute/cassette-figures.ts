import type { CassetteCall } from "../../protocol/cassette.js";
import type { Cassette } from "./cassette.js";

/** A distribution, in milliseconds. */
export interface TimeFigures {
  n: number;
  p50_ms: number;
  p95_ms: number;
  p99_ms: number;
  max_ms: number;
}

/** How often an operation was asked, and how it failed. */
export interface OperationFigures {
  operation: string;
  calls: number;
  ok: number;
  /** Code of the failure → how often. `unanswered` never got an answer; `left` was given up by its caller. */
  faults: Record<string, number>;
}

/** What is on a cassette, in figures. */
export interface CassetteFigures {
  provider: string;
  made: string;
  recorded_at: string;
  note?: string;
  duration_ms: number;
  calls: number;
  sandboxes: number;
  /** Creates that made a sandbox, and whose answer was lost. */
  lost_answers: number;
  times: {
    create: TimeFigures | null;
    /** The first command of each sandbox. */
    first_command: TimeFigures | null;
    exec: TimeFigures | null;
    /** Of streams: until the first output. */
    first_byte: TimeFigures | null;
  };
  /** Commands that ran to their end, by what was asked. */
  commands: (TimeFigures & { asked: string })[];
  operations: OperationFigures[];
}

const MAX_COMMANDS = 50;

/** Reads the distributions off a cassette. */
export function figuresOf({ header, calls, lost, durationMs }: Cassette): CassetteFigures {
  const good = calls.filter((call) => faultOf(call) === undefined);
  const of = (operation: CassetteCall["operation"]) => good.filter((call) => call.operation === operation);
  const took = (some: readonly CassetteCall[]) => timeFigures(some.map(({ took_ms }) => took_ms));
  const runs = of("runSandbox");
  const seen = new Set<number>();
  const firsts = runs.filter(({ sandbox }) => {
    if (sandbox === undefined || seen.has(sandbox)) return false;
    seen.add(sandbox);
    return true;
  });
  const byAsked = byCommand(runs);
  return {
    provider: header.provider,
    made: header.made,
    recorded_at: header.recorded_at,
    ...(header.note !== undefined && { note: header.note }),
    duration_ms: durationMs,
    calls: calls.length,
    sandboxes: of("createSandbox").length,
    lost_answers: calls.filter(({ n }) => lost.has(n)).length,
    times: {
      create: took(of("createSandbox")),
      first_command: took(firsts),
      exec: took(runs),
      first_byte: timeFigures(of("runSandboxStream").flatMap((call) => firstByteOf(call) ?? [])),
    },
    commands: [...byAsked]
      .map(([asked, some]) => ({ asked, ...took(some)! }))
      .sort((a, b) => b.n - a.n)
      .slice(0, MAX_COMMANDS),
    operations: operationsOf(calls),
  };
}

/** What a call failed with; undefined for one that succeeded. */
export function faultOf({ outcome }: CassetteCall): string | undefined {
  if (outcome.kind === "error") return outcome.code;
  if (outcome.kind === "unanswered") return outcome.why === "left" ? "left" : "unanswered";
  if (outcome.kind !== "stream" || outcome.end === "closed") return undefined;
  return outcome.end === "left" ? "left" : "compute_lost";
}

/** The quantile between two values is between them. Null when there are none. */
export function timeFigures(values: readonly number[]): TimeFigures | null {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) => {
    const place = share * (sorted.length - 1);
    const [low, high] = [sorted[Math.floor(place)]!, sorted[Math.ceil(place)]!];
    return Math.round((low + (high - low) * (place % 1)) * 100) / 100;
  };
  return { n: sorted.length, p50_ms: at(0.5), p95_ms: at(0.95), p99_ms: at(0.99), max_ms: at(1) };
}

function firstByteOf({ outcome }: CassetteCall): number | undefined {
  if (outcome.kind === "omitted") return outcome.first_byte_ms;
  if (outcome.kind !== "stream") return undefined;
  return outcome.chunks.find(({ text }) => /^event: (?:stdout|stderr)$/m.test(text ?? ""))?.after_ms;
}

function operationsOf(calls: readonly CassetteCall[]): OperationFigures[] {
  const all = new Map<string, OperationFigures>();
  for (const call of calls) {
    const { operation } = call;
    const figures = all.get(operation) ?? { operation, calls: 0, ok: 0, faults: {} };
    const fault = faultOf(call);
    figures.calls++;
    if (fault === undefined) figures.ok++;
    else figures.faults[fault] = (figures.faults[fault] ?? 0) + 1;
    all.set(operation, figures);
  }
  return [...all.values()];
}

function byCommand(runs: readonly CassetteCall[]): Map<string, CassetteCall[]> {
  const groups = new Map<string, CassetteCall[]>();
  for (const run of runs) {
    const asked = run.asked ?? "(not kept)";
    const group = groups.get(asked);
    if (group) group.push(run);
    else groups.set(asked, [run]);
  }
  return groups;
}
