import { join } from "node:path";
import { z } from "zod";
import { CerverError } from "../protocol/errors.js";
import { isLock, takeLock } from "../util/lock-file.js";
import { parseJson } from "../util/parse-json.js";
import { readPrivateFile, writePrivateFile } from "../util/private-file.js";

export type Credentials = Record<string, string>;

const Credentials = z.record(z.string(), z.string());
const LOCK_TRIES = 100;
const LOCK_WAIT_MS = 20;

/** The file `credentials.json`, which only this user can read: credentials, or where they are, by their keys. */
export class CredentialFile {
  readonly path: string;

  constructor(configDir: string) {
    this.path = join(configDir, "credentials.json");
  }

  async read(): Promise<Credentials> {
    const text = await readPrivateFile(this.path);
    if (text === undefined) return {};
    const credentials = Credentials.safeParse(parseJson(text));
    if (credentials.success) return credentials.data;
    throw new CerverError(
      "conflict",
      `The file ${this.path} is damaged, so nothing was read from it or written to it.`,
      { hint: "Move it away, then log in again with `cerver login`." },
    );
  }

  /** Changes it as a whole: a reader sees all of a change or nothing of it, and no other change gets lost. */
  async change(apply: (credentials: Credentials) => void): Promise<void> {
    const lock = await waitForLock(`${this.path}.lock`);
    try {
      const credentials = await this.read();
      apply(credentials);
      await writePrivateFile(this.path, `${JSON.stringify(credentials, null, 2)}\n`);
    } finally {
      await lock.release();
    }
  }
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
