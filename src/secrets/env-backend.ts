import { CerverError } from "../protocol/errors.js";
import type { Env } from "../util/paths.js";
import { isForProgram } from "./program-env.js";
import type { SecretBackend } from "./secret-backend.js";

/** Names of cerver's own credentials, and of those that open another backend. They are for cerver, not for agents. */
const OWN =
  /^(?:CERVER_|INFISICAL_|OP_SERVICE_ACCOUNT_TOKEN$|OP_CONNECT_TOKEN$|OP_SESSION|AWS_(?:ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN)$|AWS_CONTAINER_AUTHORIZATION_TOKEN$)/i;
const NAME = /^[A-Za-z_][A-Za-z0-9_]{0,255}$/;

/** Whose environment it is, in words for people, and how a variable gets into it. */
export interface EnvPlace {
  whose: string;
  /** What to do about a name that is missing. */
  add(name: string): string;
}
export const MCP_SERVER: EnvPlace = {
  whose: "the MCP server",
  add: (name) =>
    `Add ${name} to "env" in the MCP client's configuration of cerver, then restart that client.`,
};

/** Secrets from the variables that cerver was started with. */
export function envBackend(env: Env, { whose, add }: EnvPlace = MCP_SERVER): SecretBackend {
  return {
    name: "env",
    setup: "the environment that cerver was started with",
    async fetch(name) {
      if (!NAME.test(name)) {
        throw new CerverError(
          "invalid_request",
          "name: a secret's name has letters, digits and underscores only.",
          {
            hint: "For example BUFFER_API_KEY.",
          },
        );
      }
      if (OWN.test(name) || isForProgram(env, name)) {
        throw new CerverError(
          "secret_refused",
          `${name} is one of cerver's own credentials, which it does not hand out.`,
          {
            hint: "Ask for the secret of the service you want to use.",
          },
        );
      }
      const value = Object.hasOwn(env, name) ? env[name] : undefined;
      if (value === undefined || value === "") {
        throw new CerverError(
          "secret_not_found",
          `There is no secret ${name} in the environment of ${whose}.`,
          { hint: add(name) },
        );
      }
      return { name, value, source: "env" };
    },
  };
}
