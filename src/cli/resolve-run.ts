import type { GatewayClient } from "../client/gateway-client.js";
import { CerverError } from "../protocol/errors.js";
import type { RunRecord } from "../protocol/runs.js";

/** A whole id: the prefix and 32 digits. */
const WHOLE_ID_LENGTH = 36;

/** The run that an id or its beginning names, among the account's newest 200. */
export async function resolveRun(client: GatewayClient, idOrPrefix: string): Promise<RunRecord> {
  if (idOrPrefix.length < WHOLE_ID_LENGTH) {
    const { runs } = await client.allRuns({ limit: 200 });
    const found = runs.filter((run) => run.run_id.startsWith(idOrPrefix));
    if (found.length > 1) {
      throw new CerverError("invalid_request", `${found.length} runs begin with ${idOrPrefix}.`, {
        hint: "Give more of the id; `cerver runs` lists them.",
      });
    }
    if (found.length === 1) return client.getRun(found[0]!.session_id, found[0]!.run_id);
  }
  // An older one, or one of another length: the gateway knows best.
  return client.findRun(idOrPrefix);
}
