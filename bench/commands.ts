import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import type { Command } from "./contender.js";

const TRUE = existsSync("/bin/true") ? "/bin/true" : "/usr/bin/true";

export const ECHO = shellCommand("echo hi", "hi\n");
/** Scripts that end in a program of its own, which a shell may become instead of starting it. */
export const EXTERNAL = shellCommand(TRUE, "");
export const LIST = shellCommand("ls /", execFileSync("ls", ["/"], { encoding: "utf8" }));
export const NODE: Command = {
  name: "node -e",
  argv: [process.execPath, "-e", "console.log(1)"],
  shell: `exec '${process.execPath}' -e 'console.log(1)'`,
  run: { code: "console.log(1)", runtime: "node" },
  prints: "1\n",
};

function shellCommand(code: string, prints: string): Command {
  return { name: code, argv: ["/bin/sh", "-c", code], shell: code, run: { code }, prints };
}
