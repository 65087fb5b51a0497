/** What an id names, by its prefix. */
export type IdPrefix =
  | "acct"
  | "sess"
  | "run"
  | "cmp"
  | "sbx"
  | "req"
  | "tok"
  | "dev"
  | "sub"
  | "use"
  | "orp"
  | "stress"
  | "carry"
  | "grant";

/**
 * Makes an id: the prefix, then 32 hex digits laid out as a UUID of version 7 (RFC 9562, section 5.7),
 * so that ids sort by the time they were made.
 */
export function newId<P extends IdPrefix>(prefix: P, now: number = Date.now()): `${P}_${string}` {
  const bytes = random16();
  for (let i = 0, ms = now; i < 6; i++, ms = Math.floor(ms / 256)) bytes[5 - i] = ms % 256;
  bytes[6] = (bytes[6]! & 0x0f) | 0x70;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  let hex = "";
  for (const byte of bytes) hex += HEX[byte];
  return `${prefix}_${hex}`;
}

/** Random bytes come cheaper many at a time: asking the system takes as long for sixteen as for all of these. */
const POOL = new Uint8Array(4096);
let used = POOL.length;

/** Sixteen random bytes that nobody has had before. */
function random16(): Uint8Array {
  if (used === POOL.length) {
    crypto.getRandomValues(POOL);
    used = 0;
  }
  used += 16;
  return POOL.slice(used - 16, used);
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));
