/** A secret by the backend that has it and the name it has there. */
export interface SecretReference {
  /** Undefined for the default backend. */
  backend: string | undefined;
  name: string;
}

/** How a reference begins that says its backend by itself. */
const SCHEMES = [
  ["env:", "env"],
  ["exec:", "exec"],
  ["infisical://", "infisical"],
  ["op://", "1password"],
  ["aws-sm://", "aws"],
  ["gcp-sm://", "gcp"],
] as const;

/**
 * `secret://BACKEND/NAME`, `secret://NAME`, a backend's own form such as `env:NAME` or `op://vault/item/field`, or a bare name.
 *
 * It only takes the text apart: whether there is such a backend, and whether it may have such a name, is for them to say.
 */
export function splitSecretReference(text: string): SecretReference {
  for (const [scheme, backend] of SCHEMES)
    if (text.startsWith(scheme)) return { backend, name: text.slice(scheme.length) };
  if (!text.startsWith("secret://")) return { backend: undefined, name: text };
  const rest = text.slice("secret://".length);
  const slash = rest.indexOf("/");
  if (slash < 0) return { backend: undefined, name: rest };
  return { backend: rest.slice(0, slash), name: rest.slice(slash + 1) };
}
