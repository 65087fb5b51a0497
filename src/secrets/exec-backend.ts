import { CerverError } from "../protocol/errors.js";
import { parseJson } from "../util/parse-json.js";
import type { Env } from "../util/paths.js";
import { printedText, runProgram } from "./exec-program.js";
import { namesForProgram, programEnv } from "./program-env.js";
import type { SecretBackend } from "./secret-backend.js";
import { notSetUp, notText } from "./store-failure.js";

/** No leading dash: a name must not be read as an option. */
const NAME = /^[A-Za-z0-9_/.@][\w./:@#+=-]{0,255}$/;

/** What the program says by its exit code: the words of sysexits.h that come nearest. */
const EXIT = { notFound: 66, unreachable: 69, rateLimited: 75, refused: 77, expired: 78 };

/**
 * Secrets that a program of the user's prints.
 *
 * It gets the name as its last argument; the value is its stdout, less one newline at the end. Of the environment it has the
 * usual and what `CERVER_SECRETS_EXEC_ENV` names.
 */
export function execBackend(env: Env): SecretBackend {
  const argv = command(env.CERVER_SECRETS_EXEC);
  const programsEnv = programEnv(env, namesForProgram(env));
  return {
    name: "exec",
    setup: `the program ${argv[0]}`,
    async fetch(name, signal) {
      if (!NAME.test(name))
        throw new CerverError("invalid_request", "name: the secrets program cannot be asked for this name.", {
          hint: "Letters, digits and _ . / : @ # + = - are possible, and no dash at the start.",
        });
      const { code, output } = await runProgram([...argv, name], { env: programsEnv, signal });
      if (code !== 0) throw failure(name, code);
      const value = printedText(output);
      if (value === undefined) throw notText("the secrets program", name);
      if (value === "") throw failure(name, EXIT.notFound);
      return { name, value, source: "exec" };
    },
  };
}

function command(setting: string | undefined): string[] {
  if (!setting)
    throw notSetUp(
      "exec",
      "program to ask",
      'Set CERVER_SECRETS_EXEC to its path, or to a JSON array such as ["pass", "show"].',
    );
  if (!setting.startsWith("[")) return [setting];
  const parsed = parseJson(setting);
  if (Array.isArray(parsed) && parsed[0] && parsed.every((part) => typeof part === "string")) return parsed;
  throw new CerverError("unsupported", "CERVER_SECRETS_EXEC is no JSON array of texts.", {
    hint: 'Write it as ["program", "argument"].',
  });
}

function failure(name: string, code: number | null): CerverError {
  const by = "the secrets program of this machine";
  switch (code) {
    case EXIT.notFound:
      return new CerverError("secret_not_found", `There is no secret ${name}, says ${by}.`, {
        hint: "Check the name, or add the secret where that program reads it.",
      });
    case EXIT.refused:
      return new CerverError("secret_refused", `Reading ${name} is refused, says ${by}.`, {
        hint: "Give the identity that the program uses access to this secret.",
      });
    case EXIT.expired:
      return new CerverError(
        "secret_expired",
        `The login that ${name} is read with has expired, says ${by}.`,
        {
          hint: "Log in again with that program's own tool, then ask again.",
        },
      );
    case EXIT.unreachable:
      return new CerverError(
        "secret_unreachable",
        `The store that has ${name} cannot be reached, says ${by}.`,
        {
          hint: "Check this machine's connection to it, then ask again.",
        },
      );
    case EXIT.rateLimited:
      return new CerverError("secret_rate_limited", `Too many secrets were asked for, says ${by}.`, {
        hint: "Wait a minute, then ask again.",
      });
    default:
      return new CerverError(
        "provider_failed",
        `${by[0]!.toUpperCase()}${by.slice(1)} ended with ${code === null ? "a signal" : `exit code ${code}`}.`,
        { hint: `Run it by hand with ${name} as its last argument, and see what it prints.` },
      );
  }
}
