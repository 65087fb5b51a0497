import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The path of another program of this installation, such as `keeper.js`; undefined where it has not been built. */
export function ownProgram(name: string): string | undefined {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    const program = join(folder, "dist", name);
    if (existsSync(program)) return program;
    if (dirname(folder) === folder) return undefined;
  }
}
