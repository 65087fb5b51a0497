import { ConfigFault } from "./config-text.js";

/** A header such as `[a.b]` or `[[a.b]]`. */
export interface TomlHeader {
  kind: "header";
  path: string[];
  array: boolean;
  /** Where its line begins, and where the next line does. */
  start: number;
  end: number;
}

/** A line such as `key = value`, which may go over several lines. */
export interface TomlPair {
  kind: "pair";
  /** From the root: the header's path, then the key's. */
  path: string[];
  value: unknown;
  start: number;
  end: number;
  valueStart: number;
  valueEnd: number;
}

export type TomlStatement = TomlHeader | TomlPair;

/** How deep arrays and inline tables may be within each other. */
const MAX_DEPTH = 64;

/**
 * Reads the statements of a TOML 1.0 text with their places. Numbers and times stay texts.
 *
 * Throws {@link ConfigFault} where the text is no TOML or says something twice.
 */
export function readToml(text: string): TomlStatement[] {
  const statements: TomlStatement[] = [];
  let at = 0;
  let table: string[] = [];
  const taken = new Set<string>();

  const fail = (message: string, offset = at): never => {
    throw ConfigFault.at(text, offset, message);
  };
  const match = (pattern: RegExp) => {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (found) at += found[0].length;
    return found;
  };
  const space = () => match(/[ \t]*/y);
  /** Space, comments and line ends, as they may be in arrays and between statements. */
  const trivia = () => match(/(?:[ \t]|\r?\n|#[^\n]*)*/y);
  const endOfLine = () => {
    if (!match(/[ \t]*(?:#[^\n]*)?(?:\r?\n|$)/y)) fail("The line has to end here");
  };
  const once = (path: readonly string[], start: number) => {
    const name = JSON.stringify(path);
    if (taken.has(name)) fail(`${path.join(".")} is there a second time`, start);
    taken.add(name);
  };

  const basicString = (): string => {
    const start = at;
    const found = match(/"((?:[^"\\\r\n]|\\[^\r\n])*)"/y) ?? fail("A string does not end on this line");
    return unescaped(found[1]!, start);
  };
  const unescaped = (raw: string, start: number) =>
    raw.replace(
      /\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|[ \t]*\r?\n\s*|(.))/g,
      (all, short, long, letter) => {
        // A backslash at the end of a line joins it to the next word.
        if (/^\\\s/.test(all) && letter === undefined) return "";
        const plain = ESCAPES[letter as string];
        if (plain !== undefined) return plain;
        const code = Number.parseInt(short ?? long ?? "", 16);
        if (code <= 0x10ffff) return String.fromCodePoint(code);
        return fail("A string has an escape that TOML does not know", start);
      },
    );
  const text3 = (quote: '"""' | "'''"): string => {
    const start = at;
    const pattern =
      quote === '"""'
        ? /"""(?:\r?\n)?((?:[^"\\]|\\.|"{1,2}(?!"))*"{0,2})"""/sy
        : /'''(?:\r?\n)?((?:[^']|'{1,2}(?!'))*'{0,2})'''/sy;
    const found = match(pattern) ?? fail("A string of several lines does not end");
    if (quote === "'''") return found[1]!;
    return unescaped(found[1]!, start);
  };
  const keyPart = (): string => {
    if (text[at] === '"') return basicString();
    const literal = match(/'([^'\r\n]*)'/y);
    if (literal) return literal[1]!;
    return (match(/[A-Za-z0-9_-]+/y) ?? fail("A key is expected here"))[0];
  };
  const key = (): string[] => {
    const parts = [keyPart()];
    while (match(/[ \t]*\.[ \t]*/y)) parts.push(keyPart());
    return parts;
  };
  const value = (depth: number): unknown => {
    if (depth > MAX_DEPTH) fail("Values are too deep within each other");
    if (text.startsWith('"""', at)) return text3('"""');
    if (text.startsWith("'''", at)) return text3("'''");
    if (text[at] === '"') return basicString();
    if (text[at] === "'") return (match(/'([^'\r\n]*)'/y) ?? fail("A string does not end on this line"))[1];
    if (text[at] === "[") return array(depth);
    if (text[at] === "{") return inlineTable(depth);
    const word = match(/(?:true|false)(?![\w.+-])/y)?.[0];
    if (word) return word === "true";
    // A date may have a space before its time.
    const scalar = match(
      /\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d[\d:.]*(?:[Zz]|[+-]\d\d:\d\d)?)?|\d\d:\d\d[\d:.]*|[+-]?(?:inf|nan|0x[\da-fA-F_]+|0o[0-7_]+|0b[01_]+|\d[\d_]*(?:\.\d[\d_]*)?(?:[eE][+-]?\d[\d_]*)?)(?![\w.])/y,
    );
    return (scalar ?? fail("A value is expected here"))[0];
  };
  const array = (depth: number): unknown[] => {
    const items: unknown[] = [];
    at++;
    for (trivia(); text[at] !== "]"; trivia()) {
      items.push(value(depth + 1));
      trivia();
      if (text[at] === ",") at++;
      else if (text[at] !== "]") fail("A comma or the end of the array is expected here");
    }
    at++;
    return items;
  };
  const inlineTable = (depth: number): Record<string, unknown> => {
    const result: Record<string, unknown> = Object.create(null);
    at++;
    space();
    if (match(/\}/y)) return result;
    for (;;) {
      const start = at;
      const path = key();
      if (!match(/[ \t]*=[ \t]*/y)) fail("An equals sign is expected here");
      put(result, path, value(depth + 1), () => fail(`${path.join(".")} is there a second time`, start));
      space();
      if (match(/\}/y)) return result;
      if (!match(/,[ \t]*/y)) fail("A comma or the end of the table is expected here");
    }
  };

  for (trivia(); at < text.length; trivia()) {
    const start = text.lastIndexOf("\n", at - 1) + 1;
    const open = match(/\[\[?[ \t]*/y);
    if (open) {
      const isArray = open[0].startsWith("[[");
      table = key();
      if (!match(isArray ? /[ \t]*\]\]/y : /[ \t]*\]/y)) fail("The end of the table's name is expected here");
      if (isArray) forget(taken, table);
      else once([...table, ""], start);
      endOfLine();
      statements.push({ kind: "header", path: table, array: isArray, start, end: at });
      continue;
    }
    const path = [...table, ...key()];
    once(path, start);
    if (!match(/[ \t]*=[ \t]*/y)) fail("An equals sign is expected here");
    const valueStart = at;
    const content = value(0);
    const valueEnd = at;
    endOfLine();
    statements.push({ kind: "pair", path, value: content, start, end: at, valueStart, valueEnd });
  }
  return statements;
}

/** Puts a value where a path leads, making tables on the way. */
export function put(
  root: Record<string, unknown>,
  path: readonly string[],
  value: unknown,
  refuse: () => void,
): void {
  let table = root;
  for (const part of path.slice(0, -1)) {
    table[part] ??= Object.create(null);
    if (typeof table[part] !== "object" || Array.isArray(table[part])) return refuse();
    table = table[part] as Record<string, unknown>;
  }
  const last = path.at(-1)!;
  if (last in table) return refuse();
  table[last] = value;
}

/** Each `[[a]]` begins anew what is under `a`. */
function forget(taken: Set<string>, table: readonly string[]): void {
  const prefix = JSON.stringify(table).slice(0, -1);
  for (const name of taken) if (name.startsWith(`${prefix},`)) taken.delete(name);
}

const ESCAPES: Record<string, string> = {
  b: "\b",
  t: "\t",
  n: "\n",
  f: "\f",
  r: "\r",
  e: "\u001b",
  '"': '"',
  "\\": "\\",
};
