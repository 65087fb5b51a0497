import { join } from "node:path";
import { z } from "zod";
import { readPrivateFile, writePrivateFile } from "../util/private-file.js";

const Identities = z.record(z.string(), z.string());

/** Remembers which compute this host is at each gateway, so that it stays the same one. */
export class Identity {
  readonly #path: string;

  constructor(configDir: string) {
    this.#path = join(configDir, "computes.json");
  }

  /** The id this host was given by a gateway. A file that cannot be read counts as none: a new id is made. */
  async get(gatewayUrl: string): Promise<string | undefined> {
    return (await this.#read())[gatewayUrl];
  }

  async set(gatewayUrl: string, computeId: string): Promise<void> {
    const identities = await this.#read();
    if (identities[gatewayUrl] === computeId) return;
    await writePrivateFile(
      this.#path,
      `${JSON.stringify({ ...identities, [gatewayUrl]: computeId }, null, 2)}\n`,
    );
  }

  async #read(): Promise<Record<string, string>> {
    try {
      return Identities.parse(JSON.parse((await readPrivateFile(this.#path)) ?? "{}"));
    } catch {
      return {};
    }
  }
}
