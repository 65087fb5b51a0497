import type { z } from "zod";
import { CerverError } from "./errors.js";

/**
 * Reads a value by its schema, or throws `invalid_request` with a sentence that names the field and what is wrong
 * with it.
 */
export function parse<S extends z.ZodType>(schema: S, value: unknown): z.output<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw invalidRequest(result.error);
}

/** What a failed parse says to the one who wrote the value: its first problem, and how many more there are. */
export function invalidRequest(error: z.ZodError): CerverError {
  const [first, ...more] = error.issues;
  return new CerverError("invalid_request", first ? sentence(first) : "The request is not valid.", {
    ...(more.length > 0 && { hint: `There is more to mend: ${more.slice(0, 4).map(sentence).join(" ")}` }),
    details: {
      fields: error.issues.flatMap(({ path }) => (path.length > 0 ? [path.join(".")] : [])).slice(0, 20),
    },
  });
}

function sentence(issue: z.core.$ZodIssue): string {
  const field = issue.path.map(String).join(".");
  if (issue.code === "unrecognized_keys") {
    const names = issue.keys.map((key) => `"${key}"`).join(", ");
    return `${field ? `${field}: ` : ""}unknown field ${names}.`;
  }
  const what = issue.message.replace(/^Invalid input: /, "").replace(/\.?$/, ".");
  return field ? `${field}: ${what}` : `The body: ${what}`;
}
