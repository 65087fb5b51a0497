import { CerverError } from "../protocol/errors.js";
import type { ConfigSyntax } from "./clients.js";
import type { EntryChange, ServerEntry } from "./entry.js";

/** A client's settings as a text that can be changed in one place, with every other byte left as it is. */
export interface ConfigText {
  /** The servers that are in it, by name. */
  servers: ReadonlyMap<string, unknown>;
  /** The text with one more server. */
  add(name: string, entry: ServerEntry): string;
  /** The text with some fields of a server changed. */
  change(name: string, changes: readonly EntryChange[]): string;
  /** The text without a server. */
  remove(name: string): string;
}

/** Reads a client's settings. Throws {@link ConfigFault} where they are not what the client itself would take. */
export async function readConfigText(text: string, syntax: ConfigSyntax, key: string): Promise<ConfigText> {
  if (syntax.format === "toml") {
    const { tomlConfig } = await import("./toml-config.js");
    return tomlConfig(text, key);
  }
  const { jsonConfig } = await import("./json-config.js");
  return jsonConfig(text, syntax, key);
}

/** What is wrong in a text, and where. */
export class ConfigFault extends Error {
  override readonly name = "ConfigFault";
  constructor(
    message: string,
    readonly line: number,
    readonly column: number,
  ) {
    super(message);
  }

  static at(text: string, offset: number, message: string): ConfigFault {
    const before = text.slice(0, offset).split("\n");
    return new ConfigFault(message, before.length, before.at(-1)!.length + 1);
  }

  /** The refusal that a person reads. */
  inFile(file: string): CerverError {
    return new CerverError(
      "invalid_request",
      `${file}:${this.line}:${this.column}: ${this.message}. The file was left alone.`,
      { hint: "Mend the file there, then run this again; --print shows what to put in by hand." },
    );
  }
}

/** The line ends that a text uses. */
export function lineEnd(text: string): "\r\n" | "\n" {
  return text.includes("\r\n") ? "\r\n" : "\n";
}
