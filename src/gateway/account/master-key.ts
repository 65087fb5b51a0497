import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  hkdfSync,
  randomBytes,
  timingSafeEqual,
} from "node:crypto";
import { CerverError } from "../../protocol/errors.js";
import { readPrivateFile, writePrivateFile } from "../../util/private-file.js";

const KEY_BYTES = 32;
const IV_BYTES = 12;
const TAG_BYTES = 16;

/** Where the keys come from: the environment's, else those of a file that is made at first use. */
export interface MasterKeySource {
  /** `CERVER_MASTER_KEY`: one key or several separated by commas, the current one first; base64 or hex. */
  given?: string | undefined;
  /** A file with mode 0600, one key a line, the current one first. */
  file: string;
}

interface Key {
  id: string;
  bytes: Buffer;
}

/**
 * Seals what the database has to hold and nobody may read there: AES-256-GCM (NIST SP 800-38D) with a random nonce and
 * the owner as additional data, so that what is sealed for one opens for nobody else.
 *
 * A sealed text begins with the id of its key: keys that were replaced still open what they sealed.
 */
export class MasterKey {
  readonly #source: MasterKeySource;
  #keys: readonly Key[];

  private constructor(source: MasterKeySource, keys: readonly Key[]) {
    this.#source = source;
    this.#keys = keys;
  }

  static async open(source: MasterKeySource): Promise<MasterKey> {
    return new MasterKey(
      source,
      source.given ? parseKeys(source.given, "CERVER_MASTER_KEY") : await keysOf(source.file),
    );
  }

  /** Whether the keys are those of the file, which rotation may change. */
  get isFromFile(): boolean {
    return !this.#source.given;
  }

  /** Seals a text for an owner, such as `acct_1/vercel`. */
  seal(text: string, owner: string): string {
    const [key] = this.#keys;
    const iv = randomBytes(IV_BYTES);
    const cipher = createCipheriv("aes-256-gcm", subkey(key!, "seal"), iv).setAAD(Buffer.from(owner));
    const sealed = Buffer.concat([iv, cipher.update(text, "utf8"), cipher.final(), cipher.getAuthTag()]);
    return `${key!.id}.${sealed.toString("base64url")}`;
  }

  /** Opens what was sealed for this owner. Throws `internal` when its key is not here or it was changed. */
  async open(sealed: string, owner: string): Promise<string> {
    const [id = "", body = ""] = sealed.split(".");
    const key = await this.#key(id);
    if (!key) throw cannotOpen("the key that it was sealed with is not here");
    const bytes = Buffer.from(body, "base64url");
    const end = bytes.length - TAG_BYTES;
    if (end < IV_BYTES) throw cannotOpen("it is not complete");
    try {
      const decipher = createDecipheriv("aes-256-gcm", subkey(key, "seal"), bytes.subarray(0, IV_BYTES))
        .setAAD(Buffer.from(owner))
        .setAuthTag(bytes.subarray(end));
      return decipher.update(bytes.subarray(IV_BYTES, end), undefined, "utf8") + decipher.final("utf8");
    } catch (error) {
      throw cannotOpen("it was changed, or sealed for another owner", error);
    }
  }

  /** Whether a text was sealed with a key that has been replaced. */
  isOld(sealed: string): boolean {
    return !sealed.startsWith(`${this.#keys[0]!.id}.`);
  }

  /** Signs a text for one purpose: HMAC-SHA-256 (RFC 2104), base64url. */
  sign(purpose: string, text: string): string {
    return mac(this.#keys[0]!, purpose, text).toString("base64url");
  }

  /** Whether one of the keys has signed this text for this purpose. */
  verifies(purpose: string, text: string, signature: string): boolean {
    const given = Buffer.from(signature, "base64url");
    return this.#keys.some((key) => {
      const right = mac(key, purpose, text);
      return given.length === right.length && timingSafeEqual(given, right);
    });
  }

  /** Puts a new key in front of those in the file. */
  async addKey(): Promise<void> {
    this.#refuseGiven();
    await this.#replace([newKey(), ...this.#keys]);
  }

  /** Keeps the current key alone: what older ones sealed has been sealed anew. */
  async dropOldKeys(): Promise<void> {
    this.#refuseGiven();
    await this.#replace(this.#keys.slice(0, 1));
  }

  #refuseGiven(): void {
    if (this.isFromFile) return;
    throw new CerverError(
      "conflict",
      "The master key comes from CERVER_MASTER_KEY, so no file can replace it.",
      {
        hint: "Put a new key in front of the old one there, separated by a comma, and run this again.",
      },
    );
  }

  async #replace(keys: readonly Key[]): Promise<void> {
    await writePrivateFile(
      this.#source.file,
      keys.map(({ bytes }) => `${bytes.toString("base64")}\n`).join(""),
    );
    this.#keys = keys;
  }

  /** A rotation by another process has changed the file: it is read again for a key that is not known. */
  async #key(id: string): Promise<Key | undefined> {
    const known = () => this.#keys.find((key) => key.id === id);
    if (!known() && this.isFromFile) this.#keys = await keysOf(this.#source.file);
    return known();
  }
}

async function keysOf(file: string): Promise<readonly Key[]> {
  const text = await readPrivateFile(file);
  if (text !== undefined) return parseKeys(text, file);
  const key = newKey();
  await writePrivateFile(file, `${key.bytes.toString("base64")}\n`);
  return [key];
}

function parseKeys(text: string, from: string): readonly Key[] {
  const words = text.split(/[\s,]+/).filter((word) => word !== "");
  const keys = words.map((word) => {
    const bytes = Buffer.from(word, /^[0-9a-fA-F]{64}$/.test(word) ? "hex" : "base64");
    if (bytes.length === KEY_BYTES) return keyOf(bytes);
    throw new CerverError(
      "invalid_request",
      `${from}: a master key has 32 bytes, and this one has ${bytes.length}.`,
      {
        hint: "Make one with `openssl rand -base64 32`.",
      },
    );
  });
  if (keys.length > 0) return keys;
  throw new CerverError("invalid_request", `${from} holds no master key.`, {
    hint: "Make one with `openssl rand -base64 32`. What was sealed with the one before cannot be opened again.",
  });
}

function newKey(): Key {
  return keyOf(randomBytes(KEY_BYTES));
}

/** A key's id says which it is, and nothing about it. */
function keyOf(bytes: Buffer): Key {
  return { id: createHash("sha256").update("cerver key id").update(bytes).digest("hex").slice(0, 8), bytes };
}

/** One use of a key says nothing about another (RFC 5869). */
function subkey(key: Key, purpose: string): Buffer {
  return Buffer.from(hkdfSync("sha256", key.bytes, "cerver", purpose, KEY_BYTES));
}

function mac(key: Key, purpose: string, text: string): Buffer {
  return createHmac("sha256", subkey(key, `sign ${purpose}`))
    .update(text)
    .digest();
}

function cannotOpen(why: string, cause?: unknown): CerverError {
  return new CerverError("internal", `A sealed credential cannot be opened: ${why}.`, {
    hint: "Start the gateway with the master key it had, or give the credential again: POST /v2/account/providers.",
    cause,
  });
}
