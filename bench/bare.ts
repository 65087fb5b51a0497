import { type ChildProcess, spawn } from "node:child_process";
import { type Command, type Contender, check, type Lane } from "./contender.js";
import { environment } from "./environment.js";

/** A spawn of Node's, with nothing around it. */
export const bare: Contender = {
  lanes: async (command, count) => Array.from({ length: count }, () => bareLane(command)),
  cat: (file) => countedOutput(spawn("cat", [file], { stdio: ["ignore", "pipe", "inherit"] })),
};

function bareLane(command: Command): Lane {
  const [file, ...args] = command.argv;
  const env = environment();
  return async () => {
    check(command, await output(spawn(file, args, { env, stdio: ["ignore", "pipe", "pipe"] })));
  };
}

/** What a child prints, after its end. */
export function output(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    let complaint = "";
    child.stdout!.on("data", (chunk: Buffer) => (text += chunk));
    child.stderr!.on("data", (chunk: Buffer) => (complaint += chunk));
    child.on("error", reject);
    child.on("close", (code) =>
      code === 0
        ? resolve(text)
        : reject(new Error(`${child.spawnargs.join(" ")} ended with ${code}: ${complaint}`)),
    );
  });
}

/** How many bytes a child prints, after its end. */
export function countedOutput(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    let bytes = 0;
    child.stdout!.on("data", (chunk: Buffer) => (bytes += chunk.length));
    child.on("error", reject);
    child.on("close", (code) =>
      code === 0 ? resolve(bytes) : reject(new Error(`${child.spawnargs.join(" ")} ended with ${code}`)),
    );
  });
}
