import { appendFile, mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { RunAnswer, Status } from "./api.js";
import type { HeardOutput, StreamName } from "./heard-output.js";
import { drawPlan, type Plan, type PlanFolder, type Shape } from "./plan.js";
import type { Random } from "./random.js";

/** A script that began. */
export interface Began {
  number: number;
  pid: number;
  /** When its process started, in the clock ticks of /proc: no other process of this number has the same. */
  processStarted: string;
  /** What the product calls this run. */
  runId: string;
}

/** What really happened, as the scripts wrote it down. */
export interface Truth {
  /** Every start of each number. More than one is a double execution. */
  begun: Map<number, Began[]>;
  byRunId: Map<string, Began>;
  /** The scripts that came to their end, just before they exited. */
  reachedEnd: Set<number>;
}

/** An end as an answer, an event or a record tells it. */
export interface SaidEnd {
  status: Status;
  exit_code?: number | null | undefined;
  signal?: string | null | undefined;
  end_reason?: string | null | undefined;
}

/** What a caller did that may end its run in another way than the script's own. */
export interface CallerActs {
  /** Asked for the run to be cancelled. */
  cancelled: boolean;
  /** Left while the run was under way, or had its connection broken. */
  left: boolean;
}

/** A run prints at most this much more in an answer than is looked at when the answer says that it is not all. */
const TRUNCATED_LOOK_BYTES = 1_000;

/**
 * The truth about the runs, kept outside the product: scripts append to plain files, and what each prints was written
 * down before it began.
 */
export class Oracle {
  readonly #folder: PlanFolder;

  private constructor(folder: PlanFolder) {
    this.#folder = folder;
  }

  static async open(folder: string): Promise<Oracle> {
    const pieces = join(folder, "pieces");
    await mkdir(pieces, { recursive: true });
    const files = { pieces, ledger: join(folder, "ledger"), ends: join(folder, "ends") };
    for (const file of [files.ledger, files.ends]) await appendFile(file, "");
    return new Oracle(files);
  }

  plan(number: number, shape: Shape, random: Random): Promise<Plan> {
    return drawPlan(number, shape, this.#folder, random);
  }

  async truth(): Promise<Truth> {
    const begun = new Map<number, Began[]>();
    const byRunId = new Map<string, Began>();
    for (const line of await linesOf(this.#folder.ledger)) {
      const [number, pid, processStarted = "", runId = ""] = line.split(" ");
      const one = { number: Number(number), pid: Number(pid), processStarted, runId };
      begun.set(one.number, [...(begun.get(one.number) ?? []), one]);
      byRunId.set(runId, one);
    }
    return { begun, byRunId, reachedEnd: new Set((await linesOf(this.#folder.ends)).map(Number)) };
  }

  /** Removes the pieces of output that ended runs printed. */
  async forgetPieces(): Promise<void> {
    await rm(this.#folder.pieces, { recursive: true, force: true });
    await mkdir(this.#folder.pieces, { recursive: true });
  }
}

/** Whether a record or an answer of this status is final. */
export function isSettled(status: Status): boolean {
  return status !== "queued" && status !== "running" && status !== "lost";
}

/** Why an end that was told cannot be true; nothing when it can. */
export function untrueEnd(plan: Plan, truth: Truth, said: SaidEnd, acts: CallerActs): string | undefined {
  const { ending, how, number } = plan;
  const began = truth.begun.has(number);
  switch (said.status) {
    case "queued":
    case "running":
    case "lost":
      return undefined;
    case "succeeded":
    case "failed":
      if (!began) return `${words(said)}, but the script never began`;
      if (!truth.reachedEnd.has(number)) return `${words(said)}, but the script did not come to its end`;
      return matches(ending, said)
        ? undefined
        : `${words(said)}, but the script ended by ${wordsFor(ending)}`;
    case "timed_out":
      if (!began) return "timed out, but the script never began";
      return ending.by === "timeout" ? undefined : "timed out, long before its timeout";
    case "cancelled":
      return untrueCancel(how, began, said.end_reason, acts);
  }
}

function untrueCancel(
  how: Plan["how"],
  began: boolean,
  reason: string | null | undefined,
  { cancelled, left }: CallerActs,
): string | undefined {
  // Answers and events need not give the reason; the record does, and it is judged as well.
  if (reason === undefined || reason === null) return undefined;
  if (reason === "never_started") return began ? "never started, but the script began" : undefined;
  if (reason === "abandoned")
    return how === "background" ? "abandoned, but nobody has to wait for a background run" : undefined;
  if (reason === "cancelled")
    return cancelled || (left && how !== "background") ? undefined : "cancelled, but nobody asked for it";
  return `cancelled for the reason "${reason}", which nothing here gives`;
}

function matches(ending: Plan["ending"], { status, exit_code, signal }: SaidEnd): boolean {
  if (ending.by === "exit")
    return exit_code === ending.code && !signal && status === (ending.code === 0 ? "succeeded" : "failed");
  if (ending.by === "signal")
    return exit_code === ending.code && status === "failed" && (signal ?? ending.signal) === ending.signal;
  return false;
}

const LEFT_OUT = /\n\[cerver: \d+ bytes left out here\]\n/;

/** What is wrong with the output of an answer; nothing when it is right or says that it is not all. */
export function wrongAnswer(plan: Plan, truth: Truth, answer: RunAnswer): string | undefined {
  for (const name of ["stdout", "stderr"] as const) {
    const told = Buffer.from(answer.result[name], answer.result[`${name}_encoding`] ?? "utf8");
    const expected = plan[name];
    if (answer.truncated) {
      // Where bytes are missing from the beginning on, the words that say so come first.
      const head = told.toString("latin1").search(LEFT_OUT);
      const look = Math.min(
        TRUNCATED_LOOK_BYTES,
        head < 0 ? Math.floor(told.length / 4) : head,
        expected.length,
      );
      if (!told.subarray(0, look).equals(expected.subarray(0, look)))
        return `${name} of the answer, which is truncated, begins with other bytes`;
    } else if (!isRight(plan, truth, told, expected)) {
      return `${name} of the answer has ${told.length} bytes, which are not the ${expected.length} expected`;
    }
  }
  return undefined;
}

/** What is wrong with what a caller put together from events. */
export function wrongEvents(
  plan: Plan,
  truth: Truth,
  heard: HeardOutput,
  ended: boolean,
): string | undefined {
  if (ended && truth.reachedEnd.has(plan.number)) heard.ends();
  return heard.wrong;
}

/** Whether bytes that were read as the whole output of a run are that; of a run that was ended early, its beginning. */
export function isRight(plan: Plan, truth: Truth, bytes: Buffer, expected: Buffer): boolean {
  if (truth.reachedEnd.has(plan.number)) return bytes.equals(expected);
  return bytes.equals(expected.subarray(0, bytes.length));
}

/** How many bytes of a run that came to its end are missing from what was read. */
export function missingBytes(plan: Plan, truth: Truth, read: Record<StreamName, Buffer | undefined>): number {
  if (!truth.reachedEnd.has(plan.number)) return 0;
  return (["stdout", "stderr"] as const).reduce(
    (sum, name) => sum + Math.max(0, plan[name].length - (read[name]?.length ?? 0)),
    0,
  );
}

/** Whether a script's process is there. A process of the same number that is not this run's counts as gone. */
export async function isRunning({ pid, processStarted }: Began): Promise<boolean> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "latin1");
    // From the third field on (proc_pid_stat(5)).
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return !/^[ZX]/.test(fields[0]!) && fields[19] === processStarted;
  } catch {
    return false;
  }
}

function words({ status, exit_code, signal }: SaidEnd): string {
  return `${status}, exit code ${exit_code}${signal ? `, ${signal}` : ""}`;
}

function wordsFor(ending: Plan["ending"]): string {
  if (ending.by === "exit") return `exit ${ending.code}`;
  return ending.by === "signal" ? ending.signal : `nothing but a ${ending.by}`;
}

async function linesOf(file: string): Promise<string[]> {
  return (await readFile(file, "utf8")).split("\n").filter((line) => line !== "");
}
