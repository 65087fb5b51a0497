import { CerverError } from "../protocol/errors.js";
import type { Env } from "../util/paths.js";
import { allowList } from "./allow-list.js";
import type { EnvPlace } from "./env-backend.js";
import type { Secret, SecretBackend } from "./secret-backend.js";
import { splitSecretReference } from "./secret-reference.js";

const TIMEOUT_MS = 15_000;
const MAX_VALUE_BYTES = 65_536;
const MAX_REFERENCE_LENGTH = 1024;

/** Each is loaded when a secret is asked of it. */
const BACKENDS: Record<
  string,
  (env: Env, fetch: typeof globalThis.fetch, place?: EnvPlace) => Promise<SecretBackend>
> = {
  env: async (env, _, place) => (await import("./env-backend.js")).envBackend(env, place),
  infisical: async (env, fetch) => (await import("./infisical-backend.js")).infisicalBackend(env, fetch),
  "1password": async (env) => (await import("./1password-backend.js")).onePasswordBackend(env),
  aws: async (env) => (await import("./aws-backend.js")).awsBackend(env),
  gcp: async (env, fetch) => (await import("./gcp-backend.js")).gcpBackend(env, fetch),
  exec: async (env) => (await import("./exec-backend.js")).execBackend(env),
};
/** The names that `CERVER_SECRETS_BACKEND` may have. */
export const BACKEND_NAMES = Object.keys(BACKENDS);

export interface Secrets {
  /**
   * One secret by its name in the default backend, or by a reference. Nothing is cached: each call asks the backend.
   *
   * Within 15 s, and 64 KiB of value. Throws what {@link SecretBackend} throws, `invalid_request` for a text that names
   * nothing, `too_large`, and `unsupported` for a backend there is not.
   */
  fetch(nameOrReference: string, signal?: AbortSignal): Promise<Secret>;
  /** How a backend is set up, in words for people. Throws `unsupported` when a setting is missing. */
  setup(backend: string): Promise<string>;
}

export interface SecretsOptions {
  /** How long a backend has. @default 15000 */
  timeoutMs?: number;
  fetch?: typeof globalThis.fetch;
  /** Whose the environment is. @default the MCP server's */
  place?: EnvPlace;
}

/** The secrets that this environment gives access to; throws `unsupported` for an unknown `CERVER_SECRETS_BACKEND`. */
export function openSecrets(
  env: Env,
  { timeoutMs = TIMEOUT_MS, fetch = globalThis.fetch, place }: SecretsOptions = {},
): Secrets {
  const defaultBackend = env.CERVER_SECRETS_BACKEND || "env";
  if (!Object.hasOwn(BACKENDS, defaultBackend))
    throw unknownBackend(`CERVER_SECRETS_BACKEND is "${defaultBackend}"`);
  const allowed = allowList(env.CERVER_SECRETS_ALLOW, defaultBackend);
  const opened = new Map<string, Promise<SecretBackend>>();

  const open = (name: string) => {
    const backend = opened.get(name) ?? BACKENDS[name]!(env, fetch, place);
    opened.set(name, backend);
    return backend;
  };

  return {
    async setup(backend) {
      if (!Object.hasOwn(BACKENDS, backend)) throw unknownBackend("The reference names another backend");
      return (await open(backend)).setup;
    },
    async fetch(nameOrReference, signal) {
      signal?.throwIfAborted();
      if (nameOrReference.length > MAX_REFERENCE_LENGTH)
        throw new CerverError("invalid_request", "name: a secret's name has 1,024 characters at most.", {
          hint: "For example BUFFER_API_KEY.",
        });
      const reference = splitSecretReference(nameOrReference);
      const { backend = defaultBackend, name } = reference;
      if (!Object.hasOwn(BACKENDS, backend)) throw unknownBackend("The reference names another backend");
      if (!allowed(reference)) throw notAllowed(name, backend);

      const timeout = AbortSignal.timeout(timeoutMs);
      const either = signal ? AbortSignal.any([signal, timeout]) : timeout;
      try {
        const secret = await within(either, async () => (await open(backend)).fetch(name, either));
        if (Buffer.byteLength(secret.value) > MAX_VALUE_BYTES) throw tooLarge(name, backend);
        return secret;
      } catch (error) {
        if (timeout.aborted && !signal?.aborted && error === timeout.reason)
          throw tooSlow(backend, timeoutMs);
        throw error;
      }
    },
  };
}

/** What `ask` gives, or the signal's reason at once when it aborts: not every vendor's library listens to it. */
async function within<T>(signal: AbortSignal, ask: () => Promise<T>): Promise<T> {
  signal.throwIfAborted();
  let onAbort = () => {};
  const over = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([ask(), over]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

function unknownBackend(what: string): CerverError {
  return new CerverError("unsupported", `${what}, which this version has no backend for.`, {
    hint: `Use one of: ${BACKEND_NAMES.join(", ")}.`,
  });
}

function notAllowed(name: string, backend: string): CerverError {
  return new CerverError(
    "secret_refused",
    `${name} of the secrets backend ${backend} is not on the list of secrets that may be handed out.`,
    { hint: `Add it to CERVER_SECRETS_ALLOW where cerver is configured, if agents may have it.` },
  );
}

function tooLarge(name: string, backend: string): CerverError {
  return new CerverError("too_large", `${name} of the secrets backend ${backend} has more than 64 KiB.`, {
    hint: "Keep large files elsewhere, and the key to them as the secret.",
  });
}

function tooSlow(backend: string, timeoutMs: number): CerverError {
  return new CerverError(
    "secret_unreachable",
    `The secrets backend ${backend} did not answer within ${timeoutMs / 1000} s.`,
    { hint: "Check that it is up and can be reached from this machine, then ask again." },
  );
}
