import type { McpClient } from "./clients.js";
import { readConfigText } from "./config-text.js";
import type { ServerEntry } from "./entry.js";

/** A client's settings with nothing but this server in them, to be put in by hand. */
export async function configBlock(client: McpClient, name: string, entry: ServerEntry): Promise<string> {
  const empty = await readConfigText("", client.syntax, client.key);
  return empty.add(name, entry);
}
