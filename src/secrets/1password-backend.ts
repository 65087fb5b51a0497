import { CerverError } from "../protocol/errors.js";
import type { Env } from "../util/paths.js";
import { opReader } from "./1password-op.js";
import { sdkReader } from "./1password-sdk.js";
import type { SecretBackend } from "./secret-backend.js";
import { notSetUp } from "./store-failure.js";

/** `VAULT/ITEM/FIELD` or `VAULT/ITEM/SECTION/FIELD`, in the characters that 1Password's references have. */
const PATH = /^[\w.-][\w .-]*(?:\/[\w.-][\w .-]*){2,3}(?:\?[\w=&-]{1,64})?$/;
const BARE = /^[\w.-]{1,256}$/;

/**
 * 1Password: by its SDK when there is a service account's token and the SDK is installed, else by its program `op`.
 *
 * A bare name needs `CERVER_SECRETS_OP_REFERENCE`, a reference in which `{name}` stands for it.
 */
export async function onePasswordBackend(env: Env): Promise<SecretBackend> {
  const bySdk = env.OP_SERVICE_ACCOUNT_TOKEN ? await sdkReader(env.OP_SERVICE_ACCOUNT_TOKEN) : undefined;
  const read = bySdk ?? opReader(env);
  const login = env.OP_SERVICE_ACCOUNT_TOKEN ? "service account" : "whoever is signed in";
  return {
    name: "1password",
    setup: `${login}, by ${bySdk ? "the SDK" : "op"}`,
    async fetch(name, signal) {
      const value = await read(`op://${path(name, env.CERVER_SECRETS_OP_REFERENCE)}`, name, signal);
      return { name, value, source: "1password" };
    },
  };
}

function path(name: string, template: string | undefined): string {
  if (PATH.test(name)) return name;
  if (!BARE.test(name))
    throw new CerverError("invalid_request", "name: this is no name of a secret at 1Password.", {
      hint: "For example op://vault/item/field.",
    });
  const full = template?.replace(/^op:\/\//, "").replaceAll("{name}", name);
  if (full !== undefined && template!.includes("{name}") && PATH.test(full)) return full;
  throw notSetUp(
    "1password",
    `place for the bare name ${name}`,
    "Ask for op://vault/item/field, or set CERVER_SECRETS_OP_REFERENCE, for example to op://agents/{name}/credential.",
  );
}
