import { CerverError } from "../protocol/errors.js";
import type { SecretUse } from "../protocol/runs.js";
import { isSecretReference, parseSecretReference } from "../protocol/secret-reference.js";
import type { NamedSecret } from "../redaction/secret-patterns.js";
import { SHORTEST_SECRET } from "../redaction/secret-patterns.js";
import { openSecretBackend } from "../secrets/secret-backend.js";
import type { Logger } from "../util/logger.js";
import type { Env } from "../util/paths.js";

/** A backend that does not answer in this time is out of reach, and the run does not start. */
const FETCH_TIMEOUT_MS = 8_000;

/** What a run is given beside its own words. */
export interface ResolvedSecrets {
  /** Variables, over those that referred to secrets. */
  envs: Record<string, string>;
  secrets: NamedSecret[];
  used: SecretUse[];
}

/** Puts the values of secrets in where a run starts, from this machine's backends. */
export class RunSecrets {
  readonly #env: Env;
  readonly #logger: Logger;

  constructor(env: Env, logger: Logger) {
    this.#env = env;
    this.#logger = logger;
  }

  /**
   * Resolves the names and references of a run; undefined when it has none. Throws what a backend says of a secret that is
   * unknown, refused or out of reach: then nothing of the run has started.
   */
  resolve(
    sandboxEnv: Record<string, string>,
    envs: Record<string, string>,
    names: readonly string[],
    signal: AbortSignal,
  ): Promise<ResolvedSecrets> | undefined {
    const wanted = new Map<string, string>();
    for (const variables of [sandboxEnv, envs])
      for (const name in variables) {
        // The run's own word for a variable stands over the session's.
        wanted.delete(name);
        const value = variables[name]!;
        if (isSecretReference(value)) wanted.set(name, value);
      }
    for (const name of names) wanted.set(name, `secret://${name}`);
    return wanted.size === 0 ? undefined : this.#fetchAll(wanted, signal);
  }

  async #fetchAll(wanted: ReadonlyMap<string, string>, signal: AbortSignal): Promise<ResolvedSecrets> {
    const within = AbortSignal.any([signal, AbortSignal.timeout(FETCH_TIMEOUT_MS)]);
    const resolved: ResolvedSecrets = { envs: {}, secrets: [], used: [] };
    const fetched = await Promise.all(
      [...wanted].map(async ([variable, reference]) => {
        const { backend, name } = parseSecretReference(reference);
        return { variable, ...(await this.#fetch(backend, name, within)) };
      }),
    );
    for (const { variable, name, value, source } of fetched) {
      resolved.envs[variable] = value;
      resolved.secrets.push({ name, value });
      resolved.used.push({ name, backend: source });
      if (value.trim().length < SHORTEST_SECRET)
        this.#logger.warn(
          { secret: name },
          `a secret is shorter than ${SHORTEST_SECRET} characters, so it is not taken out of the output`,
        );
    }
    return resolved;
  }

  async #fetch(backend: string | undefined, name: string, signal: AbortSignal) {
    const env = backend === undefined ? this.#env : { ...this.#env, CERVER_SECRETS_BACKEND: backend };
    const opened = openSecretBackend(env);
    if (opened.name === "env") this.#refuseUnlisted(name);
    return opened.fetch(name, signal);
  }

  /** Nothing of this machine's own environment is for runs, unless its owner said which names are. */
  #refuseUnlisted(name: string): void {
    const listed = (this.#env.CERVER_SECRETS_ALLOW ?? "").split(/[\s,]+/).filter((one) => one !== "");
    if (listed.some((one) => matches(one, name))) return;
    throw new CerverError("secret_refused", `This machine does not give the secret ${name} to runs.`, {
      hint: `Start its relay with CERVER_SECRETS_ALLOW=${name}: names, or beginnings such as STRIPE_*, between commas.`,
    });
  }
}

function matches(pattern: string, name: string): boolean {
  return pattern.endsWith("*") ? name.startsWith(pattern.slice(0, -1)) : pattern === name;
}
