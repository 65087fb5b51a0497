/**
 * Every failure a caller can see, with the HTTP status it travels as.
 *
 * `retryable` failures may be sent again unchanged: nothing was done.
 */
export const ERRORS = {
  invalid_request: { status: 400 },
  unauthenticated: { status: 401 },
  spend_limit: { status: 402 },
  forbidden: { status: 403 },
  not_found: { status: 404 },
  session_not_found: { status: 404 },
  compute_not_found: { status: 404 },
  sandbox_not_found: { status: 404 },
  run_not_found: { status: 404 },
  file_not_found: { status: 404 },
  method_not_allowed: { status: 405 },
  conflict: { status: 409 },
  no_compute: { status: 409 },
  session_ended: { status: 410 },
  link_expired: { status: 410 },
  too_large: { status: 413 },
  unsupported_media_type: { status: 415 },
  range_not_satisfiable: { status: 416 },
  too_many_requests: { status: 429, retryable: true },
  relay_full: { status: 429, retryable: true },
  unsupported: { status: 501 },
  credentials_refused: { status: 422 },
  provider_failed: { status: 502 },
  compute_lost: { status: 502 },
  compute_offline: { status: 503, retryable: true },
  gateway_unreachable: { status: 503, retryable: true },
  timed_out: { status: 504 },
  secret_not_found: { status: 404 },
  secret_refused: { status: 403 },
  secret_expired: { status: 502 },
  secret_unreachable: { status: 503, retryable: true },
  secret_rate_limited: { status: 429, retryable: true },
  internal: { status: 500 },
} as const satisfies Record<string, { status: number; retryable?: boolean }>;

export type ErrorCode = keyof typeof ERRORS;

/** The JSON object that every failed request answers with; details may stand beside these fields. */
export interface ErrorBody {
  /** What happened, as a sentence. */
  error: string;
  /** A word from {@link ERRORS}, for programs. */
  code: string;
  /** What to do next. */
  hint?: string;
  /** The same request may be sent again: nothing was done. */
  retryable?: boolean;
  request_id?: string;
  [detail: string]: unknown;
}

export interface CerverErrorOptions extends ErrorOptions {
  /** What the reader can do about it, as a sentence or a command. */
  hint?: string;
  /** More fields for the error's JSON object, at its top level. */
  details?: Record<string, unknown>;
}

/**
 * A failure that we expected and can explain.
 *
 * Anything else that is thrown is a bug: it is logged with its stack and leaves the
 * process as `internal`, so nothing about our insides reaches a caller.
 */
export class CerverError extends Error {
  override readonly name = "CerverError";
  readonly hint: string | undefined;
  readonly details: Record<string, unknown> | undefined;

  constructor(
    readonly code: ErrorCode,
    message: string,
    { hint, details, ...options }: CerverErrorOptions = {},
  ) {
    super(message, options);
    this.hint = hint;
    this.details = details;
  }

  /** The HTTP status this failure travels as. */
  get status(): number {
    return ERRORS[this.code].status;
  }

  /** The body this failure travels as. */
  toBody(requestId?: string): ErrorBody {
    const { retryable } = ERRORS[this.code] as { retryable?: boolean };
    return {
      error: this.message,
      code: this.code,
      ...(this.hint && { hint: this.hint }),
      ...(retryable && { retryable }),
      ...(requestId && { request_id: requestId }),
      ...this.details,
    };
  }

  /** Rebuilds the failure that a peer's {@link ErrorBody} describes. Unknown codes follow the HTTP status. */
  static fromBody(status: number, body: unknown): CerverError {
    const { error, code, hint, retryable: _, ...details } = isObject(body) ? body : {};
    // A public relay puts its sentence under `detail` (contract section 4.4).
    const sentence = typeof error === "string" ? error : details.detail;
    const known = isErrorCode(code) ? code : codeForStatus(status);
    return new CerverError(
      known,
      typeof sentence === "string" ? sentence : `The server answered with HTTP ${status}.`,
      {
        ...(typeof hint === "string" && { hint }),
        details,
      },
    );
  }
}

function isErrorCode(code: unknown): code is ErrorCode {
  return typeof code === "string" && Object.hasOwn(ERRORS, code);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function codeForStatus(status: number): ErrorCode {
  for (const [code, entry] of Object.entries(ERRORS)) if (entry.status === status) return code as ErrorCode;
  return status >= 500 ? "provider_failed" : "invalid_request";
}
