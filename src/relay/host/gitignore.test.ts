import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isIgnored, parseIgnoreFile } from "./gitignore.js";
import { byteText } from "./tree-hash.js";

/** Pattern, path (with a slash at its end for a folder), whether gitignore(5) ignores it. */
const TABLE: [pattern: string, path: string, ignored: boolean][] = [
  ["a", "a", true],
  ["a", "b/a", true],
  ["a", "aa", false],
  ["/a", "a", true],
  ["/a", "b/a", false],
  ["a/", "a", false],
  ["a/", "a/", true],
  ["a/", "b/a/", true],
  ["a/b", "a/b", true],
  ["a/b", "c/a/b", false],
  ["*.log", "x.log", true],
  ["*.log", "d/x.log", true],
  ["*.log", ".log", true],
  ["*.log", "x.log.txt", false],
  ["a*c", "abbc", true],
  ["d/*.log", "d/x.log", true],
  ["d/*.log", "d/e/x.log", false],
  ["d/*", "d/e/", true],
  ["**/a", "a", true],
  ["**/a", "x/y/a", true],
  ["**/a/b", "x/a/b", true],
  ["**/a", "xa", false],
  ["a/**", "a/b/c", true],
  ["a/**", "a/", false],
  ["a/**/b", "a/b", true],
  ["a/**/b", "a/x/y/b", true],
  ["a/**/b", "ab", false],
  ["a/***/b", "a/x/b", true],
  ["**", "a/b", true],
  ["/**", "a", true],
  ["**.log", "x.log", true],
  ["d/**.log", "d/x.log", true],
  ["d/**.log", "d/e/x.log", false],
  ["a**/b", "ax/b", true],
  ["a**/b", "a/x/b", true],
  ["?a**/b", "xa/x/b", false],
  ["d/x**", "d/xy/z", true],
  ["?", "a", true],
  ["?", "é", false],
  ["??", "é", true],
  ["a?b", "a/b", false],
  ["[abc]", "b", true],
  ["[!abc]", "b", false],
  ["[^abc]", "d", true],
  ["[a-c]x", "bx", true],
  ["[]]", "]", true],
  ["[]-a]", "^", true],
  ["[a-]", "-", true],
  ["[[:digit:]]", "5", true],
  ["[[:digit:]]", "x", false],
  ["[[:nope:]]", "x", false],
  ["[\\]]", "]", true],
  ["d[/]e", "d/e", false],
  ["[a", "[a", false],
  ["a\\", "a\\", false],
  ["\\a", "a", true],
  ["\\#x", "#x", true],
  ["#x", "#x", false],
  ["\\!x", "!x", true],
  ["x ", "x", true],
  ["x\\ ", "x ", true],
  ["x\\ ", "x", false],
  [" x", " x", true],
  [" x", "x", false],
  ["x\r", "x", true],
  ["x\t", "x\t", true],
  ["*\n!a", "a", false],
  ["*\n!a", "b", true],
  ["!a\na", "a", true],
  ["!", "a", false],
  ["/", "a", false],
  ["", "a", false],
  ["\uFEFFa", "a", true],
  ["ünï*", "ünïcode", true],
  ["a.c", "abc", false],
  ["(a|b)+$", "a", false],
];

const ignores = (pattern: string, path: string) => {
  const isFolder = path.endsWith("/");
  return isIgnored([parseIgnoreFile(Buffer.from(pattern), "")], byteText(path.replace(/\/$/, "")), isFolder);
};

