import { createHash } from "node:crypto";
import type { NewTranscriptEntry } from "../../protocol/transcript.js";

export type Tool = "claude-code" | "codex" | "gemini";

/** An entry as a transcript file tells it. `key` is the same whenever the same thing is read again. */
export interface SourceEntry extends Omit<NewTranscriptEntry, "idempotency_key"> {
  key: string;
}

/** What a file says of its session. A later line does not overrule an earlier one. */
export interface Facts {
  sessionId?: string | undefined;
  /** The tool's own id of the session that started this one. */
  parentId?: string | undefined;
  agentId?: string | undefined;
  workingDir?: string | undefined;
  branch?: string | undefined;
  repository?: string | undefined;
  model?: string | undefined;
  version?: string | undefined;
  title?: string | undefined;
  prompt?: string | undefined;
  startedAt?: string | undefined;
}

/** What one line says: entries, or nothing that a reader needs (`skipped`), or something with no name here (`raw`). */
export interface Parsed {
  entries: SourceEntry[];
  facts: Facts;
  /** Within its file, who speaks: the main agent, or a sub-agent by its id. */
  agentId?: string | undefined;
  outcome: "entries" | "skipped" | "raw";
}

/** As much of an unknown line is kept, in characters. */
export const MAX_RAW_LENGTH = 16_384;

export type Json = { readonly [name: string]: unknown };

export const isObject = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);
export const text = (value: unknown): string | undefined =>
  typeof value === "string" && value !== "" ? value : undefined;
export const items = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

/** A time as the gateway takes it; undefined when it is none. */
export function time(value: unknown): string | undefined {
  const ms = typeof value === "string" ? Date.parse(value) : Number.NaN;
  return Number.isNaN(ms) ? undefined : new Date(ms).toISOString();
}

export function hashOf(value: string | Buffer): string {
  return createHash("sha256").update(value).digest("hex").slice(0, 32);
}

/** A line that is not understood, kept as it is. */
export function rawLine(line: string, key: string, facts: Facts = {}): Parsed {
  const content = line.length > MAX_RAW_LENGTH ? `${line.slice(0, MAX_RAW_LENGTH)}…` : line;
  return {
    entries: [{ key, role: "system", kind: "raw", content, source: "external" }],
    facts,
    outcome: "raw",
  };
}

export function skipped(facts: Facts = {}): Parsed {
  return { entries: [], facts, outcome: "skipped" };
}

/** The line as an object; undefined when it is none. */
export function object(line: string): Json | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Any value as text: what tools return is a string, blocks of text, or something of their own. */
export function asText(value: unknown): string {
  if (typeof value === "string") return value;
  if (value === undefined || value === null) return "";
  const parts = items(value).map((part) => (isObject(part) ? text(part.text) : text(part)));
  if (parts.length > 0 && parts.every((part) => part !== undefined)) return parts.join("\n");
  return JSON.stringify(value);
}

/** Earlier facts stay, missing ones are filled in. */
export function mergeFacts(before: Facts, more: Facts): Facts {
  const known = Object.entries(before).filter(([, value]) => value !== undefined);
  return { ...more, ...Object.fromEntries(known) };
}
