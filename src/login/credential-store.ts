import { join } from "node:path";
import { z } from "zod";
import { CerverError } from "../protocol/errors.js";
import { isLock, takeLock } from "../util/lock-file.js";
import { parseJson } from "../util/parse-json.js";
import { readPrivateFile, writePrivateFile } from "../util/private-file.js";

/** Where credentials are kept: by a key such as `api:http://127.0.0.1:8787`. */
export interface CredentialStore {
  /** The place, in words for people. */
  readonly where: string;
  get(key: string): Promise<string | undefined>;
  set(key: string, value: string): Promise<void>;
  delete(key: string): Promise<void>;
}

const Credentials = z.record(z.string(), z.string());
const LOCK_TRIES = 100;
const LOCK_WAIT_MS = 20;

/** Opens this user's credentials: a file that only this user can read. */
export function openCredentialStore({ configDir }: { configDir: string }): CredentialStore {
  const path = join(configDir, "credentials.json");

  const read = async () => {
    const text = await readPrivateFile(path);
    if (text === undefined) return {};
    const credentials = Credentials.safeParse(parseJson(text));
    if (credentials.success) return credentials.data;
    throw new CerverError(
      "conflict",
      `The file ${path} is damaged, so nothing was read from it or written to it.`,
      {
        hint: "Move it away, then log in again with `cerver login`.",
      },
    );
  };
  const change = async (apply: (credentials: Record<string, string>) => void) => {
    const lock = await waitForLock(`${path}.lock`);
    try {
      const credentials = await read();
      apply(credentials);
      await writePrivateFile(path, `${JSON.stringify(credentials, null, 2)}\n`);
    } finally {
      await lock.release();
    }
  };
  return {
    where: `the file ${path}, readable by you alone`,
    get: async (key) => (await read())[key],
    set: (key, value) =>
      change((credentials) => {
        credentials[key] = value;
      }),
    delete: (key) =>
      change((credentials) => {
        delete credentials[key];
      }),
  };
}

/** The key of an account's token at a gateway. */
export function apiKey(gatewayUrl: string): string {
  return `api:${gatewayUrl}`;
}

/** The key of a relay's own token at a gateway. */
export function relayKey(gatewayUrl: string): string {
  return `relay:${gatewayUrl}`;
}

async function waitForLock(path: string) {
  for (let attempt = 0; ; attempt++) {
    const lock = await takeLock(path, "credentials");
    if (isLock(lock)) return lock;
    if (attempt === LOCK_TRIES) {
      throw new CerverError("conflict", `Process ${lock.pid} keeps the credentials locked.`, {
        hint: `If no cerver runs, remove ${path}.`,
      });
    }
    await new Promise((resolve) => setTimeout(resolve, LOCK_WAIT_MS));
  }
}
