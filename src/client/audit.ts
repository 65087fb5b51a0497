import { AuditedUse, AuditList } from "../protocol/audit.js";
import type { GatewayHttp } from "./http.js";
import type * as wire from "./wire.js";

export interface SecretUsesQuery {
  name?: string | undefined;
  session_id?: string | undefined;
  run_id?: string | undefined;
  /** 1 to 200. @default 20 */
  limit?: number | undefined;
  /** The `next_cursor` of the page before. */
  cursor?: string | undefined;
}

/** Who used which secret for what. Values are nowhere in it. */
export interface AuditCalls {
  /** The account's uses of secrets, newest first. */
  secretUses(query?: SecretUsesQuery): Promise<wire.AuditList>;
  /** Puts on the record that an agent was handed a secret's value. Of runs the gateway knows by itself. */
  reportSecretUse(use: wire.ReportSecretUse): Promise<wire.AuditedUse>;
}

export function auditCalls(http: GatewayHttp): AuditCalls {
  return {
    secretUses: (query = {}) => http.json("GET", "/v2/audit", AuditList, { query: { ...query } }),
    reportSecretUse: (body) => http.json("POST", "/v2/audit/secret-uses", AuditedUse, { body }),
  };
}
