import { spawn } from "node:child_process";
import { CerverError } from "../protocol/errors.js";
import type { Env } from "../util/paths.js";
import type { SecretBackend } from "./secret-backend.js";

const MAX_OUTPUT_BYTES = 65_536 + 2;
/** No leading dash: a name must not be read as an option. */
const NAME = /^[A-Za-z0-9_/.@][\w./:@#+=-]{0,255}$/;

/** What the program says by its exit code: the words of sysexits.h that come nearest. */
const EXIT = { notFound: 66, unreachable: 69, rateLimited: 75, refused: 77, expired: 78 };

/**
 * Secrets that a program of the user's prints.
 *
 * It gets the name as its last argument and is started without a shell; the value is its stdout, less one newline at the
 * end. Its stderr is dropped, as it may hold anything. It is killed with its children when the signal aborts.
 */
export function execBackend(env: Env): SecretBackend {
  const [program, ...args] = command(env.CERVER_SECRETS_EXEC);
  return {
    name: "exec",
    async fetch(name, signal) {
      if (!NAME.test(name))
        throw new CerverError("invalid_request", "name: the secrets program cannot be asked for this name.", {
          hint: "Letters, digits and _ . / : @ # + = - are possible, and no dash at the start.",
        });
      const { code, output } = await run(program!, [...args, name], env, signal);
      if (code !== 0) throw failure(name, code);
      return { name, value: text(name, output), source: "exec" };
    },
  };
}

function command(setting: string | undefined): string[] {
  if (!setting)
    throw new CerverError("unsupported", "The secrets backend exec has no program to ask.", {
      hint: 'Set CERVER_SECRETS_EXEC to its path, or to a JSON array such as ["pass", "show"].',
    });
  if (!setting.startsWith("[")) return [setting];
  const parsed = parseJson(setting);
  if (Array.isArray(parsed) && parsed[0] && parsed.every((part) => typeof part === "string")) return parsed;
  throw new CerverError("unsupported", "CERVER_SECRETS_EXEC is no JSON array of texts.", {
    hint: 'Write it as ["program", "argument"].',
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function run(program: string, args: string[], env: Env, signal: AbortSignal) {
  return new Promise<{ code: number | null; output: Buffer }>((resolve, reject) => {
    signal.throwIfAborted();
    // A group of its own, so that its children end with it.
    const child = spawn(program, args, {
      env: { ...env },
      stdio: ["ignore", "pipe", "ignore"],
      detached: true,
    });
    const chunks: Buffer[] = [];
    let size = 0;
    const end = (settle: () => void) => {
      signal.removeEventListener("abort", onAbort);
      settle();
    };
    const stop = (reason: unknown) =>
      end(() => {
        killGroup(child.pid);
        child.stdout.destroy();
        reject(reason);
      });
    const onAbort = () => stop(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    child.on("error", () => stop(cannotStart(program)));
    child.stdout.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size > MAX_OUTPUT_BYTES) stop(tooLarge());
      else chunks.push(chunk);
    });
    child.on("close", (code) => end(() => resolve({ code, output: Buffer.concat(chunks) })));
  });
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It has ended by itself.
  }
}

function text(name: string, output: Buffer): string {
  let value: string;
  try {
    value = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(output);
  } catch {
    throw new CerverError("unsupported", `The value of ${name} is not text in UTF-8.`, {
      hint: "Have the program print it as base64.",
    });
  }
  value = value.replace(/\r?\n$/, "");
  if (value === "") throw failure(name, EXIT.notFound);
  return value;
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

function cannotStart(program: string): CerverError {
  return new CerverError("secret_unreachable", `The secrets program ${program} cannot be started.`, {
    hint: "Check CERVER_SECRETS_EXEC: the path, and that the file may be executed.",
  });
}

function tooLarge(): CerverError {
  return new CerverError("too_large", "The secrets program printed more than 64 KiB.", {
    hint: "Have it print the value and nothing else.",
  });
}
