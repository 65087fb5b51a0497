import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import {
  CASSETTE_VERSION,
  type CassetteHeader,
  type CassetteLine,
  MAX_CASSETTE_BYTES,
  MAX_CASSETTE_CALLS,
} from "../../protocol/cassette.js";
import { CerverError } from "../../protocol/errors.js";
import type { ProviderName } from "../../protocol/providers.js";
import type { CassetteSink } from "./recorder.js";

/** The first line of a cassette that is recorded from now on. */
export function headerNow(provider: ProviderName, now: number = Date.now()): CassetteHeader {
  const instant = new Date(now).toISOString();
  return {
    kind: "cassette",
    version: CASSETTE_VERSION,
    provider,
    made: "recorded",
    recorded_at: instant,
    clock: { starts_at: instant },
  };
}

/** A cassette in a file of its own, which only its owner may read. Lines are there as soon as they are written. */
export class CassetteFile implements CassetteSink {
  readonly #path: string;
  readonly #file: number;
  #bytes = 0;
  #calls = 0;
  #left = 0;

  /** Throws `conflict` when the file is there already: nothing is recorded over. */
  constructor(path: string, header: CassetteHeader) {
    this.#path = path;
    try {
      this.#file = openSync(path, "wx", 0o600);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      const isThere = code === "EEXIST";
      throw new CerverError(
        isThere ? "conflict" : "invalid_request",
        isThere ? `${path} is there already.` : `${path} cannot be written: ${code ?? message}.`,
        { hint: "Choose another file with --out.", cause: error },
      );
    }
    this.#put(header);
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Calls that did not fit any more. */
  get left(): number {
    return this.#left;
  }

  write(line: CassetteLine): void {
    if (line.kind === "call" && this.#calls >= MAX_CASSETTE_CALLS) this.#left++;
    else if (!this.#put(line)) this.#left++;
    else if (line.kind === "call") this.#calls++;
  }

  close(): void {
    closeSync(this.#file);
  }

  /** Closes it, and takes it away. */
  discard(): void {
    this.close();
    rmSync(this.#path, { force: true });
  }

  #put(line: CassetteLine): boolean {
    const bytes = Buffer.from(`${JSON.stringify(line)}\n`);
    if (this.#bytes + bytes.length > MAX_CASSETTE_BYTES) return false;
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#file, bytes, at);
    this.#bytes += bytes.length;
    return true;
  }
}
