import { expect, test } from "vitest";
import { textDiff } from "./text-diff.js";

test("only what differs is shown, with the line it is at", () => {
  expect(textDiff("a\nb\nc\nd\ne\n", "a\nB\nc\nd\nx\ne\n")).toEqual([
    "@@ line 2 @@",
    "-b",
    "+B",
    "@@ line 5 @@",
    "+x",
  ]);
  expect(textDiff("", "a\nb\n")).toEqual(["@@ line 1 @@", "+a", "+b"]);
  expect(textDiff("a\n", "a\n")).toEqual([]);
});

test.each([
  ['{"env": {"PAT": "s3cret", "B": "s3cret"}, "command": "shown"}\n'],
  ['{\n  "env": {\n    "PAT": "s3cret"\n  },\n  "command": "shown"\n}\n'],
  ['{\n  "headers": { "X": "s3cret" },\n  "apiKey": "s3cret", "command": "shown"\n}\n'],
  ["[a.cerver]\ncommand = 'shown'\nenv = { PAT = 's3cret', \"B\" = \"s}3cret\" }\n"],
  ["[a.cerver.env]\nPAT = 's3cret'\nB = \"s3cret\"\n[a.b]\ncommand = 'shown'\n"],
  ['{\n  "command": "shown",\n  "args": ["--x", "ck_s3cret"]\n}\n'],
])("values that may be secret are hidden, whether they come or go: %j", (text) => {
  for (const diff of [textDiff("", text), textDiff(text, "")]) {
    expect(diff.join("\n")).not.toMatch(/s}?3cret/);
    expect(diff.join("\n")).toContain("shown");
  }
});

test("a value among variables is hidden when only its line differs", () => {
  const text = (value: string) => `{\n  "env": {\n    "A": "1",\n    "PAT": "${value}"\n  }\n}\n`;
  expect(textDiff(text("one"), text("two"))).toEqual([
    "@@ line 4 @@",
    '-    "PAT": "•••"',
    '+    "PAT": "•••"',
  ]);
});

test("of one long line only the part that differs is shown", () => {
  const others = `"other": {"env": {"PAT": "s3cret"}, "x": "${"y".repeat(400)}"}`;
  const diff = textDiff(
    `{"mcpServers":{${others}}}`,
    `{"mcpServers":{"cerver":{"command":"node"},${others}}}`,
  );
  expect(diff).toEqual(["@@ line 1 @@", expect.stringMatching(/^\+….*cerver.*node.*…$/)]);
  expect(diff[1]!.length).toBeLessThan(60);
});
