import { execFile } from "node:child_process";
import { CerverError } from "../../protocol/errors.js";

const TIMEOUT_MS = 60_000;
const MAX_BYTES = 1024 * 1024;

export interface ProgramEnd {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs a program of the system to its end. Throws `unsupported` when there is no such program. */
export function runProgram(
  file: string,
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Promise<ProgramEnd> {
  return new Promise((resolve, reject) => {
    execFile(
      file,
      args,
      { env: { ...env, LC_ALL: "C" }, timeout: TIMEOUT_MS, killSignal: "SIGKILL", maxBuffer: MAX_BYTES },
      (error, stdout, stderr) => {
        const code = (error as NodeJS.ErrnoException | null)?.code;
        if (code === "ENOENT") reject(missing(file));
        else resolve({ code: error ? (typeof code === "number" ? code : 1) : 0, stdout, stderr });
      },
    );
  });
}

/** Like {@link runProgram}, for what has to work. */
export async function runOrFail(
  file: string,
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  hint: string,
): Promise<string> {
  const { code, stdout, stderr } = await runProgram(file, args, env);
  if (code === 0) return stdout;
  const words = (stderr.trim() || stdout.trim()).split("\n").slice(0, 3).join(" ").slice(0, 500);
  throw new CerverError(
    "provider_failed",
    `\`${file} ${args.join(" ")}\` failed: ${words || `code ${code}`}`,
    {
      hint,
    },
  );
}

function missing(file: string): CerverError {
  return new CerverError(
    "unsupported",
    `There is no ${file} on this machine, so it has no service manager that cerver knows.`,
    {
      hint: "Let what starts programs here start `cerver relay` with the machine.",
    },
  );
}
