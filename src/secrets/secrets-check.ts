import { randomBytes } from "node:crypto";
import { CerverError } from "../protocol/errors.js";
import type { Env } from "../util/paths.js";
import { splitSecretReference } from "./secret-reference.js";
import { BACKEND_NAMES, openSecrets } from "./secrets.js";

interface Problem {
  error: string;
  code: string;
  hint?: string;
}

export interface BackendCheck extends Partial<Problem> {
  backend: string;
  /**
   * `ready`: it answered, and took the login. `unclear`: it answered, and may or may not be fine. `not_set_up`: a setting is missing.
   * `failed`: it did not answer, or did not take the login.
   */
  state: "ready" | "unclear" | "not_set_up" | "failed";
  /** How it is set up, in words. */
  setup?: string;
}

export interface SecretCheck extends Partial<Problem> {
  /** As it was asked for. */
  name: string;
  backend: string;
  state: "found" | "failed";
}

/** What `cerver secrets check` says. No value is in it. */
export interface SecretsCheck {
  default_backend: string;
  /** `CERVER_SECRETS_ALLOW`; null when it is not set and everything is handed out. */
  allow: string[] | null;
  backends: BackendCheck[];
  secrets: SecretCheck[];
}

/**
 * Whether secrets can be had: the default backend and those of `names` are asked for a name that cannot be there, then for each of
 * `names`. `all` asks every backend. Throws `unsupported` for an unknown `CERVER_SECRETS_BACKEND`.
 */
export async function checkSecrets(
  env: Env,
  names: readonly string[],
  { all = false, ...options }: { all?: boolean; timeoutMs?: number; fetch?: typeof globalThis.fetch } = {},
): Promise<SecretsCheck> {
  const secrets = openSecrets(env, options);
  // Whether a backend answers has nothing to do with what agents may have of it.
  const unlisted = openSecrets({ ...env, CERVER_SECRETS_ALLOW: undefined }, options);
  const defaultBackend = env.CERVER_SECRETS_BACKEND || "env";
  const backendOf = (name: string) => splitSecretReference(name).backend ?? defaultBackend;
  const wanted = new Set(all ? BACKEND_NAMES : [defaultBackend, ...names.map(backendOf)]);

  const checkBackend = async (backend: string): Promise<BackendCheck> => {
    try {
      const setup = await unlisted.setup(backend);
      const problem = await problemOf(unlisted.fetch(`secret://${backend}/${nameOfNothing(backend)}`));
      return { backend, setup, ...stateOf(backend, problem) };
    } catch (error) {
      return { backend, state: "not_set_up", ...asProblem(error) };
    }
  };
  const checkSecret = async (name: string): Promise<SecretCheck> => {
    const problem = await problemOf(secrets.fetch(name));
    return { name, backend: backendOf(name), state: problem ? "failed" : "found", ...problem };
  };

  const [backends, checked] = await Promise.all([
    Promise.all([...wanted].map(checkBackend)),
    Promise.all(names.map(checkSecret)),
  ]);
  const allow = env.CERVER_SECRETS_ALLOW?.split(",")
    .map((pattern) => pattern.trim())
    .filter(Boolean);
  return { default_backend: defaultBackend, allow: allow ?? null, backends, secrets: checked };
}

/** A name that the backend takes for one, and that nobody has given. */
function nameOfNothing(backend: string): string {
  const name = `NO_SUCH_SECRET_${randomBytes(4).toString("hex")}`;
  return backend === "1password" ? `${name}/item/field` : name;
}

/** A store that says there is no such secret, or that this one is not for us, has taken the login. */
function stateOf(
  backend: string,
  problem: Problem | undefined,
): Pick<BackendCheck, "state"> & Partial<Problem> {
  if (!problem || ["secret_not_found", "secret_refused"].includes(problem.code)) return { state: "ready" };
  if (problem.code === "unsupported") return { state: "not_set_up", ...problem };
  // A program that says every failure in one way has at least been run.
  const unclear = backend === "exec" && problem.code === "provider_failed";
  return { state: unclear ? "unclear" : "failed", ...problem };
}

async function problemOf(fetched: Promise<unknown>): Promise<Problem | undefined> {
  try {
    await fetched;
    return undefined;
  } catch (error) {
    return asProblem(error);
  }
}

function asProblem(error: unknown): Problem {
  if (!(error instanceof CerverError)) throw error;
  const { message, code, hint } = error;
  return { error: message, code, ...(hint && { hint }) };
}
