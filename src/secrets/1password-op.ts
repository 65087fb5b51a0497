import { CerverError } from "../protocol/errors.js";
import type { Env } from "../util/paths.js";
import { ONE_PASSWORD, type OpReader } from "./1password-store.js";
import { printedText, runProgram } from "./exec-program.js";
import { programEnv } from "./program-env.js";
import { notSetUp, notText, type StoreFailure, storeFailure, unknownFailure } from "./store-failure.js";

/** `op` ends with 1 whatever is wrong, so its words are all that tells one failure from another. */
const WORDS: [RegExp, StoreFailure][] = [
  [/\(429\)|too many requests|rate.?limit/i, "rate_limited"],
  [/\(403\)|forbidden|permission/i, "refused"],
  [
    /\(401\)|unauthorized|not (?:currently )?signed in|session expired|service account token|authenticat|authoriz|no accounts/i,
    "expired",
  ],
  [/dial tcp|no such host|connection|network|timeout|\(5\d\d\)/i, "unreachable"],
  [
    /isn't an? (?:item|vault|field|section)|not found|no (?:item|vault)|does not have a field|could(?: not|n't) find/i,
    "not_found",
  ],
];

/** `op read`: the value on its stdout. It has the variables of its own, so a service account's token or a session. */
export function opReader(env: Env): OpReader {
  const opEnv = programEnv(env, ["OP_*", "TMPDIR"]);
  return async (reference, name, signal) => {
    const { code, output, errors } = await runProgram(["op", "read", "--no-newline", reference], {
      env: opEnv,
      signal,
    }).catch((error) => {
      throw error instanceof CerverError && error.code === "secret_unreachable" ? withoutOp(env) : error;
    });
    if (code !== 0) {
      // The names that were asked for are in the message too, and say nothing about the failure.
      const said = errors.replaceAll(reference, "").replace(/"[^"]*"/g, "");
      const kind = WORDS.find(([words]) => words.test(said))?.[1];
      throw kind
        ? storeFailure(ONE_PASSWORD, kind, name)
        : unknownFailure(ONE_PASSWORD, code === null ? "a signal" : `exit code ${code}`, name);
    }
    const value = printedText(output);
    if (value === undefined) throw notText(ONE_PASSWORD.title, name);
    return value;
  };
}

function withoutOp(env: Env): CerverError {
  return notSetUp(
    "1password",
    "way to ask 1Password: the program op is not on PATH",
    env.OP_SERVICE_ACCOUNT_TOKEN
      ? "Install 1Password's program op, or its SDK beside cerver: npm install -g @1password/sdk."
      : "Install 1Password's program op and sign in with `op signin`, or set OP_SERVICE_ACCOUNT_TOKEN.",
  );
}
