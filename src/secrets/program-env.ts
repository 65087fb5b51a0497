import type { Env } from "../util/paths.js";

/** What every program gets of the environment: enough to be found and to find its own settings. */
const BASE_ENV = ["PATH", "HOME", "LANG", "LC_*", "XDG_*"];

/** The environment of a program: the usual, and what the patterns name. Never a variable of cerver's own. */
export function programEnv(env: Env, patterns: readonly string[]): Record<string, string> {
  const all = [...BASE_ENV, ...patterns];
  const wanted = (name: string) => !/^cerver_/i.test(name) && matches(name, all);
  return Object.fromEntries(
    Object.entries(env).filter(
      (entry): entry is [string, string] => entry[1] !== undefined && wanted(entry[0]),
    ),
  );
}

/** What more than the usual the program gets: what opens the store that it reads, as a rule. */
export function namesForProgram(env: Env): string[] {
  return (env.CERVER_SECRETS_EXEC_ENV ?? "")
    .split(",")
    .map((name) => name.trim())
    .filter(Boolean);
}

/** Whether a variable is there for the secrets program. */
export function isForProgram(env: Env, name: string): boolean {
  return matches(name, namesForProgram(env));
}

function matches(name: string, patterns: readonly string[]): boolean {
  return patterns.some((one) => (one.endsWith("*") ? name.startsWith(one.slice(0, -1)) : name === one));
}
