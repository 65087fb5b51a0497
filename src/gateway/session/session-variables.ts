import type { Metadata } from "../../protocol/sessions.js";

/** `metadata.env` may hold secrets: its values go to the compute, the record keeps the names. */
export function withoutEnvValues(metadata: Metadata): Metadata {
  return withVariables(metadata, variablesOf(metadata));
}

/** The names of a session's variables. */
export function variablesOf({ env }: Metadata): string[] {
  return typeof env === "object" && env !== null ? Object.keys(env) : [];
}

/** Metadata for the record of a session that has these variables. */
export function withVariables(metadata: Metadata, names: readonly string[]): Metadata {
  if (names.length === 0) return metadata;
  return { ...metadata, env: Object.fromEntries(names.map((name) => [name, "[hidden]"])) };
}

/** What of a session's record goes to another compute: its variables have no values there, unless they are given. */
export function withEnv({ env: _, ...metadata }: Metadata, env: unknown): Metadata {
  return env ? { ...metadata, env } : metadata;
}
