import { CerverError } from "../protocol/errors.js";
import type { SecretUse } from "../protocol/runs.js";
import { isSecretReference } from "../protocol/secret-reference.js";
import type { NamedSecret } from "../redaction/secret-patterns.js";
import { SHORTEST_SECRET } from "../redaction/secret-patterns.js";
import { splitSecretReference } from "../secrets/secret-reference.js";
import { openSecrets, type Secrets } from "../secrets/secrets.js";
import type { Logger } from "../util/logger.js";
import type { Env } from "../util/paths.js";

/** Sooner than the gateway takes a machine that does not answer for lost. */
const FETCH_TIMEOUT_MS = 8_000;

const RELAY = {
  whose: "the relay on that machine",
  add: () => "Start the relay with it set, or name another backend: secret://BACKEND/NAME.",
};

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
  /** One for all runs, which keeps the logins at backends. */
  #secrets: Secrets | undefined;

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
    this.#secrets ??= openSecrets(this.#env, { timeoutMs: FETCH_TIMEOUT_MS, place: RELAY });
    const secrets = this.#secrets;
    const resolved: ResolvedSecrets = { envs: {}, secrets: [], used: [] };
    const fetched = await Promise.all(
      [...wanted].map(async ([variable, reference]) => {
        this.#refuseUnlisted(reference);
        return { variable, ...(await secrets.fetch(reference, signal)) };
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

  /** Nothing of this machine's own environment is for runs, unless its owner said which names are. */
  #refuseUnlisted(reference: string): void {
    const { backend = this.#env.CERVER_SECRETS_BACKEND || "env", name } = splitSecretReference(reference);
    if (backend !== "env" || this.#env.CERVER_SECRETS_ALLOW !== undefined) return;
    throw new CerverError("secret_refused", `This machine does not give the secret ${name} to runs.`, {
      hint: `Start its relay with CERVER_SECRETS_ALLOW=${name}: names, or beginnings such as STRIPE_*, between commas.`,
    });
  }
}
