import { ANCHOR_BYTES, MORE, type Pattern } from "./pattern.js";

const HASH_BITS = 15;
const HASH_MASK = (1 << HASH_BITS) - 1;
/** Shifted by this with each byte, a hash is of the last three. */
const HASH_SHIFT = HASH_BITS / ANCHOR_BYTES;

/** Patterns, ready to be looked for. Those that come first win where two match at one place. */
export class PatternSet {
  /** Whether an anchor has this hash: one look for each byte, and almost always the only one. */
  readonly likely = new Uint8Array(1 << HASH_BITS);
  readonly byAnchor = new Map<number, Pattern[]>();
  /** The beginnings of anchors, of one byte and of two. */
  readonly beginnings = new Set<number>();
  /** A beginning of so many bytes may be seen before it is known how it goes on. */
  readonly mayBeSeen: number;

  constructor(patterns: Iterable<Pattern>, mayBeSeen: number) {
    this.mayBeSeen = mayBeSeen;
    for (const pattern of patterns) for (const anchor of pattern.anchors) this.#add(anchor, pattern);
  }

  #add(anchor: string, pattern: Pattern): void {
    const [first, second, third] = [...Buffer.from(anchor, "latin1")] as [number, number, number];
    const key = (first << 16) | (second << 8) | third;
    const others = this.byAnchor.get(key);
    if (others) others.push(pattern);
    else this.byAnchor.set(key, [pattern]);
    let hash = 0;
    for (const byte of [first, second, third]) hash = hashed(hash, byte);
    this.likely[hash] = 1;
    this.beginnings.add(ONE_BYTE | first).add((first << 8) | second);
  }
}

/** Beginnings of one byte are told from those of two by this bit. */
const ONE_BYTE = 1 << 16;

function hashed(hash: number, byte: number): number {
  return ((hash << HASH_SHIFT) ^ byte) & HASH_MASK;
}

/** Where an anchor may begin, from a place on; the text's length where none does. This is what every byte costs. */
function nextLikely(likely: Uint8Array, text: Uint8Array, from: number): number {
  const { length } = text;
  if (from + 2 >= length) return length;
  let hash = hashed(hashed(0, text[from]!), text[from + 1]!);
  for (let i = from + 2; i < length; i++) {
    hash = ((hash << HASH_SHIFT) ^ text[i]!) & HASH_MASK;
    if (likely[hash] !== 0) return i - 2;
  }
  return length;
}

const NOTHING: Buffer = Buffer.alloc(0);

/**
 * Takes what a {@link PatternSet} finds out of a stream, however the stream is cut into chunks.
 *
 * What may be the beginning of a match is held back: at most as much as the longest pattern.
 */
export class Matcher {
  /** How many matches were taken out. */
  found = 0;
  readonly #set: PatternSet;
  #held: Buffer = NOTHING;
  /** How much of what is held has been seen already. */
  #seen = 0;
  /** The three bytes before what is held. */
  #before = 0;
  /** What still belongs to the last match. */
  #tail: Uint8Array | undefined;

  constructor(set: PatternSet) {
    this.#set = set;
  }

  /** What of this chunk, and of what was held, may be seen. Often the chunk itself. */
  push(chunk: Buffer): Buffer {
    return this.#read(chunk, false);
  }

  /** What was held: nothing follows any more. */
  end(): Buffer {
    return this.#read(NOTHING, true);
  }

  /** Whether {@link flush} has something. */
  get isHolding(): boolean {
    return this.#held.length > this.#seen && this.#held.length <= this.#set.mayBeSeen;
  }

  /**
   * Lets what is held be seen, where so little of it tells nothing. It is remembered: when it was a beginning after all, the
   * rest is taken out.
   */
  flush(): Buffer {
    if (!this.isHolding) return NOTHING;
    const fresh = this.#held.subarray(this.#seen);
    this.#seen = this.#held.length;
    return fresh;
  }

  #read(chunk: Buffer, isEnd: boolean): Buffer {
    const { likely, byAnchor } = this.#set;
    const text = this.#held.length > 0 ? Buffer.concat([this.#held, chunk]) : chunk;
    const { length } = text;
    const pieces: Buffer[] = [];
    let given = this.#seen;
    let at = this.#tail ? this.#afterTail(text, 0) : 0;
    /** What is before it belongs to a match. */
    let open = at;
    if (at > given) given = at;
    let hold = -1;

    for (at = nextLikely(likely, text, at); at < length; at = nextLikely(likely, text, at)) {
      const patterns = byAnchor.get((text[at]! << 16) | (text[at + 1]! << 8) | text[at + 2]!);
      const match = patterns && this.#matchAt(patterns, text, at, isEnd);
      if (match === undefined) {
        at += 1;
        continue;
      }
      if (match === MORE) {
        hold = at;
        break;
      }
      const { pattern, end } = match;
      const from = pattern.cutFrom?.(text, at) ?? at;
      if (from > given) pieces.push(text.subarray(given, from));
      pieces.push(pattern.marker);
      this.found += 1;
      at = end - (pattern.ahead ?? 0);
      this.#tail = pattern.tail;
      if (this.#tail) at = this.#afterTail(text, at);
      open = at;
      given = Math.max(given, at);
    }

    if (hold < 0) hold = isEnd ? length : this.#beginningAt(text, open);
    if (hold > given) pieces.push(text.subarray(given, hold));
    this.#seen = Math.max(0, given - hold);
    this.#before = this.#threeBefore(text, hold);
    this.#held = hold < length ? Buffer.from(text.subarray(hold)) : NOTHING;
    return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
  }

  #matchAt(
    patterns: readonly Pattern[],
    text: Buffer,
    start: number,
    isEnd: boolean,
  ): { pattern: Pattern; end: number } | typeof MORE | undefined {
    for (const pattern of patterns) {
      if (pattern.isWord && !isWordStart(this.#threeBefore(text, start))) continue;
      const end = pattern.read(text, start);
      if (end >= 0) return { pattern, end };
      // One that comes first may still match: a later one has to wait for it.
      if (end === MORE && !isEnd) return MORE;
    }
    return undefined;
  }

  #afterTail(text: Buffer, at: number): number {
    const tail = this.#tail!;
    while (at < text.length && tail[text[at]!] === 1) at++;
    if (at < text.length) this.#tail = undefined;
    return at;
  }

  /** Where the last one or two bytes begin an anchor; the end where they do not. */
  #beginningAt(text: Buffer, from: number): number {
    const { beginnings } = this.#set;
    const { length } = text;
    const last = length - 1;
    if (last - 1 >= from && beginnings.has((text[last - 1]! << 8) | text[last]!)) return last - 1;
    return last >= from && beginnings.has(ONE_BYTE | text[last]!) ? last : length;
  }

  #threeBefore(text: Buffer, at: number): number {
    let bytes = at >= 3 ? 0 : this.#before;
    for (let i = Math.max(0, at - 3); i < at; i++) bytes = ((bytes << 8) | text[i]!) & 0xffffff;
    return bytes;
  }
}

/** Whether a word may begin after these bytes. An escape, as in JSON, a URL or a terminal's colours, is not a part of one. */
function isWordStart(before: number): boolean {
  const three = String.fromCharCode(before >> 16, (before >> 8) & 255, before & 255);
  return !/[\w-]$/.test(three) || /\\[nrt]$|%[0-9A-Fa-f]{2}$|[[\d]m$/.test(three);
}
