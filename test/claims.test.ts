import { describe, expect, test } from "vitest";
import { claimsIn, type Deed, Evidence, shows } from "../src/gateway/session/claims.js";
import type { ClaimKind } from "../src/protocol/digest.js";

type Case = [said: string, kinds: ClaimKind[]];
const all = (kinds: ClaimKind[], ...said: string[]): Case[] => said.map((text) => [text, kinds]);

const SUBJECTS: Record<ClaimKind, string[]> = {
  tests: ["All tests pass", "The unit tests are passing", "The test suite is green", "42 of 42 tests passed"],
  build: ["The build succeeds", "The project compiles without errors", "The production build is clean"],
  lint: ["ESLint is clean", "The linter passes", "There are no lint errors"],
  types: ["tsc passes", "The type check is clean", "There are no type errors"],
  deploy: ["The deployment succeeded", "Version 2 is live on production", "I have successfully deployed it"],
};
/** Each claim in four settings that keep it a claim, and four that make it something else. */
const TEMPLATED: Case[] = (Object.entries(SUBJECTS) as [ClaimKind, string[]][]).flatMap(([kind, subjects]) =>
  subjects.flatMap((claim): Case[] => [
    ...all(
      [kind],
      `${claim}.`,
      `I fixed the parser. ${claim} now.`,
      `- ${claim}\n- the docs are updated`,
      `**Done!** ${claim}, and the branch is ready for review.`,
    ),
    ...all(
      [],
      `Let me check whether ${claim.toLowerCase()}.`,
      `We should merge once ${claim.toLowerCase()}.`,
      `The user said:\n> ${claim}.`,
      `\`\`\`\n${claim}\n\`\`\``,
    ),
  ]),
);
const BY_HAND: Case[] = [
  ...all(
    ["tests"],
    "12 passed, 0 failed",
    "Everything works; the specs pass.",
    "`npm test`: all 310 tests pass ✅",
    "Re-ran it: green tests across the board.",
    "Tests: 18 passed, no failures.",
    "All checks done and the whole suite succeeded.",
  ),
  ...all(["tests", "lint"], "Tests pass and eslint is clean."),
  ...all(["build"], "It builds fine.", "The code compiled successfully."),
  ...all(["types"], "It typechecks.", "mypy has no errors."),
  ...all(["deploy"], "The new version has been released.", "The site is now live at example.com."),
  ...all(
    [],
    "Two tests fail.",
    "The tests do not pass yet.",
    "I'll make sure the tests pass.",
    "Do the tests pass?",
    "The build failed with 3 errors.",
    "I haven't run the tests.",
    "Tests would pass with this change.",
    "Some of the tests pass.",
    "Please pass the test file to the runner.",
    "This function passes its arguments on.",
    "I wrote tests for the parser.",
    "Build the image first.",
    "The linter complains about line 3.",
    "We need a green build.",
    "Deploying is not part of this task.",
    "The deploy script lives in scripts/.",
    "I released the lock.",
    "The type of this value is string.",
    "The tests are in test/.",
    "I could not compile it.",
    "Run the tests to see that they pass.",
    "The test passes a string to the function.",
  ),
];
const CASES = [...TEMPLATED, ...BY_HAND];

describe("claims in what a model says", () => {
  test("are found with a precision and a recall that are known", () => {
    let right = 0;
    let wrong = 0;
    let missed = 0;
    const errors: string[] = [];
    for (const [said, wanted] of CASES) {
      const found = claimsIn(said).map(({ kind }) => kind);
      right += found.filter((kind) => wanted.includes(kind)).length;
      const extra = found.filter((kind) => !wanted.includes(kind));
      const missing = wanted.filter((kind) => !found.includes(kind));
      wrong += extra.length;
      missed += missing.length;
      if (extra.length + missing.length > 0) errors.push(`${JSON.stringify(said)} +${extra} -${missing}`);
    }
    const figures = {
      cases: CASES.length,
      precision: right / (right + wrong),
      recall: right / (right + missed),
    };
    console.info(figures, errors);
    expect(figures.cases).toBeGreaterThanOrEqual(100);
    expect(figures.precision).toBeGreaterThanOrEqual(0.95);
    expect(figures.recall).toBeGreaterThanOrEqual(0.9);
  });
});

describe("what stands behind a claim", () => {
  const ran = (seq: number, command: string, succeeded: boolean | undefined = true): Deed => ({
    seq,
    command,
    succeeded,
  });
  const changed = (seq: number): Deed => ({ seq, changed: "src/a.ts" });

  test.each<[string, Deed[], ReturnType<Evidence["whyUnbacked"]>]>([
    ["a run that succeeded", [ran(1, "npm test")], undefined],
    ["nothing", [], "no_run"],
    ["only runs of something else", [ran(1, "ls"), ran(2, "git status")], "no_run"],
    ["a run that failed", [ran(1, "npm test", false)], "run_failed"],
    ["a run whose end is not known", [{ seq: 1, command: "npm test", succeeded: undefined }], "run_failed"],
    [
      "a run that failed, then one that succeeded",
      [ran(1, "npm test", false), ran(2, "npx vitest run")],
      undefined,
    ],
    [
      "a run that succeeded, then one that failed",
      [ran(1, "pytest"), ran(2, "pytest -x", false)],
      "run_failed",
    ],
    ["a run, then a change", [ran(1, "npm test"), changed(2)], "changed_since"],
    ["a change, then a run", [changed(1), ran(2, "cargo test")], undefined],
    ["a run after the claim", [ran(11, "npm test")], "no_run"],
    ["a command that only names the tests", [ran(1, "cat test/npm-test.txt")], "no_run"],
    ["an echo of a command", [ran(1, "echo npm test")], "no_run"],
  ])("%s", (_what, deeds, why) => {
    expect(new Evidence(deeds).whyUnbacked({ kind: "tests", seq: 10 })).toBe(why);
  });

  test("commands show what they are for", () => {
    for (const command of [
      "npm test",
      "npm run test:unit",
      "npx vitest run",
      "pytest -q",
      "go test ./...",
      "cd app && cargo test",
      "make check",
      "node --test",
    ])
      expect([command, shows(command, "tests")]).toEqual([command, true]);
    for (const command of ["npm install", "git commit -m 'fix'", "grep -rn test src"])
      expect([command, shows(command, "tests")]).toEqual([command, false]);
    expect(shows("npx tsc --noEmit", "types")).toBe(true);
    expect(shows("npx biome check .", "lint")).toBe(true);
    expect(shows("npm run build", "build")).toBe(true);
    expect(shows("kubectl apply -f x.yaml", "deploy")).toBe(true);
  });
});
