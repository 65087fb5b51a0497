import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Random } from "./random.js";

/** How a run is asked for. */
export type How = "run" | "stream" | "background";

/** How a run's script ends when nothing ends it earlier. */
export type Ending =
  | { by: "exit"; code: number }
  | { by: "signal"; signal: "SIGTERM" | "SIGKILL"; code: number }
  | { by: "timeout" }
  | { by: "cancel" };

/** A run as it is meant: what it prints and how it ends is known before it is asked for. */
export interface Plan {
  number: number;
  how: How;
  /** Asked for again under this key when there is no answer; without one it is asked for once. */
  key: string | undefined;
  /** Seconds. */
  timeout: number;
  code: string;
  stdout: Buffer;
  stderr: Buffer;
  ending: Ending;
}

/** What a scenario wants of its runs. */
export interface Shape {
  hows: readonly { how: How; weight: number }[];
  /** The share that carries an idempotency key. */
  keyed: number;
  endings: readonly { by: Ending["by"]; weight: number }[];
  /** Bytes of stdout. */
  sizes: readonly { upTo: number; weight: number }[];
  /** Seconds that a run sleeps in all, between what it prints. */
  sleeps: readonly { upTo: number; weight: number }[];
}

/** Longer than any run of the suite waits, so that a run that only a fault or a caller ends does not end by itself. */
const ENDLESS_SECONDS = 300;
/** For runs that a timeout ends. Long enough to print everything on a busy machine. */
const SHORT_TIMEOUT_SECONDS = 2;
const TIMEOUT_SECONDS = 120;

export interface PlanFolder {
  /** Where the pieces of output are kept. */
  pieces: string;
  /** A line for each script that began: its number, its process and when that started, its run id. */
  ledger: string;
  /** A line for each script that came to its end: its number. */
  ends: string;
}

/** Draws a run, and writes the pieces of output that its script prints. */
export async function drawPlan(
  number: number,
  shape: Shape,
  folder: PlanFolder,
  random: Random,
): Promise<Plan> {
  const { by } = random.weighted(shape.endings);
  const how = by === "cancel" ? "background" : random.weighted(shape.hows).how;
  const stdout = drawOutput(random.int(0, random.weighted(shape.sizes).upTo), random.fork("stdout"));
  const stderr = random.chance(0.4)
    ? drawOutput(random.int(0, 2_000), random.fork("stderr"))
    : Buffer.alloc(0);
  const ending = drawEnding(by, random);
  const sleepSeconds = random.next() * random.weighted(shape.sleeps).upTo;
  const keyed = random.chance(shape.keyed);
  return {
    number,
    how,
    key: keyed ? `${random.name}` : undefined,
    timeout: by === "timeout" ? SHORT_TIMEOUT_SECONDS : TIMEOUT_SECONDS,
    code: await writeScript({ number, stdout, stderr, ending, sleepSeconds }, folder, random),
    stdout,
    stderr,
    ending,
  };
}

function drawEnding(by: Ending["by"], random: Random): Ending {
  if (by === "timeout" || by === "cancel") return { by };
  if (by === "exit") return { by, code: random.chance(0.5) ? 0 : random.int(1, 100) };
  return random.chance(0.5)
    ? { by, signal: "SIGTERM", code: 128 + 15 }
    : { by, signal: "SIGKILL", code: 128 + 9 };
}

/** Bytes of any kind, or text whose characters are cut in the middle as it is printed. */
function drawOutput(length: number, random: Random): Buffer {
  const bytes = random.bytes(length);
  if (random.chance(0.4)) return bytes;
  const text = bytes.toString("base64").replace(/[+/]/g, "\n").replace(/A/g, "é").replace(/B/g, "😀");
  return Buffer.from(text).subarray(0, length);
}

interface Scripted {
  number: number;
  stdout: Buffer;
  stderr: Buffer;
  ending: Ending;
  sleepSeconds: number;
}

async function writeScript(
  { number, stdout, stderr, ending, sleepSeconds }: Scripted,
  { pieces, ledger, ends }: PlanFolder,
  random: Random,
): Promise<string> {
  const steps: string[] = [];
  const print = async (bytes: Buffer, redirect: string) => {
    if (bytes.length === 0) return;
    const path = join(pieces, `${number}.${steps.length}`);
    await writeFile(path, bytes);
    steps.push(`cat ${quoted(path)}${redirect}`);
  };
  const cuts = Array.from({ length: random.int(0, 3) }, () => random.int(0, stdout.length));
  const bounds = [0, ...cuts.sort((a, b) => a - b), stdout.length];
  for (const [index, from] of bounds.slice(0, -1).entries()) {
    await print(stdout.subarray(from, bounds[index + 1]), "");
    if (index === 0) await print(stderr, " >&2");
    steps.push(`sleep ${(sleepSeconds / (bounds.length - 1)).toFixed(3)}`);
  }
  return [
    // One write to a file opened for appending: a second start of this script would be a second line.
    // A shell's name has no spaces in it, so field 22 of its stat is the time at which its process started.
    `printf '%s %s %s %s\\n' ${number} "$$" "$(cut -d' ' -f22 /proc/$$/stat)" "$CERVER_RUN_ID" >> ${quoted(ledger)}`,
    ...steps,
    ...(ending.by === "timeout" || ending.by === "cancel" ? [`sleep ${ENDLESS_SECONDS}`] : []),
    `printf '%s\\n' ${number} >> ${quoted(ends)}`,
    ending.by === "signal" ? `kill -${ending.signal.slice(3)} $$` : "",
    ending.by === "exit" ? `exit ${ending.code}` : "exit 99",
  ].join("\n");
}

function quoted(path: string): string {
  return `'${path.replaceAll("'", `'\\''`)}'`;
}
