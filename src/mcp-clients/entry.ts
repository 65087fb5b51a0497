/** A server as a client's file has it. */
export type ServerEntry = Record<string, unknown>;

/** One field of an entry that gets another value, or goes away where the value is undefined. */
export interface EntryChange {
  path: [field: string] | [field: "env", variable: string];
  value: unknown;
}

/** What decides how the server is reached: these are ours, whatever else an entry holds is its owner's. */
const REACH = ["type", "command", "args", "url", "httpUrl", "serverUrl"];
const URLS = ["url", "httpUrl", "serverUrl"];
const TOKENS = ["CERVER_API_TOKEN", "CERVER_API_KEY"];

/**
 * Whether an entry starts cerver, or leads to a gateway's MCP endpoint: to the one that is known, or to any under a name
 * that says so.
 */
export function isOurs(name: string, entry: unknown, knownUrl?: string): boolean {
  if (!isTable(entry)) return false;
  const words = [entry.command, ...(Array.isArray(entry.args) ? entry.args : [])];
  if (
    words.some(
      (word) => typeof word === "string" && /(?:^|[\\/])cerver(?:-mcp)?(?:@[\w.-]+|\.js|\.cmd)?$/.test(word),
    )
  )
    return true;
  const url = urlOf(entry);
  if (url === undefined) return false;
  return url === knownUrl || (/cerver/i.test(name + url) && /\/mcp\/?$/.test(url));
}

/** The address of a server that is reached by URL. */
export function urlOf(entry: ServerEntry): string | undefined {
  return URLS.map((field) => entry[field]).find((value) => typeof value === "string") as string | undefined;
}

/** Whether an entry has a token of cerver in plain text. A reference such as `${input:token}` is none. */
export function holdsToken(entry: unknown): boolean {
  if (!isTable(entry)) return false;
  const { env, headers } = entry;
  const plain = (value: unknown) => typeof value === "string" && value !== "" && !value.includes("${");
  return (
    (isTable(env) && TOKENS.some((name) => plain(env[name]))) ||
    (isTable(headers) &&
      Object.entries(headers).some(([name, value]) => /^authorization$/i.test(name) && plain(value)))
  );
}

/**
 * What has to change in an entry so that it says what is wanted.
 *
 * Fields that others set stay, as a timeout or variables for secrets. Tokens go where `dropTokens` says that this
 * machine has a login in their place.
 */
export function changesTo(
  entry: ServerEntry,
  wanted: ServerEntry,
  { dropTokens }: { dropTokens: boolean },
): EntryChange[] {
  const changes: EntryChange[] = [];
  for (const field of REACH)
    if (!same(entry[field], wanted[field])) changes.push({ path: [field], value: wanted[field] });
  const isRemote = urlOf(wanted) !== undefined;
  const old = isTable(entry.env) ? entry.env : {};
  const env = isRemote ? {} : { ...old, ...(wanted.env as object | undefined) };
  if (dropTokens) for (const name of TOKENS) delete env[name];
  if (!same(old, env)) {
    if (!isTable(entry.env) || Object.keys(env).length === 0)
      changes.push({ path: ["env"], value: Object.keys(env).length > 0 ? env : undefined });
    else
      for (const name of new Set([...Object.keys(old), ...Object.keys(env)]))
        if (!same(old[name], env[name])) changes.push({ path: ["env", name], value: env[name] });
  }
  // Headers belong to a URL: beside a command they mean nothing, and may hold the token.
  if (entry.headers !== undefined && (!isRemote || (dropTokens && holdsToken({ headers: entry.headers }))))
    changes.push({ path: ["headers"], value: undefined });
  return changes;
}

export function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Whether two values are the same but for the order of their keys. */
function same(a: unknown, b: unknown): boolean {
  if (Array.isArray(a) && Array.isArray(b))
    return a.length === b.length && a.every((one, i) => same(one, b[i]));
  if (!isTable(a) || !isTable(b)) return a === b;
  const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...keys].every((key) => same(a[key], b[key]));
}
