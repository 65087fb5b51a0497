import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { quote } from "../../util/shell-quote.js";

/** What a run executes. */
export type Command =
  | { kind: "shell"; code: string }
  | { kind: "node"; code: string }
  | { kind: "argv"; file: string; args: readonly string[] };

export interface PreparedCommand {
  file: string;
  args: readonly string[];
  /** A script of ours, to be removed when the run is over. */
  script?: string;
}

/** Linux takes 128 KiB for one argument, the final NUL included (MAX_ARG_STRLEN, execve(2)). */
const MAX_ARGUMENT_BYTES = 128 * 1024 - 1;

/**
 * The program and arguments for a command. Text that is too long for an argument is put in a file: a shell's in
 * `scratchDir`, which is ours alone; an ES module's in the working folder, from where its imports resolve.
 */
export function prepareCommand(
  command: Command,
  { runId, scratchDir, cwd }: { runId: string; scratchDir: string; cwd: string },
): PreparedCommand | Promise<PreparedCommand> {
  if (command.kind === "argv") return { file: command.file, args: command.args };
  const fits =
    command.code.length * 3 <= MAX_ARGUMENT_BYTES || Buffer.byteLength(command.code) <= MAX_ARGUMENT_BYTES;
  if (command.kind === "shell") {
    return fits
      ? { file: "/bin/sh", args: ["-c", command.code] }
      : longShell(command.code, join(scratchDir, `${runId}.sh`));
  }
  return fits
    ? { file: process.execPath, args: ["--input-type=module", "--eval", command.code] }
    : longModule(command.code, join(cwd, `.cerver-${runId}.mjs`));
}

async function longShell(code: string, script: string): Promise<PreparedCommand> {
  await writeFile(script, code, { mode: 0o600, flag: "wx" });
  return { file: "/bin/sh", args: ["-c", `. ${quote(script)}`], script };
}

async function longModule(code: string, script: string): Promise<PreparedCommand> {
  await writeFile(script, code, { mode: 0o600, flag: "wx" });
  return { file: process.execPath, args: [script], script };
}
