import { CerverError } from "../protocol/errors.js";
import type { CliContext } from "./context.js";

/** The longest answer, in characters. */
const MAX_LENGTH = 16_384;

/** Asks a person for a secret on the terminal, without showing it. Undefined where there is no terminal to ask on. */
export async function hiddenPrompt(
  { process, out }: CliContext,
  question: string,
): Promise<string | undefined> {
  const { stdin } = process;
  if (!stdin.isTTY || !process.stderr.isTTY) return undefined;
  process.stderr.write(`${question}: `);
  stdin.setRawMode(true);
  stdin.setEncoding("utf8");
  stdin.resume();
  try {
    return await new Promise<string>((resolve, reject) => {
      let text = "";
      const onData = (chunk: string) => {
        for (const character of chunk) {
          if (character === "\u0003") return finish(() => reject(interrupted()));
          if (character === "\r" || character === "\n" || character === "\u0004")
            return finish(() => resolve(text));
          if (character === "\u007f" || character === "\b") text = text.slice(0, -1);
          else if (character >= " " && text.length < MAX_LENGTH) text += character;
        }
      };
      const finish = (done: () => void) => {
        stdin.off("data", onData);
        done();
      };
      stdin.on("data", onData);
    });
  } finally {
    stdin.setRawMode(false);
    stdin.pause();
    out.say("");
  }
}

function interrupted(): CerverError {
  return new CerverError("invalid_request", "Nothing was given.", {
    hint: "Run it again, or set the variable.",
  });
}
