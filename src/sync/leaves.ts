import { redactText } from "../redaction/redaction.js";

const PRIVATE = /<private>[\s\S]*?(?:<\/private>|$)/gi;

/**
 * A text as it may leave this machine: private passages are taken out, and what has the shape of a credential. A marker
 * that is not closed hides everything after it.
 */
export function leaves(text: string): string {
  return redactText(text.replace(PRIVATE, "[private]")).text;
}

/** Any value of a record, with {@link leaves} for every text in it. */
export function valueLeaves(value: unknown): unknown {
  if (typeof value === "string") return leaves(value);
  if (Array.isArray(value)) return value.map(valueLeaves);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [leaves(name), valueLeaves(inner)]));
}
