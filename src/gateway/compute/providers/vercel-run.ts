import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Command, Session } from "@vercel/sandbox";
import { z } from "zod";
import { CerverError, type ErrorCode } from "../../../protocol/errors.js";
import { MAX_STATE_BYTES, stateChanged } from "../vendor-files.js";
import type { TakeOutput, VendorEnd } from "../vendor-run.js";
import { wordsOf } from "./vercel-failure.js";
import {
  HEARTBEAT_MS,
  KEY_VARIABLE,
  ORDER_VARIABLE,
  type Order,
  orderFile,
  SUPERVISOR,
} from "./vercel-supervisor.js";
import { VercelRefusal, type VercelWire } from "./vercel-wire.js";

/** A longer order travels in a file: Linux takes 128 KiB for one variable (MAX_ARG_STRLEN, execve(2)). */
const MAX_INLINE_ORDER_BYTES = 96 * 1024;
/** A line that is silent for this long is taken for dead, and the log is read anew. */
const SILENCE_MS = 3 * HEARTBEAT_MS;
/** How long a log that is read again and again may bring nothing new, and the pauses between, in milliseconds. */
const PATIENCE_MS = 30_000;
const READ_PAUSES_MS = [0, 250, 500, 1_000, 2_000, 4_000, 8_000];
/** How long a run's own supervisor has to end it; then another one does. */
const KILL_WAIT_MS = 10_000;
/** How long an order of our own may take, such as moving a file. */
const OWN_ORDER_MS = 60_000;
/** The longest frame, in characters: a supervisor's are of some 100 KiB. */
const MAX_FRAME_LENGTH = 4 * 1024 * 1024;
/** What a broken supervisor said is kept up to here, in characters. */
const MAX_COMPLAINT_LENGTH = 500;

/** A running VM, and the wire of the operation that reached it. */
export interface VercelVm {
  session: Session;
  wire: VercelWire;
}

const End = z.object({ code: z.number().int(), signal: z.string().nullable(), alive: z.number().int() });
const Refused = z.object({ code: z.string(), message: z.string(), hint: z.string().optional() });

/**
 * Runs an order below a supervisor in the sandbox, to its end.
 *
 * Calls `begun` at the supervisor's first frame, unless that is a refusal. When `signal` aborts, everything that the order
 * started is ended there first. Rejects with `compute_lost` when nobody
 * can say how it ended, with the refusal when nothing of it ran, and with a {@link VercelRefusal} of the vendor.
 */
export async function runOrder(
  vm: VercelVm,
  order: Order,
  take: TakeOutput,
  signal: AbortSignal,
  begun: () => void = () => {},
): Promise<VendorEnd> {
  signal.throwIfAborted();
  const key = randomUUID();
  const command = await startSupervisor(vm, order, key);
  const left = new AbortController();
  const followed = followFrames(vm, command, new Frames(take, begun), left.signal);
  let ending: Promise<void> | undefined;
  const end = () => {
    if (ending) return;
    // The order that ends others is not ended itself: it takes seconds, whatever happens.
    const ended = order.kind === "end" ? Promise.resolve() : endSupervisor(vm, command, key, followed);
    ending = ended.finally(() => left.abort());
    // Whoever waits for it hears of its failure below.
    ending.catch(() => {});
  };
  signal.addEventListener("abort", end, { once: true });
  if (signal.aborted) end();
  try {
    const outcome = await followed.catch(async (error: unknown) => {
      if (!signal.aborted) throw error;
      await ending;
      throw signal.reason;
    });
    if (outcome.alive === 0) return outcome;
    throw lost(`${outcome.alive} processes of the run could not be ended in the sandbox`);
  } catch (error) {
    if (order.kind === "run" && !signal.aborted) await endUnheard(vm, command, key, error);
    throw error;
  } finally {
    signal.removeEventListener("abort", end);
  }
}

/** Runs an order of our own and gives what it printed, of which there is little. */
export async function askSupervisor(vm: VercelVm, order: Order, caller: AbortSignal): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  const signal = AbortSignal.any([caller, AbortSignal.timeout(OWN_ORDER_MS)]);
  const keep: TakeOutput = (_, bytes) => {
    size += bytes.length;
    if (size > MAX_STATE_BYTES) throw order.kind === "get_state" ? stateChanged() : tooLong();
    chunks.push(Buffer.from(bytes));
  };
  const { exitCode } = await runOrder(vm, order, keep, signal).catch((error: unknown) => {
    if (!signal.aborted || caller.aborted || error !== signal.reason) throw error;
    throw new CerverError("timed_out", `The sandbox took longer than ${OWN_ORDER_MS / 1000} s for it.`);
  });
  if (exitCode !== 0) throw lost(`the sandbox answered ${order.kind} with exit code ${exitCode}`);
  return Buffer.concat(chunks);
}

