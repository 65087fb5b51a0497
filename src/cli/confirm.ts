import type { CliContext } from "./context.js";

/** Asks a person whether to go on; anything but yes is no. Undefined where there is no terminal to ask on. */
export async function confirm({ process }: CliContext, question: string): Promise<boolean | undefined> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return undefined;
  const { createInterface } = await import("node:readline/promises");
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    // Closing it, as Ctrl-C and Ctrl-D do, answers nothing.
    const closed = new Promise<string>((resolve) => lines.once("close", () => resolve("")));
    return /^y(?:es)?$/i.test((await Promise.race([lines.question(`${question} [y/N] `), closed])).trim());
  } finally {
    lines.close();
  }
}
