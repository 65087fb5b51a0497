import { CerverError } from "../protocol/errors.js";
import type { Env } from "../util/paths.js";
import { type InfisicalSettings, infisicalSettings } from "./infisical-settings.js";
import { type InfisicalCall, InfisicalRefusal, infisicalCall } from "./infisical-transport.js";
import { Login } from "./login-token.js";
import type { SecretBackend } from "./secret-backend.js";
import { type Store, statusFailure, storeFailure } from "./store-failure.js";

/** Folders, the name, then where else to look than in the configured project and environment. */
const NAME = /^((?:[\w-]{1,64}\/){0,16})([\w.-]{1,256})(?:\?([^?#]{1,256}))?$/;
/** A login's token when Infisical does not say how long it is good for. */
const DEFAULT_TOKEN_SECONDS = 570;

const STORE: Store = {
  title: "Infisical",
  hints: {
    not_found:
      "Check the name and its folder, INFISICAL_PROJECT_ID and INFISICAL_ENVIRONMENT, or create the secret.",
    refused: "Give the machine identity read access to this secret in Infisical.",
    expired: "Renew the token or the client secret in Infisical, and set it where cerver is configured.",
    unreachable: "Check INFISICAL_SITE_URL and this machine's connection, then ask again.",
    rate_limited: "Wait a minute, then ask again.",
  },
};

/**
 * Infisical, by its SDK: machine identities (universal auth), access tokens and the older service tokens.
 *
 * A name is `NAME` or `FOLDER/NAME`; `?project=ID` and `?env=SLUG` behind it choose another place than the configured one.
 */
export function infisicalBackend(env: Env, fetch: typeof globalThis.fetch): SecretBackend {
  const settings = infisicalSettings(env);
  const call = (signal: AbortSignal) => infisicalCall(settings.siteUrl, fetch, signal);
  const login = new Login(async (signal) => logIn(settings.login, call(signal)));
  return {
    name: "infisical",
    setup: settings.setup,
    async fetch(name, signal) {
      const where = place(name, settings);
      const read = (token: string) =>
        call(signal).run((sdk) => sdk.auth().accessToken(token).secrets().getSecret(where));
      try {
        const { secretValue, secretValueHidden } = await login.use(read, isStale);
        // Who may see that a secret is there, and not its value, gets a text in its place.
        if (secretValueHidden) throw new InfisicalRefusal(403, undefined);
        if (typeof secretValue !== "string") throw new Error("There is no value in the answer.");
        return { name, value: secretValue, source: "infisical" };
      } catch (error) {
        signal.throwIfAborted();
        throw failure(name, error);
      }
    },
  };
}

async function logIn(login: InfisicalSettings["login"], { run, body }: InfisicalCall) {
  if (login.kind !== "universal auth") return { token: login.token, expiresAt: Number.POSITIVE_INFINITY };
  const { clientId, clientSecret } = login;
  const sdk = await run((client) => client.auth().universalAuth.login({ clientId, clientSecret }));
  const { expiresIn } = body() as { expiresIn?: unknown };
  const seconds = typeof expiresIn === "number" && expiresIn > 0 ? expiresIn : DEFAULT_TOKEN_SECONDS;
  return { token: sdk.auth().getAccessToken()!, expiresAt: Date.now() + seconds * 1000 };
}

function place(name: string, { project, environment }: InfisicalSettings) {
  const [, folders = "", secretName, query] = NAME.exec(name) ?? [];
  const params = new URLSearchParams(query);
  const known = [...params.keys()].every((key) => ["project", "env"].includes(key));
  if (secretName === undefined || !known)
    throw new CerverError("invalid_request", "name: this is no name of a secret at Infisical.", {
      hint: "For example STRIPE_KEY, payments/STRIPE_KEY for one in a folder, or STRIPE_KEY?env=staging.",
    });
  return {
    secretName,
    secretPath: `/${folders.replace(/\/$/, "")}`,
    projectId: params.get("project") || project,
    environment: params.get("env") || environment,
    includeImports: true,
  };
}

/** A token that Infisical does not take: 401, and from its older versions 403 with a word of its own. */
function isStale(error: unknown): boolean {
  return error instanceof InfisicalRefusal && (error.status === 401 || error.word === "TokenError");
}

function failure(name: string, error: unknown): CerverError {
  if (isStale(error)) return storeFailure(STORE, "expired", name);
  return statusFailure(STORE, error instanceof InfisicalRefusal ? error.status : undefined, name);
}
