import { existsSync } from "node:fs";
import { join } from "node:path";

/** Where a program is: on the path, or where servers are that a user's path may leave out. */
export function programFile(name: string): string | undefined {
  return [...(process.env.PATH ?? "").split(":"), "/usr/sbin", "/usr/local/sbin"]
    .filter((folder) => folder.startsWith("/"))
    .map((folder) => join(folder, name))
    .find((file) => existsSync(file));
}
