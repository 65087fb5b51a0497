import { CerverError } from "../../../protocol/errors.js";
import { type VendorSays, vendorFailure, withoutSecret } from "../vendor-failure.js";

/** As people know it. */
export const E2B = "E2B";

/** Words of the vendor's, without the key, should they hold it. */
export function e2bFailure(says: Omit<VendorSays, "vendor">, apiKey: string): CerverError {
  return vendorFailure({ ...says, vendor: E2B, message: withoutSecret(says.message, apiKey, "[the key]") });
}

export function sandboxNotFound(sandboxId: string): CerverError {
  return new CerverError("sandbox_not_found", `E2B has no sandbox ${sandboxId} any more.`, {
    hint: "It was deleted, or its lifetime is over. Create a new session.",
    details: { vendor: E2B },
  });
}

export function sandboxAsleep(sandboxId: string): CerverError {
  return new CerverError("conflict", `The sandbox ${sandboxId} is paused at E2B.`, {
    hint: "Resume its session first, then try again.",
    details: { vendor: E2B },
  });
}

/** Nobody knows how a run ended. */
export function runLost(why: string, hint: string, cause?: unknown): CerverError {
  return new CerverError("compute_lost", `${why}, so the outcome of this run is unknown.`, {
    hint,
    details: { vendor: E2B },
    cause,
  });
}

/** What the SDK throws for an HTTP status of envd or of the API, by the names of its classes. */
const STATUS_OF: Record<string, number> = {
  AuthenticationError: 401,
  RateLimitError: 429,
  ServiceBusyError: 503,
  NotEnoughSpaceError: 507,
};

/** The codes of Connect RPC by which a server says that it did not do what it was asked (connectrpc.com/docs/protocol). */
const CONNECT_REFUSALS: Record<number, number> = {
  3: 400,
  5: 404,
  7: 403,
  8: 429,
  12: 501,
  14: 502,
  16: 401,
};

/** The status by which a server refused a call of Connect RPC; undefined when nobody knows whether it was done. */
export function refusalOf(error: unknown): number | undefined {
  const { name, code } = error as { name?: unknown; code?: unknown };
  return name === "ConnectError" && typeof code === "number" ? CONNECT_REFUSALS[code] : undefined;
}

/** What an error of the SDK says. */
export function saidBy(error: unknown): Pick<VendorSays, "status" | "message" | "cause"> {
  const { name, message, statusCode, cause } = error as Error & { statusCode?: number };
  const status = statusCode ?? STATUS_OF[name] ?? refusalOf(error);
  const reason = cause instanceof Error && cause.message !== "" ? `${message}, ${cause.message}` : message;
  return { status, message: reason || "it did not say why", cause: error };
}

/** Whether the SDK says, or may be saying, that the sandbox is not there. */
export function mayBeGone(error: unknown): boolean {
  const { name } = error as Error;
  return name === "SandboxNotFoundError" || name === "TimeoutError" || !(name in STATUS_OF);
}
