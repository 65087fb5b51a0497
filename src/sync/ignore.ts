import { readFile } from "node:fs/promises";
import { dirname, isAbsolute, join } from "node:path";
import type { Tool } from "./formats/format.js";

const FILE = ".cerverignore";

/**
 * Whether a session stays on this machine: a `.cerverignore` in its working folder, or in a folder above it, says so.
 *
 * A file without lines covers every session under its folder. Otherwise each line is a tool (`codex`) or a tool and a
 * session (`codex:0199*`), with `*` for any characters; `#` begins a comment. A file that cannot be read covers everything.
 */
export async function isIgnored(folder: string | undefined, tool: Tool, sessionId: string): Promise<boolean> {
  if (folder === undefined || !isAbsolute(folder)) return false;
  for (let at = folder; ; at = dirname(at)) {
    const rules = await rulesOf(at);
    if (rules?.length === 0) return true;
    if (rules?.some((rule) => matches(rule, tool) || matches(rule, `${tool}:${sessionId}`))) return true;
    if (dirname(at) === at) return false;
  }
}

async function rulesOf(folder: string): Promise<string[] | undefined> {
  try {
    const lines = (await readFile(join(folder, FILE), "utf8")).split("\n");
    return lines.map((line) => line.trim()).filter((line) => line !== "" && !line.startsWith("#"));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === "ENOENT" || code === "ENOTDIR" ? undefined : [];
  }
}

function matches(rule: string, name: string): boolean {
  const pattern = rule.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${pattern.join(".*")}$`).test(name);
}
