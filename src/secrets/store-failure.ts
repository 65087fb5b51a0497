import { CerverError, type ErrorCode } from "../protocol/errors.js";

/** The five ways in which a store of secrets does not give one out. */
export type StoreFailure = "not_found" | "refused" | "expired" | "unreachable" | "rate_limited";

/** A store by the name that people know it by, and what to do about each of its failures. */
export interface Store {
  title: string;
  hints: Record<StoreFailure, string>;
}

const SENTENCES: Record<StoreFailure, (title: string, name: string) => string> = {
  not_found: (title, name) => `There is no secret ${name} at ${title}.`,
  refused: (title, name) => `${title} refuses to give out ${name}.`,
  expired: (title, name) => `${title} does not take the credentials that ${name} was asked with.`,
  unreachable: (title, name) => `${title} gave no answer about ${name}.`,
  rate_limited: (title) => `${title} was asked too often.`,
};

/** The store's own words are left out: they can hold tokens, account numbers and parts of keys. */
export function storeFailure({ title, hints }: Store, kind: StoreFailure, name: string): CerverError {
  return new CerverError(`secret_${kind}` satisfies ErrorCode, SENTENCES[kind](title, name), {
    hint: hints[kind],
  });
}

/** A refusal that is none of the five, with the store's word for it: a status, or the name of an error. */
export function unknownFailure({ title }: Store, word: string, name: string): CerverError {
  return new CerverError("provider_failed", `${title} answered ${word} when it was asked for ${name}.`, {
    hint: `Read ${name} by hand with the tool of ${title}, and see what it says.`,
  });
}

/** An HTTP status as a failure; without one there was no answer. */
export function statusFailure(store: Store, status: number | undefined, name: string): CerverError {
  if (status === undefined || status >= 500) return storeFailure(store, "unreachable", name);
  const kind = ({ 401: "expired", 403: "refused", 404: "not_found", 429: "rate_limited" } as const)[status];
  return kind ? storeFailure(store, kind, name) : unknownFailure(store, `HTTP ${status}`, name);
}

/** A backend that lacks a setting. */
export function notSetUp(backend: string, lacks: string, hint: string): CerverError {
  return new CerverError("unsupported", `The secrets backend ${backend} has no ${lacks}.`, { hint });
}

/** A value that is no text. */
export function notText(title: string, name: string): CerverError {
  return new CerverError("unsupported", `The value of ${name} at ${title} is binary.`, {
    hint: "Store it as a text, for example in base64.",
  });
}
