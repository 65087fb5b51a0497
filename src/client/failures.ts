import { CerverError } from "../protocol/errors.js";

/** The connection ended before the run did: nobody knows yet how it ends. */
export class StreamBroke extends CerverError {}

/** What an answer that is no success says. */
export async function failure(response: Response): Promise<CerverError> {
  // A page is not told where a redirection leads.
  if (response.type === "opaqueredirect" || (response.status >= 300 && response.status < 400)) {
    const target = response.headers.get("location") ?? "another address";
    return new CerverError("provider_failed", `The gateway sends callers on to ${target}.`, {
      hint: "Use that address with --gateway if you trust it.",
    });
  }
  return CerverError.fromBody(response.status, await response.json().catch(() => undefined));
}

export function unreachable(gatewayUrl: string, error: unknown): CerverError {
  const { name, cause } = error as { name?: string; cause?: { code?: string; message?: string } };
  const why =
    name === "TimeoutError" ? "no answer in time" : (cause?.code ?? cause?.message ?? "no connection");
  return new CerverError("gateway_unreachable", `No gateway answers at ${gatewayUrl} (${why}).`, {
    hint: "Start one with `cerver up`, or name another with --gateway or CERVER_GATEWAY_URL.",
    cause: error,
  });
}

export function notOurs(gatewayUrl: string, cause?: unknown): CerverError {
  return new CerverError(
    "provider_failed",
    `What answers at ${gatewayUrl} does not answer like a cerver gateway.`,
    {
      hint: "Check the address; a proxy or another program may be in between.",
      cause,
    },
  );
}

export function outcomeUnknown(cause: unknown): CerverError {
  return new StreamBroke("compute_lost", "The stream ended before the run did, so the outcome is unknown.", {
    hint: "See what became of it with `cerver runs`, or with `cerver peek` on its session, before you run it again.",
    cause,
  });
}

/** A stream of news or progress ended, though nothing said that it would. */
export function streamEnded(gatewayUrl: string, cause?: unknown): CerverError {
  return new CerverError("gateway_unreachable", `The stream from ${gatewayUrl} broke.`, {
    hint: "Open it again, and read the record for what was missed in between.",
    cause,
  });
}
