import { CerverError } from "../protocol/errors.js";
import { VERSION } from "../util/version.js";
import { ONE_PASSWORD, type OpReader } from "./1password-store.js";
import { notText, type StoreFailure, storeFailure, unknownFailure } from "./store-failure.js";

type Sdk = typeof import("@1password/sdk");
type Resolved = Awaited<ReturnType<Awaited<ReturnType<Sdk["createClient"]>>["secrets"]["resolveAll"]>>;

/** The SDK has classes for two of its errors, and only a sentence for the others. */
const WORDS: [RegExp, StoreFailure][] = [
  [/rate limit/i, "rate_limited"],
  [/permissions? to access/i, "refused"],
  [/not authenticated|service account token/i, "expired"],
  [/error sending request|request timeout|internal server error|unexpected status code/i, "unreachable"],
];

/** What a reference may lack at its end. */
const NOT_THERE = new Set(["fieldNotFound", "vaultNotFound", "itemNotFound", "noMatchingSections"]);

/** The vendor's SDK with a service account's token; undefined when it is not installed beside cerver. */
export async function sdkReader(token: string): Promise<OpReader | undefined> {
  let sdk: Sdk;
  try {
    sdk = await import("@1password/sdk");
  } catch {
    return undefined;
  }
  let client: ReturnType<Sdk["createClient"]> | undefined;
  return async (reference, name) => {
    let answer: Resolved;
    try {
      client ??= sdk.createClient({ auth: token, integrationName: "cerver", integrationVersion: VERSION });
      answer = await (await client).secrets.resolveAll([reference]);
    } catch (error) {
      // The next call logs in again.
      client = undefined;
      throw failure(sdk, name, error);
    }
    const { content, error } = answer.individualResponses[reference] ?? {};
    if (content) return content.secret;
    throw unresolved(name, error?.type);
  };
}

function failure(sdk: Sdk, name: string, error: unknown): CerverError {
  if (error instanceof sdk.RateLimitExceededError) return storeFailure(ONE_PASSWORD, "rate_limited", name);
  if (error instanceof sdk.AuthExpiredError) return storeFailure(ONE_PASSWORD, "expired", name);
  const said = error instanceof Error ? error.message : "";
  const kind = WORDS.find(([words]) => words.test(said))?.[1];
  return kind ? storeFailure(ONE_PASSWORD, kind, name) : unknownFailure(ONE_PASSWORD, "an error", name);
}

function unresolved(name: string, type: string | undefined): CerverError {
  if (type !== undefined && NOT_THERE.has(type)) return storeFailure(ONE_PASSWORD, "not_found", name);
  if (type === "unsupportedFileFormat") return notText(ONE_PASSWORD.title, name);
  if (type === "parsing")
    return new CerverError("invalid_request", "name: 1Password cannot read this reference.", {
      hint: "For example op://vault/item/field.",
    });
  return unknownFailure(ONE_PASSWORD, type ?? "nothing", name);
}
