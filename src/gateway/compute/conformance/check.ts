import { isDeepStrictEqual } from "node:util";
import type { ProviderAdapter } from "../contract.js";
import type { CheckContext } from "./context.js";

/** An adapter, and with what it is tried. */
export interface ConformanceTarget {
  adapter: ProviderAdapter;
  /** The compute to make sandboxes on. */
  computeId: string;
  credentials: Readonly<Record<string, string>>;
}

/** One thing that every adapter has to keep. */
export interface ConformanceCheck {
  /** Words with hyphens, for `--only`. */
  name: string;
  /** What has to be true, as a sentence. */
  about: string;
  /** How long it may take, in seconds: {@link DEFAULT_CHECK_SECONDS} unless said. */
  seconds?: number;
  /** Resolves when it is true. Throws {@link CheckFailed} when not, {@link CheckSkipped} when it does not apply here. */
  run(context: CheckContext): Promise<void>;
}

export const DEFAULT_CHECK_SECONDS = 60;

/** What a check found wrong, in words for the one who writes the adapter. */
export class CheckFailed extends Error {
  override readonly name = "CheckFailed";
}

/** Why a check does not apply. */
export class CheckSkipped extends Error {
  override readonly name = "CheckSkipped";
}

/** Fails the check with this sentence unless the condition holds. */
export function must(holds: boolean, sentence: string): asserts holds {
  if (!holds) throw new CheckFailed(sentence);
}

/** Fails the check unless both are the same all through; `what` names the value. */
export function same(found: unknown, expected: unknown, what: string): void {
  if (isDeepStrictEqual(found, expected)) return;
  throw new CheckFailed(`${what}: expected ${shown(expected)}, found ${shown(found)}.`);
}

/** Fails the check unless the bytes are the same; says where they part. */
export function sameBytes(found: Uint8Array, expected: Uint8Array, what: string): void {
  if (Buffer.compare(found, expected) === 0) return;
  let at = 0;
  while (at < found.length && at < expected.length && found[at] === expected[at]) at++;
  throw new CheckFailed(
    `${what}: ${found.length} bytes instead of ${expected.length}; they part at byte ${at}, ` +
      `where ${hex(found, at)} stands instead of ${hex(expected, at)}.`,
  );
}

function hex(bytes: Uint8Array, at: number): string {
  return at < bytes.length ? Buffer.from(bytes.subarray(at, at + 8)).toString("hex") : "the end";
}

/** A value as a sentence can hold it. */
export function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 300 ? `${text.slice(0, 200)} … ${text.slice(-60)} (${text.length} characters)` : text;
}