describe("what git ignores", () => {
  test.each(TABLE)("%j over %j: %j", (pattern, path, ignored) => {
    expect(ignores(pattern, path)).toBe(ignored);
  });

  test("is said by the nearest file that has a word about it", () => {
    const files = [
      parseIgnoreFile(Buffer.from("*.txt\n"), ""),
      parseIgnoreFile(Buffer.from("*.md\n/top\n"), ""),
      parseIgnoreFile(Buffer.from("!*.md\n/a\n"), "d/"),
    ];
    expect(isIgnored(files, "x.txt", false)).toBe(true);
    expect(isIgnored(files, "x.md", false)).toBe(true);
    expect(isIgnored(files, "d/x.md", false)).toBe(false);
    expect(isIgnored(files, "d/a", false)).toBe(true);
    expect(isIgnored(files, "d/e/a", false)).toBe(false);
    expect(isIgnored(files, "d/top", false)).toBe(false);
  });

  test("does not let a hostile pattern stop the relay", () => {
    const started = performance.now();
    expect(ignores(`${"*a".repeat(1000)}b`, "a".repeat(250))).toBe(false);
    expect(ignores(`${"**/".repeat(1000)}b`, "a/".repeat(2000).slice(0, -1))).toBe(false);
    expect(performance.now() - started).toBeLessThan(5_000);
  });

  test.each([
    ["patterns with wildcards", `${`${"*a".repeat(50)}\n`.repeat(330)}`],
    ["patterns without", "a\n".repeat(33_000)],
    ["sets of many characters", `[${"[:".repeat(2000)}\n`.repeat(250)],
  ])(
    "refuses more %s than a path can be compared with, in one file or in those above it together",
    (_, text) => {
      const started = performance.now();
      const half = Buffer.from(text.slice(0, text.length / 2));
      const above = parseIgnoreFile(half.subarray(0, 20_000), "");
      for (const read of [
        () => parseIgnoreFile(Buffer.from(text), "d/é/"),
        () => parseIgnoreFile(half, "d/é/", [above, above]),
      ]) {
        expect(read).toThrow(
          /^The ignore rules that apply in the folder ".+" are more than are read: 32768 char/,
        );
      }
      expect(performance.now() - started).toBeLessThan(2_000);
    },
  );
});

const hasGit = spawnSync("git", ["--version"]).status === 0;
describe.skipIf(!hasGit)("git itself agrees", () => {
  let repository: string;
  const git = (args: string[], input?: string) =>
    spawnSync("git", ["-C", repository, "-c", "core.excludesFile=/dev/null", ...args], {
      encoding: "utf8",
      ...(input !== undefined && { input }),
    });
  beforeAll(() => {
    repository = mkdtempSync(join(tmpdir(), "cerver-ignore-"));
    execFileSync("git", ["init", "-q", repository]);
  });
  afterAll(() => rmSync(repository, { recursive: true, force: true }));

  /** Which of these paths git ignores by these patterns: it looks at the disk for what is a folder. */
  const gitIgnores = (patterns: string, paths: readonly string[]): string[] => {
    rmSync(join(repository, ".git/info/exclude"), { force: true });
    for (const path of paths) {
      const full = join(repository, path);
      mkdirSync(path.endsWith("/") ? full : dirname(full), { recursive: true });
      if (!path.endsWith("/")) writeFileSync(full, "");
    }
    writeFileSync(join(repository, ".gitignore"), patterns);
    // With a slash at its end, git would take a path's name for empty.
    const bare = paths.map((path) => path.replace(/\/$/, ""));
    const { stdout } = git(["check-ignore", "-z", "--stdin"], bare.join("\0"));
    const ignored = new Set(stdout.split("\0"));
    for (const path of paths) rmSync(join(repository, path.split("/")[0]!), { recursive: true, force: true });
    return paths.filter((_, index) => ignored.has(bare[index]!));
  };
  /** Ours, with the folders above looked at first, as the walk does. */
  const weIgnore = (patterns: string, paths: readonly string[]) =>
    paths.filter((path) => {
      const parts = path.replace(/\/$/, "").split("/");
      return parts.some((_, index) => {
        const isLast = index === parts.length - 1;
        return ignores(
          patterns,
          parts.slice(0, index + 1).join("/") + (isLast && !path.endsWith("/") ? "" : "/"),
        );
      });
    });

  test("about the table", () => {
    for (const [pattern, path] of TABLE) {
      expect([pattern, path, gitIgnores(pattern, [path])]).toEqual([
        pattern,
        path,
        weIgnore(pattern, [path]),
      ]);
    }
  });

  test("about patterns nobody thought of", () => {
    const piece = fc.constantFrom(
      "a",
      "b",
      "*",
      "**",
      "?",
      "/",
      "[ab]",
      "[!a]",
      "[b-",
      "\\",
      "!",
      " ",
      "é",
      "]",
    );
    const pattern = fc.array(piece, { minLength: 1, maxLength: 7 }).map((parts) => parts.join(""));
    const paths = ["a", "ab", "b/a", "b/b/a/b", "d/é", "d/a b", "e/a/", "f/aab/b"];
    fc.assert(
      fc.property(fc.array(pattern, { minLength: 1, maxLength: 3 }), (patterns) => {
        const text = patterns.join("\n");
        expect(weIgnore(text, paths)).toEqual(gitIgnores(text, paths));
      }),
      { numRuns: 150 },
    );
  }, 120_000);
});
