import { CerverError } from "../../protocol/errors.js";
import { isSecretReference } from "../../protocol/secret-reference.js";

/** What asks for secrets: names, and variables that may refer to some. */
interface AsksForSecrets {
  secrets?: readonly string[] | undefined;
  envs?: Readonly<Record<string, string>> | undefined;
}

/**
 * Secrets are put in by the relay of one's own machine. At a cloud provider nobody but this gateway could do it, which is not to
 * have the values.
 */
export function refuseSecretsAt(provider: string, { secrets = [], envs = {} }: AsksForSecrets): void {
  if (provider === "p69") return;
  const [asked] = [...secrets, ...Object.keys(envs).filter((name) => isSecretReference(envs[name]!))];
  if (asked === undefined) return;
  throw new CerverError("unsupported", `${asked} is a secret, which only your own machines put in.`, {
    hint: 'Run it on a machine with a relay ("provider": "p69"), or give the value itself in envs.',
  });
}
