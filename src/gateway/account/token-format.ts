import { createHash, randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";

/**
 * An API token: `ck_`, 32 random bytes in base62 (43 characters), and the CRC-32 of those characters in base62 (6).
 *
 * The checksum lets scanners and this gateway tell a token from a typo without a look-up.
 */
export function newToken(): string {
  const secret = base62(BigInt(`0x${randomBytes(32).toString("hex")}`), SECRET_LENGTH);
  return `${PREFIX}${secret}${checksum(secret)}`;
}

/** Whether a text can be a token of ours at all. */
export function isTokenShaped(text: string): boolean {
  const match = TOKEN.exec(text);
  return match !== null && checksum(match[1]!) === match[2];
}

/** How a secret is kept: SHA-256, hex. It has 256 random bits, so a slow hash would protect nothing more. */
export function hashSecret(secret: string): string {
  return createHash("sha256").update(secret).digest("hex");
}

/** A secret that is typed by nobody: 32 random bytes, safe in a URL. */
export function randomSecret(): string {
  return randomBytes(32).toString("base64url");
}

/** The beginning that a token is listed and revoked by. */
export function tokenPrefix(token: string): string {
  return token.slice(0, PREFIX.length + 8);
}

const PREFIX = "ck_";
const SECRET_LENGTH = 43;
const TOKEN = /^ck_([0-9A-Za-z]{43})([0-9A-Za-z]{6})$/;
const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

function checksum(secret: string): string {
  return base62(BigInt(crc32(secret)), 6);
}

function base62(value: bigint, length: number): string {
  let text = "";
  for (let rest = value; text.length < length; rest /= 62n) text = DIGITS[Number(rest % 62n)] + text;
  return text;
}
