import type { GatewayClient } from "../client/gateway-client.js";
import { CerverError } from "../protocol/errors.js";

/** A whole id: the prefix and 32 digits, or any other gateway's id of that length. */
const WHOLE_ID_LENGTH = 32;
const SHORTEST_PREFIX = 8;

/** The session that an id or its beginning names, among the newest 200. */
export async function resolveSession(client: GatewayClient, idOrPrefix: string): Promise<string> {
  if (idOrPrefix.length >= WHOLE_ID_LENGTH) return idOrPrefix;
  if (idOrPrefix.length >= SHORTEST_PREFIX) {
    const { sessions } = await client.sessions({ limit: 200 });
    const found = sessions.filter((session) => session.sessionId.startsWith(idOrPrefix));
    if (found.length === 1) return found[0]!.sessionId;
    if (found.length > 1) {
      throw new CerverError("invalid_request", `${found.length} sessions begin with ${idOrPrefix}.`, {
        hint: "Give more of the id; `cerver sessions` lists them.",
      });
    }
  }
  // A short id may be whole at another gateway: it knows best.
  return idOrPrefix;
}
