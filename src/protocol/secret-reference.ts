import { CerverError } from "./errors.js";

const REFERENCE = /^secret:\/\/(?:([a-z0-9][a-z0-9-]{0,63})\/)?([A-Za-z_][A-Za-z0-9_]{0,255})$/;

/** Whether a variable's value stands for a secret that is put in where a run starts. */
export function isSecretReference(value: string): boolean {
  return value.startsWith("secret://");
}

/** `secret://NAME` or `secret://BACKEND/NAME`. Throws `invalid_request` on anything else. */
export function parseSecretReference(value: string): { backend: string | undefined; name: string } {
  const [, backend, name] = REFERENCE.exec(value) ?? [];
  if (name !== undefined) return { backend, name };
  throw new CerverError("invalid_request", "A variable refers to a secret in a way that is not understood.", {
    hint: "Write secret://NAME or secret://BACKEND/NAME, for example secret://infisical/STRIPE_KEY.",
  });
}
