/** The token that a login gave. */
export interface LoginToken {
  token: string;
  /** In milliseconds since 1970. */
  expiresAt: number;
}

/** So early that no token expires on its way. */
const EARLY_MS = 30_000;

/** Logs in when there is no token, and keeps it in memory until it is about to expire. */
export class Login {
  #kept: LoginToken | undefined;
  readonly #logIn: (signal: AbortSignal) => Promise<LoginToken>;

  constructor(logIn: (signal: AbortSignal) => Promise<LoginToken>) {
    this.#logIn = logIn;
  }

  /** `fresh` when it comes from a login just now. */
  async token(signal: AbortSignal): Promise<{ token: string; fresh: boolean }> {
    if (this.#kept && this.#kept.expiresAt - EARLY_MS > Date.now())
      return { token: this.#kept.token, fresh: false };
    this.#kept = await this.#logIn(signal);
    return { token: this.#kept.token, fresh: true };
  }

  /** For a token that the store takes no more. */
  forget(): void {
    this.#kept = undefined;
  }
}