/** Starts it once. When the answer is lost, nobody knows whether it began: then it is ended, or kept from beginning. */
async function startSupervisor(vm: VercelVm, order: Order, key: string): Promise<Command> {
  const text = JSON.stringify(order);
  const isInline = Buffer.byteLength(text) <= MAX_INLINE_ORDER_BYTES;
  if (!isInline) await vm.session.writeFiles([{ path: orderFile(key), content: text, mode: 0o600 }]);
  try {
    return await vm.session.runCommand({
      cmd: "node",
      args: ["-e", SUPERVISOR],
      cwd: vm.session.cwd,
      env: { [KEY_VARIABLE]: key, ...(isInline && { [ORDER_VARIABLE]: text }) },
      detached: true,
    });
  } catch (error) {
    // An answer that breaks off after its head, or says something else, is one of the SDK's own errors: it is lost too.
    const isRefused = error instanceof VercelRefusal && error.status !== undefined && error.status < 500;
    if (isRefused || order.kind === "end") throw error;
    const isEnded = await endByKey(vm, key).then(
      () => true,
      () => false,
    );
    throw lost(
      `Vercel's answer to it was lost: ${wordsOf(error)}; ${
        isEnded ? "what it may have started was ended" : "it may go on until the sandbox ends"
      }`,
      error,
    );
  }
}

/** The supervisor is not there any more and has not told an end. */
class SupervisorGone extends CerverError {}

/** Reads the frames of a command to the end. A log that breaks off is read again from its start, without what is known. */
async function followFrames(
  { session, wire }: VercelVm,
  command: Command,
  frames: Frames,
  left: AbortSignal,
): Promise<VendorEnd & { alive: number }> {
  let isFinished = false;
  let lastNews = performance.now();
  for (let reads = 0; ; reads++) {
    frames.restart();
    const before = frames.count;
    let isWhole = false;
    let pause = READ_PAUSES_MS[Math.min(reads, READ_PAUSES_MS.length - 1)]!;
    try {
      for await (const line of readLog(command, left)) {
        if (line === "whole") {
          isWhole = true;
          break;
        }
        wire.took(command.cmdId);
        const end = line.stream === "stdout" ? await frames.push(line.data) : frames.complain(line.data);
        if (end) return end;
      }
    } catch (error) {
      if (error instanceof CerverError) throw error;
      if (isGone(error)) throw sandboxEnded(error);
      // What else is wrong may pass, or is told by the command's own state below.
      if (error instanceof VercelRefusal) pause = Math.max(pause, error.retryAfterMs ?? 0);
    }
    left.throwIfAborted();
    if (frames.count > before) [reads, lastNews] = [0, performance.now()];
    if (isWhole && isFinished) throw gone(frames);
    if (performance.now() + pause > lastNews + PATIENCE_MS)
      throw lost("Vercel's log of it broke off and could not be read on");
    await sleep(pause, undefined, { signal: left });
    try {
      // What was printed last may not have been in the log yet, so a finished command's log is read once more.
      isFinished = (await session.getCommand(command.cmdId, { signal: left })).exitCode !== null;
    } catch (error) {
      if (isGone(error)) throw sandboxEnded(error);
    }
  }
}

/** The lines of a log. `whole` comes after the last one, unless the log broke off or is silent for so long that it has to be dead. */
async function* readLog(command: Command, left: AbortSignal) {
  const lines = command.logs({ signal: AbortSignal.any([left]) });
  try {
    for (;;) {
      const next = lines.next();
      next.catch(() => {});
      let timer: NodeJS.Timeout | undefined;
      const silence = new Promise<undefined>((resolve) => {
        timer = setTimeout(() => resolve(undefined), SILENCE_MS);
      });
      const result = await Promise.race([next, silence]).finally(() => clearTimeout(timer));
      if (!result) return;
      if (result.done) {
        yield "whole" as const;
        return;
      }
      yield result.value;
    }
  } finally {
    lines.close();
  }
}

/** Puts the text of a log together to frames, and hands the output on. */
class Frames {
  readonly #take: TakeOutput;
  readonly #begun: () => void;
  /** The frames that were taken. */
  count = 0;
  #rest = "";
  #complaint = "";

  constructor(take: TakeOutput, begun: () => void) {
    this.#take = take;
    this.#begun = begun;
  }

  get complaint(): string {
    return this.#complaint.trim();
  }

  /** The log begins again. */
  restart(): void {
    this.#rest = "";
    this.#complaint = "";
  }

  complain(text: string): undefined {
    this.#complaint = (this.#complaint + text).slice(0, MAX_COMPLAINT_LENGTH);
  }

