/** A secret as it was fetched. It is handed on and kept nowhere. */
export interface Secret {
  name: string;
  value: string;
  /** Which backend it came from. */
  source: string;
}

/**
 * Where an agent's app secrets come from.
 *
 * Fetching throws one of `secret_not_found`, `secret_refused`, `secret_expired`, `secret_unreachable` and
 * `secret_rate_limited`, and rejects with the signal's reason when it is aborted.
 */
export interface SecretBackend {
  readonly name: string;
  /** How it is set up, for people: which login, which place. Never a secret. */
  readonly setup: string;
  fetch(name: string, signal: AbortSignal): Promise<Secret>;
}
