import { CerverError } from "../protocol/errors.js";
import type { Env } from "../util/paths.js";
import { envBackend } from "./env-backend.js";

/** A secret as it was fetched. It is handed on and kept nowhere. */
export interface Secret {
  name: string;
  value: string;
  /** Which backend it came from. */
  source: string;
}

/** Where an agent's app-secrets come from. Fetching throws `secret_not_found` or `secret_refused`. */
export interface SecretBackend {
  readonly name: string;
  fetch(name: string, signal?: AbortSignal): Promise<Secret>;
}

const BACKENDS: Record<string, (env: Env) => SecretBackend> = { env: envBackend };

/** The backend that `CERVER_SECRETS_BACKEND` names; the process environment when it names none. */
export function openSecretBackend(env: Env): SecretBackend {
  const name = env.CERVER_SECRETS_BACKEND || "env";
  const open = BACKENDS[name];
  if (open) return open(env);
  throw new CerverError(
    "unsupported",
    `CERVER_SECRETS_BACKEND is "${name}", which this version has no backend for.`,
    {
      hint: `Set it to one of: ${Object.keys(BACKENDS).join(", ")}.`,
    },
  );
}
