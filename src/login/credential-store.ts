import { createHash } from "node:crypto";
import { CerverError } from "../protocol/errors.js";
import type { Env } from "../util/paths.js";
import { CredentialFile } from "./credential-file.js";
import { Keychain, KeychainFailure } from "./keychain.js";

/** Where credentials are kept: by a key such as `api:http://127.0.0.1:8787`. */
export interface CredentialStore {
  /** Where one is, in words for people; undefined when there is none. */
  where(key: string): Promise<string | undefined>;
  /** The file, in words for people, and which credentials it says are in the keychain. */
  places(): Promise<{ file: string; keysInKeychain: string[] }>;
  get(key: string): Promise<string | undefined>;
  /** Keeps one, and says where, in words that follow "is in". */
  set(key: string, value: string): Promise<string>;
  delete(key: string): Promise<void>;
}

/** The file then holds this and the name of an entry, in the place of the credential. */
const REFERENCE = "keychain:";
const CHOICES = ["keychain", "file"] as const;

/**
 * Opens this user's credentials: in the system's keychain where that works, else in a file that only this user can read.
 *
 * The file says where each one is, so a machine without a keychain never looks for one, and a credential moves by one
 * change of the file, after it was kept anew and read back: whenever a write is cut off, the one before still holds.
 * `CERVER_CREDENTIALS` chooses where the next is kept; all are read from where they are.
 */
export function openCredentialStore({
  configDir,
  env,
  unattended = false,
}: {
  configDir: string;
  env: Env;
  /** Whoever uses it may start while nobody has unlocked a keychain: what is kept for that goes into the file. */
  unattended?: boolean;
}): CredentialStore {
  const file = new CredentialFile(configDir);
  const keychain = new Keychain(env);
  const inFile = `the file ${file.path}, readable by you alone`;

  const read = async (key: string) => {
    const kept = (await file.read())[key];
    const name = entryName(kept);
    if (name === undefined) return kept;
    try {
      const value = await keychain.get(name);
      // Somebody has taken it out of the keychain: that it was there is of no use to anyone.
      if (value === undefined) await forgetIn(file, key, kept!);
      return value;
    } catch (error) {
      throw inWords(error, (why) => [
        `The token is in ${keychain.label}, which cannot be read, because ${why}.`,
        "Unlock it and try again, or log in with CERVER_CREDENTIALS=file in the environment to keep the token in a file.",
      ]);
    }
  };

  /** Into the keychain goes the new one, and what is still in the file. */
  const keepInKeychain = async (key: string, value: string) => {
    const before = await file.read();
    const moving = Object.entries({ ...before, [key]: value })
      .filter(([, kept]) => entryName(kept) === undefined)
      .map(([key, value]) => ({ key, value, name: nameOf(key, value) }));
    await keychain.put(Object.fromEntries(moving.map(({ name, value }) => [name, value])));
    const names = [...moving.map(({ name }) => name), ...entryNames(before[key])];
    let used = new Set<string>();
    await file.change((credentials) => {
      for (const one of moving) {
        // What another process has changed or forgotten meanwhile is not moved.
        if (one.key === key || credentials[one.key] === before[one.key])
          credentials[one.key] = REFERENCE + one.name;
      }
      used = new Set(Object.values(credentials).flatMap(entryNames));
    });
    await forget(
      keychain,
      names.filter((name) => !used.has(name)),
    );
  };

  const keepInFile = async (key: string, value: string) => {
    const unused: string[] = [];
    await file.change((credentials) => {
      unused.push(...entryNames(credentials[key]));
      credentials[key] = value;
    });
    await forget(keychain, unused);
  };

  return {
    where: async (key) => {
      const kept = (await file.read())[key];
      if (kept === undefined) return undefined;
      return entryName(kept) === undefined ? inFile : keychain.label;
    },
    places: async () => ({
      file: inFile,
      keysInKeychain: Object.entries(await file.read()).flatMap(([key, kept]) =>
        entryName(kept) === undefined ? [] : key,
      ),
    }),
    get: read,
    set: async (key, value) => {
      const asked = credentialsChoice(env);
      const choice = asked ?? (unattended ? "file" : undefined);
      const kept = (await file.read())[key];
      if (kept === value && choice !== "keychain") return inFile;
      if (kept === REFERENCE + nameOf(key, value) && choice !== "file") return keychain.label;
      if (choice === "file") {
        await keepInFile(key, value);
        return `${inFile}, ${asked ? "as CERVER_CREDENTIALS asks for" : "because a service starts before anybody has unlocked a keychain"}`;
      }
      try {
        await keepInKeychain(key, value);
        return keychain.label;
      } catch (error) {
        const failure = inWords(error, (why) => [
          `Nothing was kept in ${keychain.label}, because ${why}.`,
          "Without CERVER_CREDENTIALS=keychain a file is used in its place.",
        ]);
        if (choice === "keychain" || !(error instanceof KeychainFailure)) throw failure;
        await keepInFile(key, value);
        return `${inFile}, because ${error.message}`;
      }
    },
    delete: async (key) => {
      const names = entryNames((await file.read())[key]);
      try {
        await keychain.remove(names);
      } catch (error) {
        throw inWords(error, (why) => [
          `The token is still in ${keychain.label}, because ${why}.`,
          "Unlock it and try again.",
        ]);
      }
      await file.change((credentials) => {
        delete credentials[key];
      });
    },
  };
}

/** What `CERVER_CREDENTIALS` says; undefined when it is left to what this machine has. */
export function credentialsChoice({ CERVER_CREDENTIALS: text }: Env): (typeof CHOICES)[number] | undefined {
  const choice = CHOICES.find((one) => one === text);
  if (choice || !text) return choice;
  throw new CerverError("invalid_request", `CERVER_CREDENTIALS: "${text}" is not a place for credentials.`, {
    hint: "Set it to keychain or to file, or leave it out: then it is the keychain where there is one.",
  });
}

/** The key of an account's token at a gateway. */
export function apiKey(gatewayUrl: string): string {
  return `api:${gatewayUrl}`;
}

/** The key of a relay's own token at a gateway. */
export function relayKey(gatewayUrl: string): string {
  return `relay:${gatewayUrl}`;
}

/** An entry's name tells its value from others, so that the one before stays whole until the file names this one. */
function nameOf(key: string, value: string): string {
  return `${key} ${createHash("sha256").update(value).digest("hex").slice(0, 16)}`;
}

async function forgetIn(file: CredentialFile, key: string, kept: string): Promise<void> {
  await file.change((credentials) => {
    if (credentials[key] === kept) delete credentials[key];
  });
}

function entryName(kept: string | undefined): string | undefined {
  return kept?.startsWith(REFERENCE) ? kept.slice(REFERENCE.length) : undefined;
}

function entryNames(kept: string | undefined): string[] {
  const name = entryName(kept);
  return name === undefined ? [] : [name];
}

/** An entry that nothing names any more does no harm: its removal may fail. */
async function forget(keychain: Keychain, names: string[]): Promise<void> {
  await keychain.remove(names).catch((error: unknown) => {
    if (!(error instanceof KeychainFailure)) throw error;
  });
}

function inWords(error: unknown, words: (why: string) => [message: string, hint: string]): unknown {
  if (!(error instanceof KeychainFailure)) return error;
  const [message, hint] = words(error.message);
  return new CerverError("unsupported", message, { hint, cause: error });
}
