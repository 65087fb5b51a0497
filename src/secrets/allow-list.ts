import { type SecretReference, splitSecretReference } from "./secret-reference.js";

/**
 * Which secrets `CERVER_SECRETS_ALLOW` lets out: names and references separated by commas, `*` at the end of one for any rest.
 *
 * A bare name is one of the default backend, so that `STRIPE_KEY` on the list opens no other backend's. `*` alone
 * is everything. A list that is set and empty lets nothing out.
 */
export function allowList(list: string | undefined, defaultBackend: string) {
  if (list === undefined) return () => true;
  const patterns = list
    .split(",")
    .map((pattern) => pattern.trim())
    .filter((pattern) => pattern !== "");
  if (patterns.includes("*")) return () => true;
  const rules = patterns.map((pattern) => {
    const open = pattern.endsWith("*");
    const { backend = defaultBackend, name } = splitSecretReference(open ? pattern.slice(0, -1) : pattern);
    return { backend, matches: (asked: string) => (open ? asked.startsWith(name) : asked === name) };
  });
  return ({ backend = defaultBackend, name }: SecretReference) =>
    rules.some((rule) => rule.backend === backend && rule.matches(name));
}
