/** What {@link Pattern.read} answers: not here, or: the text ends before that can be told. */
export const NO = -1;
export const MORE = -2;

/** By so many bytes a place is known where a pattern may begin. Every pattern is at least as long. */
export const ANCHOR_BYTES = 3;

/** Something that is looked for in bytes. It has no state: many streams may share it. */
export interface Pattern {
  /** What stands in the place of it. */
  readonly marker: Buffer;
  /** Its first three bytes, in each way that it may be written. */
  readonly anchors: readonly string[];
  /** Where a match ends that begins at `at`; {@link NO} or {@link MORE}. */
  read(text: Buffer, at: number): number;
  /** Where what is taken out begins, in a match at `at`: its beginning unless said. */
  cutFrom?(text: Buffer, at: number): number;
  /** So many bytes at the end of a match are only looked at. */
  readonly ahead?: number;
  /** Bytes that belong to it as well, however many follow. */
  readonly tail?: Uint8Array;
  /** It does not begin in the middle of a word. */
  readonly isWord?: boolean;
}

/** `[redacted:NAME]`. */
export function markerOf(name: string): Buffer {
  return Buffer.from(`[redacted:${name.replace(/[^\w.-]/g, "_").slice(0, 64)}]`);
}
