/** The most lines on either side that are compared one by one; beyond it a change is shown as a whole. */
const MAX_COMPARED = 500;
/** The longest line that is shown whole, in characters. */
const MAX_WIDTH = 200;

/**
 * What differs between two texts, by lines: `@@ line N @@`, then `-` and `+`.
 *
 * Lines that are the same are not shown: in settings they are others' business, and hold others' secrets. Values that
 * look secret are hidden where a line has to be shown.
 */
export function textDiff(before: string, after: string): string[] {
  if (before === after) return [];
  const old = linesOf(before);
  const now = linesOf(after);
  let head = 0;
  while (head < old.length && head < now.length && old[head] === now[head]) head++;
  let tail = 0;
  const shorter = Math.min(old.length, now.length) - head;
  while (tail < shorter && old[old.length - 1 - tail] === now[now.length - 1 - tail]) tail++;
  const shown: string[] = [];
  const differing = hunks(old.slice(head, old.length - tail), now.slice(head, now.length - tail));
  for (const { before: from, after: to, removed, added } of differing) {
    shown.push(`@@ line ${head + to + 1} @@`);
    if (
      removed.length === 1 &&
      added.length === 1 &&
      Math.max(removed[0]!.length, added[0]!.length) > MAX_WIDTH
    ) {
      const [left, right] = withinLine(removed[0]!, added[0]!);
      if (left) shown.push(`-…${shorten(hideSecrets(left))}…`);
      if (right) shown.push(`+…${shorten(hideSecrets(right))}…`);
      continue;
    }
    const line = (lines: string[], at: number) =>
      shorten(hideSecrets(lines[at]!, isAmongVariables(lines, at)));
    shown.push(...removed.map((_, i) => `-${line(old, head + from + i)}`));
    shown.push(...added.map((_, i) => `+${line(now, head + to + i)}`));
  }
  return shown;
}

interface Hunk {
  /** Where it begins among the old lines and among the new ones, from 0. */
  before: number;
  after: number;
  removed: string[];
  added: string[];
}

/** The stretches that differ, by the longest common subsequence. */
function hunks(old: string[], now: string[]): Hunk[] {
  if (old.length > MAX_COMPARED || now.length > MAX_COMPARED)
    return [{ before: 0, after: 0, removed: old, added: now }];
  const longest = Array.from({ length: old.length + 1 }, () => new Uint16Array(now.length + 1));
  for (let i = old.length - 1; i >= 0; i--)
    for (let j = now.length - 1; j >= 0; j--)
      longest[i]![j] =
        old[i] === now[j] ? longest[i + 1]![j + 1]! + 1 : Math.max(longest[i + 1]![j]!, longest[i]![j + 1]!);
  const found: Hunk[] = [];
  let hunk: Hunk | undefined;
  for (let i = 0, j = 0; i < old.length || j < now.length; ) {
    if (i < old.length && j < now.length && old[i] === now[j]) {
      hunk = undefined;
      i++;
      j++;
      continue;
    }
    if (!hunk) {
      hunk = { before: i, after: j, removed: [], added: [] };
      found.push(hunk);
    }
    if (j === now.length || (i < old.length && longest[i + 1]![j]! >= longest[i]![j + 1]!))
      hunk.removed.push(old[i++]!);
    else hunk.added.push(now[j++]!);
  }
  return found;
}

/** Only what differs of two long lines: settings may be all on one. */
function withinLine(before: string, after: string): [string, string] {
  let head = 0;
  while (head < before.length && head < after.length && before[head] === after[head]) head++;
  let tail = 0;
  const shorter = Math.min(before.length, after.length) - head;
  while (tail < shorter && before[before.length - 1 - tail] === after[after.length - 1 - tail]) tail++;
  return [before.slice(head, before.length - tail), after.slice(head, after.length - tail)];
}

const STRING = String.raw`"(?:\\.|[^"\\])*"|'[^']*'`;
const VARIABLES = String.raw`["']?\b(?:env|\w*headers)["']?\s*[:=]\s*\{`;
const SECRET_NAME = String.raw`["']?[\w-]*(?:token|key|secret|passw|credential|authorization)[\w-]*["']?\s*[:=]\s*`;
const anySetting = new RegExp(`([:=]\\s*)(?:${STRING})`, "g");
const secretSetting = new RegExp(`(${SECRET_NAME})(?:${STRING})`, "gi");
const variablesOnOneLine = new RegExp(`(${VARIABLES})((?:${STRING}|[^}"'])*)`, "g");
const opensVariables = new RegExp(`${VARIABLES}[^}]*$|^\\s*\\[.*\\b(?:env|\\w*headers)["']?\\s*\\]`);
const HIDDEN = '"•••"';

/** A line with the values hidden that may be secret: variables and headers, and whatever has a name that says so. */
function hideSecrets(text: string, areVariables = false): string {
  const hidden = areVariables
    ? text.replace(anySetting, `$1${HIDDEN}`)
    : text.replace(
        variablesOnOneLine,
        (_, open: string, inner: string) => open + inner.replace(anySetting, `$1${HIDDEN}`),
      );
  return hidden.replace(secretSetting, `$1${HIDDEN}`).replace(/\bck_[\w-]+/g, "ck_•••");
}

/** Whether a line stands in an entry's variables or headers, by the lines above it. */
function isAmongVariables(lines: string[], at: number): boolean {
  for (let i = at - 1; i >= Math.max(0, at - MAX_COMPARED); i--) {
    if (opensVariables.test(lines[i]!)) return !/^\s*\[/.test(lines[at]!);
    if (/\}|^\s*\[/.test(lines[i]!)) return false;
  }
  return false;
}

function shorten(line: string): string {
  return line.length > 2 * MAX_WIDTH ? `${line.slice(0, 2 * MAX_WIDTH)}…` : line;
}

function linesOf(text: string): string[] {
  const lines = text.split(/\r?\n/);
  if (lines.at(-1) === "") lines.pop();
  return lines;
}
