import { type ChildProcess, spawn } from "node:child_process";
import { CerverError } from "../protocol/errors.js";

/** A value of 64 KiB and its newline. */
const MAX_OUTPUT_BYTES = 65_536 + 2;
const MAX_ERRORS_BYTES = 8_192;
/** After its end, for what is still in its pipes: a child that it left behind may hold them open for ever. */
const DRAIN_MS = 500;

export interface ProgramResult {
  /** Null when a signal ended it. */
  code: number | null;
  output: Buffer;
  /** The beginning of its stderr. It may hold anything, so nobody is shown it. */
  errors: string;
}

/**
 * Runs a program that prints a secret, without a shell and with a narrow environment, for at most as long as the signal allows.
 *
 * It is killed with its children when the signal aborts or when it prints more than 64 KiB.
 */
export function runProgram(
  [program, ...args]: string[],
  { env, signal }: { env: Record<string, string>; signal: AbortSignal },
): Promise<ProgramResult> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    // A group of its own, so that its children end with it.
    const child: ChildProcess = spawn(program!, args, {
      env,
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    const output: Buffer[] = [];
    let errors = "";
    let size = 0;
    const end = (settle: () => void) => {
      signal.removeEventListener("abort", onAbort);
      settle();
    };
    const stop = (reason: unknown) =>
      end(() => {
        killGroup(child.pid);
        child.stdout?.destroy();
        child.stderr?.destroy();
        reject(reason);
      });
    const onAbort = () => stop(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    child.on("error", (error: NodeJS.ErrnoException) => stop(cannotStart(program!, error)));
    // Where the system has no descriptor left there are no pipes, and the error comes next.
    child.stdout?.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size > MAX_OUTPUT_BYTES) stop(tooLarge(program!));
      else output.push(chunk);
    });
    child.stderr?.on("data", (chunk: Buffer) => {
      if (errors.length < MAX_ERRORS_BYTES) errors += chunk.toString();
    });
    const done = (code: number | null) =>
      end(() => {
        child.stdout?.destroy();
        child.stderr?.destroy();
        resolve({ code, output: Buffer.concat(output), errors });
      });
    child.on("exit", (code) => {
      const drain = setTimeout(done, DRAIN_MS, code);
      child.on("close", () => {
        clearTimeout(drain);
        done(code);
      });
    });
  });
}

/** What a program printed, less one newline at the end; undefined when it is no text. */
export function printedText(output: Buffer): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(output).replace(/\r?\n$/, "");
  } catch {
    return undefined;
  }
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It has ended by itself.
  }
}

function cannotStart(program: string, { code = "" }: NodeJS.ErrnoException): CerverError {
  const isFull = ["EMFILE", "ENFILE", "EAGAIN", "ENOMEM"].includes(code);
  return new CerverError("secret_unreachable", `The secrets program ${program} cannot be started.`, {
    hint: isFull
      ? `This machine has no room for another process (${code}): try again in a moment.`
      : "Check that it is installed where PATH or its setting says, and that the file may be executed.",
  });
}

function tooLarge(program: string): CerverError {
  return new CerverError("too_large", `The secrets program ${program} printed more than 64 KiB.`, {
    hint: "Have it print the value and nothing else.",
  });
}
