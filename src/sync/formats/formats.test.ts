import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { leaves } from "../leaves.js";
import { parseClaudeCode } from "./claude-code.js";
import { parseCodex } from "./codex.js";
import { parseGemini } from "./gemini.js";

const fixture = (name: string) =>
  readFileSync(join(import.meta.dirname, "../../../test/fixtures/sync", name), "utf8");
const lines = (name: string) => fixture(name).trimEnd().split("\n");
const told = (entries: { role: string; kind: string; source?: string | undefined }[]) =>
  entries.map(({ role, kind, source }) => `${role} ${kind} ${source}`);

describe("formats", () => {
  test("Claude Code: words, thinking, tools, sub-agents; what is unknown is kept raw", () => {
    const parsed = lines("claude-code.jsonl").map((line, index) => parseClaudeCode(line, `line${index}`));
    expect(parsed.map(({ outcome }) => outcome)).toEqual([
      "entries",
      "skipped",
      "entries",
      "entries",
      "entries",
      "entries",
      "raw",
      "raw",
    ]);
    expect(told(parsed.flatMap(({ entries }) => entries))).toEqual([
      "system summary model",
      "user text user",
      "assistant thinking model",
      "assistant text model",
      "assistant tool_use model",
      "tool tool_result external",
      "user text model",
      "system raw external",
      "system raw external",
    ]);
    expect(parsed[5]!.agentId).toBe("a7");
    expect(parsed[2]!.facts).toMatchObject({ workingDir: "/tmp/project", branch: "main" });
    expect(parsed[3]!.entries.map(({ key }) => key)).toEqual(["u2:0", "u2:1", "u2:2"]);
  });

  test("Codex: items, not the events that repeat them; no credentials of a remote", () => {
    const parsed = lines("codex.jsonl").map((line, index) => parseCodex(line, `line${index}`));
    expect(told(parsed.flatMap(({ entries }) => entries))).toEqual([
      "user text external",
      "user text user",
      "assistant tool_use model",
      "tool tool_result external",
      "system raw external",
    ]);
    expect(parsed[0]!.facts.repository).toBe("https://example.com/a/b.git");
    expect(parsed[6]!.entries[0]!.tool_input).toEqual({ command: ["ls"] });
  });

  test("Gemini: a whole file; half a file is none", () => {
    const parsed = parseGemini(fixture("gemini.json"))!;
    expect(told(parsed.flatMap(({ entries }) => entries))).toEqual([
      "user text user",
      "assistant thinking model",
      "assistant text model",
      "assistant tool_use model",
      "tool tool_result external",
      "system info external",
      "system raw external",
    ]);
    expect(parsed[1]!.entries.at(-1)!.content).toBe("words");
    expect(parseGemini(fixture("gemini.json").slice(0, 200))).toBeUndefined();
  });

  test("private passages do not leave, closed or not", () => {
    expect(leaves("a <private>b</private> c <PRIVATE>d\ne")).toBe("a [private] c [private]");
  });
});
