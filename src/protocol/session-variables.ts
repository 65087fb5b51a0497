import { CerverError } from "./errors.js";
import { Environment } from "./runs.js";

/** The variables of every run in a sandbox: what `metadata.env` says when the sandbox is made. */
export function sessionVariables({ env }: { env?: unknown }): Record<string, string> {
  if (env === undefined || env === null) return {};
  const result = Environment.safeParse(env);
  if (result.success) return result.data;
  throw new CerverError("invalid_request", "metadata.env: has to be an object of variable names and texts.");
}
