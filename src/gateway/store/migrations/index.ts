import type { Migration } from "kysely";
import { accounts } from "./0001-accounts.js";
import { computes } from "./0002-computes.js";
import { sessions } from "./0003-sessions.js";
import { durableRuns } from "./0004-durable-runs.js";
import { cloudProviders } from "./0005-cloud-providers.js";
import { sessionLife } from "./0006-session-life.js";
import { memory } from "./0007-memory.js";
import { secretUses } from "./0008-secret-uses.js";
import { oauth } from "./0009-oauth.js";

/** Every change of the tables, in order. Append only: databases of users have run the ones that are here. */
export const MIGRATIONS: Record<string, Migration> = {
  "0001-accounts": accounts,
  "0002-computes": computes,
  "0003-sessions": sessions,
  "0004-durable-runs": durableRuns,
  "0005-cloud-providers": cloudProviders,
  "0006-session-life": sessionLife,
  "0007-memory": memory,
  "0008-secret-uses": secretUses,
  "0009-oauth": oauth,
};
