import { CerverError } from "../../protocol/errors.js";

/**
 * Which paths git ignores, by gitignore(5), without git.
 *
 * Like git's own wildmatch it works on bytes: paths and patterns are texts of one character a byte ("latin1").
 */

/** One line of a `.gitignore`. */
interface Pattern {
  text: string;
  /** `!`: takes what an earlier rule ignored back in. */
  negated: boolean;
  foldersOnly: boolean;
  /** Matches whole paths below its folder, not names alone. */
  anchored: boolean;
}

interface Rule extends Pattern {
  matches(path: string): boolean;
}

const WILDCARD = /[*?[\\]/;

/** The rules of one file, for what is below one folder. */
export interface RuleFile {
  /** The folder's path, empty for the root, ended by a slash otherwise. */
  base: string;
  rules: readonly Rule[];
  /** What looking at a path by these rules costs at most. */
  cost: number;
}

/**
 * What the rules that apply to one path may cost together: a pattern with wildcards its length, another one 1. Each path
 * is compared with all of them, so a folder of somebody else's could keep the relay from its other work.
 */
const MAX_COST = 32 * 1024;
const MAX_PATTERN_LENGTH = 4096;

/**
 * Reads a `.gitignore` or `.git/info/exclude`, which applies beside those above it. What git cannot read is a rule that
 * matches nothing, as in git. More rules than are looked at are refused: one that is left out could be a secret's.
 */
export function parseIgnoreFile(bytes: Buffer, base: string, above: readonly RuleFile[] = []): RuleFile {
  const text = bytes.toString("latin1").replace(/^\xEF\xBB\xBF/, "");
  const file = { base, rules: [] as Rule[], cost: 0 };
  let left = above.reduce((rest, { cost }) => rest - cost, MAX_COST);
  for (const line of text.split("\n")) {
    const pattern = parsePattern(line.replace(/\r$/, ""));
    if (!pattern) continue;
    const cost = WILDCARD.test(pattern.text) ? pattern.text.length : 1;
    left -= cost;
    if (left < 0) throw tooManyRules(base);
    file.rules.push({ ...pattern, matches: matcher(pattern) });
    file.cost += cost;
  }
  return file;
}

/**
 * Whether git ignores a path whose folders it does not ignore. Later rules win over earlier ones, and later files over
 * earlier ones, so the files are to be in this order: a repository's `info/exclude`, its `.gitignore`, those below.
 */
export function isIgnored(files: readonly RuleFile[], path: string, isFolder: boolean): boolean {
  const name = path.slice(path.lastIndexOf("/") + 1);
  for (let at = files.length - 1; at >= 0; at--) {
    const { base, rules } = files[at]!;
    if (!path.startsWith(base)) continue;
    const below = path.slice(base.length);
    for (let index = rules.length - 1; index >= 0; index--) {
      const rule = rules[index]!;
      if (rule.foldersOnly && !isFolder) continue;
      if (rule.matches(rule.anchored ? below : name)) return !rule.negated;
    }
  }
  return false;
}

function tooManyRules(base: string): CerverError {
  const folder = Buffer.from(base, "latin1").toString().replace(/\/$/, "") || ".";
  return new CerverError(
    "too_large",
    `The ignore rules that apply in the folder "${folder}" are more than are read: ${MAX_COST} characters of patterns with wildcards, or as many patterns without.`,
    { hint: "Shorten its .gitignore and .git/info/exclude, or those of the folders above it." },
  );
}

function parsePattern(line: string): Pattern | undefined {
  if (line.startsWith("#")) return undefined;
  let pattern = withoutTrailingSpaces(line);
  const negated = pattern.startsWith("!");
  if (negated) pattern = pattern.slice(1);
  const foldersOnly = pattern.endsWith("/");
  if (foldersOnly) pattern = pattern.slice(0, -1);
  const anchored = pattern.includes("/");
  if (pattern.startsWith("/")) pattern = pattern.slice(1);
  if (pattern === "" || pattern.length > MAX_PATTERN_LENGTH) return undefined;
  return { text: pattern, negated, foldersOnly, anchored };
}

/** Trailing spaces do not count, unless a backslash keeps them. */
function withoutTrailingSpaces(line: string): string {
  let end = 0;
  for (let at = 0; at < line.length; at++) {
    if (line[at] === "\\") at++;
    else if (line[at] === " ") continue;
    end = Math.min(at + 1, line.length);
  }
  return line.slice(0, end);
}

/** What a pattern is made of: `deep` is any text, `folders` any number of whole folders, `star` a text without slash. */
type Part =
  | { kind: "char"; char: string }
  | { kind: "one"; matches: (char: string) => boolean }
  | { kind: "star" | "deep" | "folders" };

function matcher({ text, anchored }: Pattern): (path: string) => boolean {
  if (!WILDCARD.test(text)) return (path) => path === text;
  const parts = partsOf(text, anchored);
  if (!parts) return () => false;
  return (path) => matchParts(parts, path);
}

/** Undefined for a pattern that git takes for broken. */
function partsOf(pattern: string, anchored: boolean): Part[] | undefined {
  const parts: Part[] = [];
  // Git compares the text before the first special character by itself, so that what follows stands at a beginning.
  const begin = pattern.search(WILDCARD);
  for (let at = 0; at < pattern.length; ) {
    const char = pattern[at]!;
    if (char === "*") {
      const end = at + /^\*+/.exec(pattern.slice(at))![0].length;
      const startsName = at === begin || pattern[at - 1] === "/";
      const isDeep = anchored && end - at > 1 && startsName;
      if (isDeep && pattern[end] === "/") {
        parts.push({ kind: "folders" });
        at = end + 1;
        continue;
      }
      parts.push({ kind: isDeep && end === pattern.length ? "deep" : "star" });
      at = end;
    } else if (char === "?") {
      parts.push({ kind: "one", matches: (one) => one !== "/" });
      at++;
    } else if (char === "[") {
      const set = parseSet(pattern, at);
      if (!set) return undefined;
      parts.push({ kind: "one", matches: set.matches });
      at = set.end;
    } else {
      const literal = char === "\\" ? pattern[++at] : char;
      if (literal === undefined) return undefined;
      parts.push({ kind: "char", char: literal });
      at++;
    }
  }
  return parts;
}

const CLASSES: Record<string, RegExp> = {
  alnum: /[0-9A-Za-z]/,
  alpha: /[A-Za-z]/,
  blank: /[ \t]/,
  cntrl: /[^\x20-\x7e\x80-\xff]/,
  digit: /[0-9]/,
  graph: /[\x21-\x7e]/,
  lower: /[a-z]/,
  print: /[\x20-\x7e]/,
  punct: /[!-/:-@[-`{-~]/,
  space: /[ \t\n\v\f\r]/,
  upper: /[A-Z]/,
  xdigit: /[0-9A-Fa-f]/,
};

/** A bracket expression, such as `[!a-z[:digit:]]`, that begins here; undefined when it has no end. */
function parseSet(
  pattern: string,
  start: number,
): { matches(char: string): boolean; end: number } | undefined {
  let at = start + 1;
  const negated = pattern[at] === "!" || pattern[at] === "^";
  if (negated) at++;
  const tests: ((char: string) => boolean)[] = [];
  let before: string | undefined;
  for (let first = true; first || pattern[at] !== "]"; first = false) {
    let char = pattern[at];
    if (char === undefined) return undefined;
    const named = char === "[" ? /^\[:([^\]]*):\]/.exec(pattern.slice(at)) : null;
    if (named) {
      const kind = CLASSES[named[1]!];
      if (!kind) return undefined;
      tests.push((one) => kind.test(one));
      at += named[0].length;
      before = undefined;
      continue;
    }
    const isRange =
      char === "-" && before !== undefined && pattern[at + 1] !== undefined && pattern[at + 1] !== "]";
    if (isRange) char = pattern[++at]!;
    if (char === "\\") char = pattern[++at];
    if (char === undefined) return undefined;
    const [from, to] = [isRange ? before! : char, char];
    tests.push((one) => one >= from && one <= to);
    before = isRange ? undefined : char;
    at++;
  }
  return {
    matches: (char) => char !== "/" && tests.some((test) => test(char)) !== negated,
    end: at + 1,
  };
}

/**
 * Whether the parts match the whole text, in time that grows with the product of their lengths: patterns come from
 * folders of others, and backtracking would let one of them stop the relay.
 */
function matchParts(parts: readonly Part[], text: string): boolean {
  const length = text.length;
  let after = new Uint8Array(length + 2);
  after[length] = 1;
  for (let index = parts.length - 1; index >= 0; index--) {
    const part = parts[index]!;
    const here = new Uint8Array(length + 2);
    let folder = 0;
    for (let at = length; at >= 0; at--) {
      const char = text[at];
      switch (part.kind) {
        case "char":
          here[at] = char === part.char ? after[at + 1]! : 0;
          break;
        case "one":
          here[at] = char !== undefined && part.matches(char) ? after[at + 1]! : 0;
          break;
        case "star":
          here[at] = after[at]! | (char !== undefined && char !== "/" ? here[at + 1]! : 0);
          break;
        case "deep":
          here[at] = after[at]! | (char !== undefined ? here[at + 1]! : 0);
          break;
        case "folders":
          if (char === "/") folder |= after[at + 1]!;
          here[at] = after[at]! | folder;
      }
    }
    after = here;
  }
  return after[0] === 1;
}
