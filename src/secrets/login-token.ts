/** The token that a login gave. */
export interface LoginToken {
  token: string;
  /** In milliseconds since 1970. */
  expiresAt: number;
}

/** So early that no token expires on its way. */
const EARLY_MS = 30_000;
const LOGIN_TIMEOUT_MS = 10_000;

/** Logs in when there is no token, once for all who wait, and keeps the token in memory until it is about to expire. */
export class Login {
  #kept: LoginToken | undefined;
  #running: Promise<LoginToken> | undefined;
  readonly #logIn: (signal: AbortSignal) => Promise<LoginToken>;

  /** `logIn` has 10 s. */
  constructor(logIn: (signal: AbortSignal) => Promise<LoginToken>) {
    this.#logIn = logIn;
  }

  /** Calls `use` with a token, and once more with a new one when a kept one is refused: it may have been revoked since. */
  async use<T>(use: (token: string) => Promise<T>, isRefused: (error: unknown) => boolean): Promise<T> {
    const kept = this.#kept;
    if (kept && kept.expiresAt - EARLY_MS > Date.now()) {
      try {
        return await use(kept.token);
      } catch (error) {
        if (!isRefused(error)) throw error;
        if (this.#kept === kept) this.#kept = undefined;
      }
    }
    return use((await this.#new()).token);
  }

  #new(): Promise<LoginToken> {
    this.#running ??= this.#logIn(AbortSignal.timeout(LOGIN_TIMEOUT_MS))
      .then((token) => {
        this.#kept = token;
        return token;
      })
      .finally(() => {
        this.#running = undefined;
      });
    return this.#running;
  }
}
