import { ANCHOR_BYTES, MORE, markerOf, NO, type Pattern } from "./pattern.js";

/** A value that must not be seen, and the name that stands in its place. */
export interface NamedSecret {
  name: string;
  value: string;
}

/** Shorter values cannot be told from ordinary text, so they are not looked for. In characters. */
export const SHORTEST_SECRET = 4;
/** Of a value of several lines each line of this length is a secret as well: programs print line by line. */
const SHORTEST_LINE = 16;
/** A longer value is looked for in pieces, so that what is held back of a stream stays small. In characters. */
const PIECE_LENGTH = 16_384;

/**
 * Finds a value as it is, escaped for JSON, HTML and shells, in a URL, in hex and in base64 at any offset, wrapped or not.
 * A value that is too short to be looked for has no patterns.
 */
export function secretPatterns({ name, value }: NamedSecret): Pattern[] {
  const marker = markerOf(name);
  const text = value.trim();
  if (text.length < SHORTEST_SECRET) return [];
  const lines = text.split(/[\r\n]+/).filter((line) => line.trim().length >= SHORTEST_LINE);
  const wanted = new Set([...piecesOf(text), ...lines.flatMap((line) => piecesOf(line.trim()))]);
  return [...wanted].flatMap((one) => [
    ...escaped(one).map((form) => sameBytes(marker, form)),
    inUrl(marker, Buffer.from(one)),
    inHex(marker, Buffer.from(one)),
    ...[0, 1, 2].map((offset) => inBase64(marker, Buffer.from(one), offset)),
  ]);
}

function piecesOf(text: string): string[] {
  const pieces: string[] = [];
  for (let at = 0; at < text.length; at += PIECE_LENGTH) pieces.push(text.slice(at, at + PIECE_LENGTH));
  return pieces.filter(({ length }) => length >= SHORTEST_SECRET);
}

/** As it is, and as it stands in texts that escape some of its characters. */
function escaped(text: string): Buffer[] {
  const inJson = json(text);
  const once = [
    inJson,
    ascii(inJson, (code) => code),
    ascii(inJson, (code) => code.toUpperCase()),
    inJson.replace(/[<>&\u2028\u2029]/g, unicodeEscape),
    inJson.replaceAll("/", "\\/"),
  ];
  const html = text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const forms = [
    text,
    ...once,
    ...once.map(json),
    text.replaceAll("\n", "\r\n"),
    text.replaceAll("'", `'\\''`),
    text.replaceAll("'", "\\'"),
    html,
    ...["&#39;", "&#x27;", "&apos;"].map((quote) => html.replaceAll('"', "&quot;").replaceAll("'", quote)),
  ];
  return [...new Set(forms)].map((form) => Buffer.from(form));
}

function json(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}

function ascii(text: string, spell: (code: string) => string): string {
  return text.replace(/[^\x20-\x7e]/g, (unit) => `\\u${spell(unicodeEscape(unit).slice(2))}`);
}

