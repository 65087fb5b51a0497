/** The words of RFC 6749 (sections 4.1.2.1 and 5.2), RFC 7591 (3.2.2) and RFC 8707 (2) that this gateway says. */
export type OAuthErrorCode =
  | "access_denied"
  | "invalid_client"
  | "invalid_client_metadata"
  | "invalid_grant"
  | "invalid_redirect_uri"
  | "invalid_request"
  | "invalid_scope"
  | "invalid_target"
  | "unauthorized_client"
  | "unsupported_grant_type"
  | "unsupported_response_type";

/** A failure in the form that OAuth clients read: a word, and a sentence that also says what to do next. */
export class OAuthError extends Error {
  override readonly name = "OAuthError";

  constructor(
    readonly code: OAuthErrorCode,
    sentence: string,
    options?: ErrorOptions,
  ) {
    super(sentence, options);
  }

  toBody(): { error: OAuthErrorCode; error_description: string } {
    // A description may hold printable ASCII without quotes and backslashes (RFC 6749, section 5.2).
    const description = this.message.replace(/["\\]/g, "'").replace(/[^\x20-\x7e]/g, "?");
    return { error: this.code, error_description: description };
  }
}