  async push(text: string): Promise<(VendorEnd & { alive: number }) | undefined> {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop()!;
    if (this.#rest.length > MAX_FRAME_LENGTH) throw tooLong();
    for (const line of lines) {
      const end = await this.#frame(line);
      if (end) return end;
    }
    return undefined;
  }

  async #frame(line: string): Promise<(VendorEnd & { alive: number }) | undefined> {
    const [, letter, number, body = ""] = /^([oexrh])(\d+) (.*)$/.exec(line) ?? [];
    if (letter === undefined) {
      this.complain(`${line}\n`);
      return undefined;
    }
    if (Number(number) < this.count) return undefined;
    if (Number(number) > this.count) throw lost("a part of Vercel's log of it is missing");
    this.count++;
    if (letter !== "r") this.#begun();
    if (letter === "o" || letter === "e") {
      await this.#take(letter === "o" ? "stdout" : "stderr", Buffer.from(body, "base64"));
    } else if (letter === "x") {
      const { code, signal, alive } = End.parse(JSON.parse(body));
      return { exitCode: code, ...(signal !== null && { signal }), alive };
    } else if (letter === "r") {
      const { code, message, hint } = Refused.parse(JSON.parse(body));
      throw new CerverError(code as ErrorCode, message, hint === undefined ? {} : { hint });
    }
    return undefined;
  }
}

/** Ends a run: its supervisor does it; when that is not heard of, another one does. */
async function endSupervisor(
  vm: VercelVm,
  command: Command,
  key: string,
  followed: Promise<unknown>,
): Promise<void> {
  let isTold = false;
  const told = followed.then(
    () => {
      isTold = true;
    },
    (error: unknown) => {
      // Where the whole sandbox is gone, nothing of it is left to be ended.
      isTold = error instanceof CerverError && isGone(error.cause);
    },
  );
  try {
    await command.kill("SIGTERM");
    const patience = new AbortController();
    await Promise.race([told, sleep(KILL_WAIT_MS, undefined, { signal: patience.signal })]).finally(() =>
      patience.abort(),
    );
  } catch (error) {
    if (isGone(error)) return;
  }
  if (!isTold) await endByKey(vm, key);
}

/** Ends a run that nobody hears of any more, as far as that can be done: its caller only learns that it is lost. */
async function endUnheard(vm: VercelVm, command: Command, key: string, error: unknown): Promise<void> {
  if (!(error instanceof CerverError) || isGone(error.cause)) return;
  // A supervisor that is gone may have left something behind that it can no more end itself.
  const ending =
    error instanceof SupervisorGone
      ? endByKey(vm, key)
      : error.code === "compute_lost"
        ? command.kill("SIGTERM")
        : undefined;
  await ending?.catch(() => {});
}

/** Ends everything that carries a key, wherever it is in the sandbox, and makes sure that nothing more starts under it. */
async function endByKey(vm: VercelVm, key: string): Promise<void> {
  let told: Buffer;
  try {
    told = await askSupervisor(vm, { kind: "end", key }, new AbortController().signal);
  } catch (error) {
    if (isGone(error)) return;
    throw lost(`its processes could not be ended: ${(error as Error).message}`, error);
  }
  const { alive } = z.object({ alive: z.number() }).parse(JSON.parse(told.toString()));
  if (alive > 0) throw lost(`${alive} of its processes could not be ended in the sandbox`);
}

/** Whether the vendor says that the sandbox is not there or not running any more. */
export function isGone(error: unknown): boolean {
  return error instanceof VercelRefusal && (error.status === 404 || error.status === 410);
}

function sandboxEnded(cause: unknown): CerverError {
  return lost(`the sandbox ended while it ran: ${(cause as Error).message}`, cause);
}

function gone({ count, complaint }: Frames): CerverError {
  const words = complaint === "" ? "" : ` It said: ${complaint}`;
  if (count > 0)
    return new SupervisorGone(
      "compute_lost",
      `The run's outcome is unknown: what watched over it in the sandbox is gone.${words}`,
      { hint: "Look in the sandbox before you run it again: it may have done its work." },
    );
  return new SupervisorGone("provider_failed", `Nothing could be started in the sandbox.${words}`, {
    hint: "The sandbox's image needs Node.js; and its memory and disk need some room.",
  });
}

/** A command may write into its supervisor's own output. */
function tooLong(): CerverError {
  return lost("a part of Vercel's log of it is longer than any can be");
}

function lost(why: string, cause?: unknown): CerverError {
  return new CerverError("compute_lost", `The run's outcome is unknown: ${why}.`, {
    hint: "Look in the sandbox before you run it again: it may have done its work.",
    cause,
  });
}
