import { CerverError } from "../../protocol/errors.js";

/** What a vendor said when it would not, or could not. */
export interface VendorSays {
  /** The provider's label, as people know it: "E2B". */
  vendor: string;
  /** What was asked of it: "make a sandbox". */
  doing: string;
  /** The HTTP status it answered with, where there was one. */
  status?: number | undefined;
  /** Its own code for the failure. */
  code?: string | undefined;
  /** Its own words. They may hold no credential. */
  message: string;
  retryAfterMs?: number | undefined;
  cause?: unknown;
}

/**
 * Words with a stand-in where a credential stands in them. An error of `fetch` about a header holds what was sent, which is
 * without the white space around it.
 */
export function withoutSecret(words: string, secret: string | undefined, standIn: string): string {
  const sent = secret?.trim();
  return sent ? words.replaceAll(sent, standIn) : words;
}

/** Until when the vendor asks to be left alone, in milliseconds from now: seconds or a date (RFC 9110, section 10.2.3). */
export function retryAfterOf(response: Response): number | undefined {
  const value = response.headers.get("retry-after")?.trim();
  if (!value) return undefined;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}

/** The failure that reaches the caller: the vendor's code and words, and what to do about them. */
export function vendorFailure(says: VendorSays): CerverError {
  const { vendor, doing, status, code, message, retryAfterMs, cause } = says;
  const details = {
    vendor,
    ...(status !== undefined && { vendor_status: status }),
    ...(code !== undefined && { vendor_code: code }),
    ...(retryAfterMs !== undefined && { retry_after_ms: retryAfterMs }),
  };
  const words = message.trim().replace(/\.$/, "");
  const failure = (name: CerverError["code"], sentence: string, hint: string) =>
    new CerverError(name, `${sentence}: ${words}.`, { hint, details, cause });
  if (status === 401 || status === 403) {
    return failure(
      "credentials_refused",
      `${vendor} refused the credentials of this account`,
      `Give it new ones: POST /v2/account/providers, or \`cerver provider enable\`.`,
    );
  }
  if (status === 429) {
    return failure(
      "too_many_requests",
      `${vendor} has had too many requests from this account`,
      retryAfterMs === undefined
        ? "Wait a little, end sandboxes that nobody needs, or ask the vendor for a higher limit."
        : `Try again in ${Math.ceil(retryAfterMs / 1000)} s.`,
    );
  }
  if (status === 402) {
    return failure(
      "provider_failed",
      `${vendor} wants to be paid before it will ${doing}`,
      `Look at the account's billing at ${vendor}.`,
    );
  }
  return failure(
    "provider_failed",
    `${vendor} could not ${doing}`,
    `Try again, or let another provider do it: "policy": {"allowed_providers": [...]}.`,
  );
}