function unicodeEscape(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

function sameBytes(marker: Buffer, needle: Buffer): Pattern {
  return {
    marker,
    anchors: [needle.toString("latin1", 0, ANCHOR_BYTES)],
    read(text, at) {
      const common = Math.min(needle.length, text.length - at);
      for (let i = 0; i < common; i++) if (text[at + i] !== needle[i]) return NO;
      return common === needle.length ? at + common : MORE;
    },
  };
}

/** Every byte may stand for itself or be percent-encoded, and a space may be a `+`. */
function inUrl(marker: Buffer, value: Buffer): Pattern {
  const spellings = [...value.subarray(0, ANCHOR_BYTES)].map((byte) => {
    const code = `%${byte.toString(16).padStart(2, "0")}`;
    return [String.fromCharCode(byte), code, code.toUpperCase(), ...(byte === SPACE ? ["+"] : [])];
  });
  return {
    marker,
    anchors: beginnings(spellings),
    read(text, at) {
      for (const byte of value) {
        const found = text[at];
        if (found === undefined) return MORE;
        if (found === PERCENT) {
          const high = HEX_VALUE[text[at + 1] ?? 0]!;
          const low = HEX_VALUE[text[at + 2] ?? 0]!;
          if (at + 1 >= text.length) return MORE;
          if (at + 2 >= text.length && high === byte >> 4) return MORE;
          if (at + 2 < text.length && high === byte >> 4 && low === (byte & 15)) {
            at += 3;
            continue;
          }
        }
        if (found !== byte && !(found === PLUS && byte === SPACE)) return NO;
        at += 1;
      }
      return at;
    },
  };
}

function inHex(marker: Buffer, value: Buffer): Pattern {
  const needle = Buffer.from(value.toString("hex"));
  return wrapped(marker, needle, HEX_ALPHABET);
}

/** The letters of a value in base64 that are the same whatever stands before and after it. */
function inBase64(marker: Buffer, value: Buffer, offset: number): Pattern {
  const all = Buffer.concat([Buffer.alloc(offset), value]);
  const sure = all.toString("base64").slice(Math.ceil((offset * 8) / 6), Math.floor((all.length * 8) / 6));
  return wrapped(marker, Buffer.from(sure), BASE64_ALPHABET);
}

/** Letters of an encoding with more than one spelling for some. Lines may break between any two. */
function wrapped(marker: Buffer, needle: Buffer, alphabet: Uint8Array): Pattern {
  const spellings = [...needle.subarray(0, ANCHOR_BYTES)].map((letter) => spellingsOf(letter, alphabet));
  const [first, second, third] = spellings as [string[], string[], string[]];
  const broken = ["\n", "\r\n"].flatMap((end) => [
    ...beginnings([first, [end], second, third]),
    ...beginnings([first, second, [end], third]),
  ]);
  return {
    marker,
    anchors: [...new Set([...beginnings(spellings), ...broken])],
    read(text, at) {
      for (let i = 0; i < needle.length; i++) {
        if (i > 0) {
          if (text[at] === CR) at++;
          if (text[at] === LF) at++;
        }
        if (at >= text.length) return MORE;
        if (alphabet[text[at]!] !== needle[i]) return NO;
        at++;
      }
      return at;
    },
  };
}

function spellingsOf(letter: number, alphabet: Uint8Array): string[] {
  const spellings: string[] = [];
  for (let byte = 0; byte < 128; byte++)
    if (alphabet[byte] === letter) spellings.push(String.fromCharCode(byte));
  return spellings;
}

/** The first three bytes of every combination. */
function beginnings(spellings: readonly string[][]): string[] {
  let begun = [""];
  for (const some of spellings)
    begun = begun.flatMap((text) => (text.length >= ANCHOR_BYTES ? [text] : some.map((one) => text + one)));
  return [...new Set(begun.map((text) => text.slice(0, ANCHOR_BYTES)))];
}

const [PERCENT, PLUS, SPACE, CR, LF] = [0x25, 0x2b, 0x20, 0x0d, 0x0a];

/** For each byte the letter that it means. */
function alphabetOf(letters: string, also: Record<string, string>): Uint8Array {
  const means = new Uint8Array(256);
  for (const letter of letters) means[letter.charCodeAt(0)] = letter.charCodeAt(0);
  for (const [spelling, letter] of Object.entries(also)) means[spelling.charCodeAt(0)] = letter.charCodeAt(0);
  return means;
}

const HEX_ALPHABET = alphabetOf("0123456789abcdef", { A: "a", B: "b", C: "c", D: "d", E: "e", F: "f" });
const HEX_VALUE = new Uint8Array(256).fill(255);
for (const [byte, means] of HEX_ALPHABET.entries())
  if (means > 0) HEX_VALUE[byte] = Number.parseInt(String.fromCharCode(means), 16);
const BASE64_ALPHABET = alphabetOf("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", {
  "-": "+",
  _: "/",
});
