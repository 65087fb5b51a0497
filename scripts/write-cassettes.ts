// Writes the cassettes of test/fixtures/cassettes; with --check it only says whether they are current. All of them are days
// that nobody recorded: their shapes are stated here, and the same seed gives the same files.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { keyOf, type Question } from "../src/gateway/compute/cassette.js";
import type {
  CassetteCall,
  CassetteHeader,
  CassetteLine,
  CassetteOutcome,
} from "../src/protocol/cassette.js";
import { seededRandom } from "../src/util/random.js";

const folder = join(import.meta.dirname, "../test/fixtures/cassettes");
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
/** 00:00 UTC, so that an hour of the tape is an hour of the day. */
const BEGIN = "2026-02-02T00:00:00.000Z";

/** Times of one operation: log-normal through a median and a 95th percentile, in milliseconds. */
interface Times {
  p50: number;
  p95: number;
}

interface Shape {
  file: string;
  provider: "e2b" | "vercel";
  note: string;
  seed: number;
  /** A create and a command this often. */
  everyMs: number;
  create: Times;
  exec: Times;
  /** Times everything by this. */
  factor?: (at: number) => number;
  /** What a create of that time fails with, by a number from 0 to below 1. */
  fault?: (at: number, luck: number) => (Fault & { tookMs: number }) | undefined;
}
type Fault = { outcome: Extract<CassetteOutcome, { kind: "error" }>; lost?: true };

const E2B: Pick<Shape, "provider" | "create" | "exec"> = {
  provider: "e2b",
  create: { p50: 40, p95: 60 },
  exec: { p50: 8, p95: 14 },
};
const VERCEL: Pick<Shape, "provider" | "create" | "exec"> = {
  provider: "vercel",
  create: { p50: 60, p95: 90 },
  exec: { p50: 10, p95: 18 },
};

const failed = (message: string, status: number): Fault["outcome"] => ({
  kind: "error",
  thrown: true,
  code: "provider_failed",
  message,
  hint: "Try again, or let another provider do it.",
  details: { vendor_status: status },
});

/** Latencies are a tenth of what vendors have, so that tests need not wait for them. */
const SHAPES: readonly Shape[] = [
  {
    ...VERCEL,
    file: "steady",
    seed: 1,
    everyMs: 10 * MINUTE,
    note: "steady: 60 ms (median), 90 ms (P95), no faults",
  },
  {
    ...E2B,
    file: "drift",
    seed: 2,
    everyMs: 5 * MINUTE,
    note: "drift: 40 ms (median), twice that from 12:00 to 18:00 UTC",
    factor: (at) => (at >= 12 * HOUR && at < 18 * HOUR ? 2 : 1),
  },
  {
    ...E2B,
    file: "outage",
    seed: 3,
    everyMs: 4 * MINUTE,
    note: "outage: every create fails with 500 from 06:00 to 06:20 UTC",
    fault: (at) =>
      at >= 6 * HOUR && at < 6 * HOUR + 20 * MINUTE
        ? { outcome: failed("E2B could not make a sandbox: Internal Server Error.", 500), tookMs: 30 }
        : undefined,
  },
  {
    ...E2B,
    file: "heavy-tail",
    seed: 4,
    everyMs: 4 * MINUTE,
    note: "heavy tail: 40 ms (median), 200 ms (P95), up to seconds",
    create: { p50: 40, p95: 200 },
  },
  {
    ...E2B,
    file: "throttling",
    seed: 5,
    everyMs: 5 * MINUTE,
    note: "throttling: from 09:00 to 17:00 UTC a third of creates is refused with 429 and Retry-After of 2 s",
    fault: (at, luck) =>
      at >= 9 * HOUR && at < 17 * HOUR && luck < 1 / 3
        ? {
            tookMs: 10,
            outcome: {
              kind: "error",
              thrown: true,
              code: "too_many_requests",
              message: "E2B has had too many requests from this account: Rate limit exceeded.",
              hint: "Try again in 2 s.",
              details: { vendor_status: 429, retry_after_ms: 2000 },
            },
          }
        : undefined,
  },
  {
    ...E2B,
    file: "lost-answers",
    seed: 6,
    everyMs: 10 * MINUTE,
    note: "lost answers: one create in five makes its sandbox, and the connection breaks before anybody hears of it",
    fault: (_, luck) =>
      luck < 0.2
        ? {
            outcome: failed("E2B could not make a sandbox: the connection broke.", 0),
            tookMs: 80,
            lost: true,
          }
        : undefined,
  },
];

function cassetteOf(shape: Shape): string {
  const { provider, note, seed, everyMs, factor = () => 1, fault = () => undefined } = shape;
  const random = seededRandom(seed);
  const header: CassetteHeader = {
    kind: "cassette",
    version: 1,
    provider,
    made: "generated",
    recorded_at: BEGIN,
    clock: { starts_at: BEGIN, duration_ms: 24 * HOUR },
    note,
  };
  const lines: CassetteLine[] = [header];
  let n = 0;
  let sandbox = 0;
  const add = (question: Question, at: number, tookMs: number, outcome: CassetteOutcome, made?: number) => {
    const call: CassetteCall = {
      kind: "call",
      n,
      operation: question.operation,
      ...keyOf(question, (text) => text),
      ...(made !== undefined && { sandbox: made }),
      at_ms: Math.round(at),
      took_ms: Math.round(tookMs * 100) / 100,
      outcome,
    };
    lines.push(call);
    return n++;
  };
  for (let at = everyMs / 2; at < 24 * HOUR; at += everyMs) {
    // Each round draws as often as every other, so that a change of one shape moves nothing else.
    const [speed, luck, exec] = [normal(random), random(), normal(random)];
    const met = fault(at, luck);
    const made = met && !met.lost ? undefined : sandbox++;
    const tookMs = met?.tookMs ?? timeOf(shape.create, speed) * factor(at);
    const call = add(
      { operation: "createSandbox" },
      at,
      tookMs,
      met?.outcome ?? { kind: "done", id_length: 20 },
      made,
    );
    if (met?.lost) lines.push({ kind: "found", call });
    if (met) continue;
    const request = { code: "echo hello", runtime: "shell" as const };
    const ranMs = timeOf(shape.exec, exec) * factor(at);
    add({ operation: "runSandbox", request }, at + tookMs, ranMs, hello(ranMs), made);
  }
  return lines.map((line) => `${JSON.stringify(line)}\n`).join("");
}

function hello(ms: number): CassetteOutcome {
  const body = {
    run_id: "{{run}}",
    success: true,
    status: "succeeded",
    exit_code: 0,
    signal: null,
    duration_ms: Math.round(ms),
    stdout: "hello\n",
    stderr: "",
    stdout_bytes: 6,
    stderr_bytes: 0,
    truncated: false,
  };
  return { kind: "answer", status: 200, type: "application/json", body: JSON.stringify(body) };
}

/** The time that lies so many standard deviations from the median. */
function timeOf({ p50, p95 }: Times, deviations: number): number {
  return p50 * Math.exp((Math.log(p95 / p50) / 1.6449) * deviations);
}

/** A standard normal value (Box and Muller, 1958). */
function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

const isCheck = process.argv.includes("--check");
await mkdir(folder, { recursive: true });
for (const shape of SHAPES) {
  const path = join(folder, `${shape.file}.jsonl`);
  const text = cassetteOf(shape);
  if (!isCheck) await writeFile(path, text);
  else if ((await readFile(path, "utf8").catch(() => "")) !== text) {
    process.stderr.write(`${path} is not current: run \`npx tsx scripts/write-cassettes.ts\`.\n`);
    process.exitCode = 1;
  }
}
