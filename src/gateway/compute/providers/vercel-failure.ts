import { CerverError } from "../../../protocol/errors.js";
import { vendorFailure } from "../vendor-failure.js";
import { VercelRefusal } from "./vercel-wire.js";

export const VENDOR = "Vercel Sandbox";

/** The sandbox is not there any more. */
export function sandboxGone(sandboxId: string, { status, code, message }: VercelRefusal): CerverError {
  return new CerverError(
    "sandbox_not_found",
    `${VENDOR} has no sandbox "${sandboxId}" any more: ${message}.`,
    {
      hint: "It was deleted, or its time is over. Create a new session.",
      details: { vendor: VENDOR, vendor_status: status, ...(code !== undefined && { vendor_code: code }) },
    },
  );
}

/** It is there and sleeps, or its time is over. */
export function notRunning(sandboxId: string, status: string): CerverError {
  return new CerverError(
    "sandbox_not_found",
    `The sandbox "${sandboxId}" is not running at Vercel: it is ${status}.`,
    {
      hint: "It was put to sleep, or its time is over. Wake it, or create a new session.",
      details: { vendor: VENDOR, vendor_code: status },
    },
  );
}

/** Whether an error only says that the signal was aborted. */
export function isAbort(error: unknown, signal: AbortSignal): boolean {
  if (error === signal.reason) return true;
  return error instanceof Error && error.name === "AbortError" && !(error instanceof VercelRefusal);
}

/** The failure that reaches the caller, whatever went wrong. */
export function failureOf(doing: string, error: unknown): CerverError {
  if (error instanceof CerverError) return error;
  const { status, code, retryAfterMs } =
    error instanceof VercelRefusal ? error : ({} as Partial<VercelRefusal>);
  return vendorFailure({
    vendor: VENDOR,
    doing,
    status,
    code,
    message: wordsOf(error),
    retryAfterMs,
    cause: error,
  });
}

export function wordsOf(error: unknown): string {
  const words = error instanceof Error ? error.message : String(error);
  return words.slice(0, 500) || "it does not say why";
}
