import { constants } from "node:fs";
import { access, realpath, stat } from "node:fs/promises";
import { delimiter, dirname, join } from "node:path";
import { quote } from "../../util/shell-quote.js";
import type { Probe } from "./probe.js";

/** Whether typing `cerver` starts this very program. */
export const pathProbe: Probe = {
  name: "path",
  async run({ cli: { env, process } }) {
    const program = process.argv[1] ?? "";
    const found = await onPath(env.PATH ?? "", process.platform);
    if (found === undefined) {
      return {
        status: "warn",
        what: `PATH has no cerver in it; this one is ${program}`,
        fix: `mkdir -p ~/.local/bin && ln -s ${quote(program)} ~/.local/bin/cerver, with ~/.local/bin in PATH`,
      };
    }
    // On Windows what is found is a script that leads there.
    if (process.platform === "win32" || (await realpath(found)) === (await realpath(program)))
      return { status: "ok", what: found };
    return {
      status: "warn",
      what: `PATH leads to another cerver, ${found}; this one is ${program}`,
      fix: `Remove one of the two, or put this one first: export PATH=${quote(dirname(program))}:"$PATH"`,
    };
  },
};

async function onPath(path: string, platform: NodeJS.Platform): Promise<string | undefined> {
  const names = platform === "win32" ? ["cerver.cmd", "cerver.exe"] : ["cerver"];
  for (const folder of path.split(delimiter).filter((part) => part !== "")) {
    for (const file of names.map((name) => join(folder, name))) if (await isProgram(file)) return file;
  }
  return undefined;
}

async function isProgram(file: string): Promise<boolean> {
  try {
    await access(file, constants.X_OK);
    return (await stat(file)).isFile();
  } catch {
    return false;
  }
}
