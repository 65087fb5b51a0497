import type { Env } from "../util/paths.js";
import { notSetUp } from "./store-failure.js";

/** How to log in: a token that is sent as it is, or a machine identity that is given one. */
export type InfisicalLogin =
  | { kind: "access token" | "service token"; token: string }
  | { kind: "universal auth"; clientId: string; clientSecret: string };

export interface InfisicalSettings {
  /** Without a slash at its end, and without `/api`. */
  siteUrl: string;
  login: InfisicalLogin;
  project: string;
  environment: string;
  /** Which variables these came from, for people. */
  setup: string;
}

/** Reads the variables that Infisical's own tools have, in all their spellings. */
export function infisicalSettings(env: Env): InfisicalSettings {
  const site = first(env, ["INFISICAL_SITE_URL", "INFISICAL_BASE_URL", "INFISICAL_API_URL"]);
  const siteUrl = (site?.value ?? "https://app.infisical.com").replace(/\/+$/, "").replace(/\/api$/, "");
  if (!URL.canParse(siteUrl) || !/^https?:/.test(siteUrl))
    throw notSetUp(
      "infisical",
      "usable address",
      `Set ${site?.name} to a URL such as https://app.infisical.com.`,
    );
  const login = infisicalLogin(env);
  const project = env.INFISICAL_PROJECT_ID;
  if (!project)
    throw notSetUp(
      "infisical",
      "project to look into",
      "Set INFISICAL_PROJECT_ID. The project's settings in Infisical show its id.",
    );
  const environment = first(env, ["INFISICAL_ENVIRONMENT", "INFISICAL_ENV"]) ?? {
    name: "default",
    value: "prod",
  };
  return {
    siteUrl,
    login,
    project,
    environment: environment.value,
    setup: `${login.kind}, project ${project}, environment ${environment.value} (${environment.name}), ${siteUrl}`,
  };
}

/**
 * A client id with its secret is a machine identity. The secret may be in INFISICAL_TOKEN too, which else is a service token
 * (`st.`) or an access token (a JSON web token).
 */
function infisicalLogin(env: Env): InfisicalLogin {
  const clientId = env.INFISICAL_UNIVERSAL_AUTH_CLIENT_ID || env.INFISICAL_CLIENT_ID;
  const secret = env.INFISICAL_UNIVERSAL_AUTH_CLIENT_SECRET || env.INFISICAL_CLIENT_SECRET;
  const token = env.INFISICAL_TOKEN;
  if (clientId && secret) return { kind: "universal auth", clientId, clientSecret: secret };
  if (token?.startsWith("st.")) return { kind: "service token", token };
  if (token && clientId && !/^eyJ.*\..*\./.test(token))
    return { kind: "universal auth", clientId, clientSecret: token };
  if (token) return { kind: "access token", token };
  throw notSetUp(
    "infisical",
    "credentials",
    "Set INFISICAL_UNIVERSAL_AUTH_CLIENT_ID and INFISICAL_UNIVERSAL_AUTH_CLIENT_SECRET of a machine identity, or INFISICAL_TOKEN.",
  );
}

function first(env: Env, names: string[]): { name: string; value: string } | undefined {
  const name = names.find((candidate) => env[candidate]);
  return name === undefined ? undefined : { name, value: env[name]! };
}
