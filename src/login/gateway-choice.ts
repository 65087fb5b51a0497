import type { Env } from "../util/paths.js";
import { apiKey, type CredentialStore } from "./credential-store.js";
import { projectGateway, readUserConfig } from "./user-config.js";

export const PUBLIC_GATEWAY_URL = "https://gateway.cerver.ai";

/** Which gateway a command speaks to, with what token, and who said so. */
export interface GatewayChoice {
  gatewayUrl: string;
  from: "flag" | "env" | "project" | "user" | "default";
  token: string | undefined;
  tokenFrom: "env" | "stored" | undefined;
  /** Why there is no token although the environment has one. */
  tokenWithheld?: string;
}

export interface ChooseGatewayOptions {
  flag?: string | undefined;
  env: Env;
  cwd: string;
  configDir: string;
  /** Without it, what is stored is not looked at: a locked keychain is then in nobody's way. */
  credentials?: CredentialStore;
}

/**
 * Flag, then `CERVER_GATEWAY_URL`, then the project's `.cerver.json`, then the user's settings, then the public gateway.
 *
 * A gateway that only a project file names gets no token from the environment: a cloned repository could name any.
 */
export async function chooseGateway(options: ChooseGatewayOptions): Promise<GatewayChoice> {
  const { gatewayUrl: text, from, file } = await namedGateway(options);
  const gatewayUrl = text.replace(/\/+$/, "");
  const fromEnv = options.env.CERVER_API_TOKEN || options.env.CERVER_API_KEY || undefined;
  if (fromEnv && from !== "project") return { gatewayUrl, from, token: fromEnv, tokenFrom: "env" };
  const token = await options.credentials?.get(apiKey(gatewayUrl));
  return {
    gatewayUrl,
    from,
    token,
    tokenFrom: token === undefined ? undefined : "stored",
    ...(fromEnv &&
      token === undefined && {
        tokenWithheld: `CERVER_API_TOKEN is not sent to ${gatewayUrl}, because only ${file} names that gateway. Say --gateway ${gatewayUrl} if you trust it, or log in there with \`cerver login\`.`,
      }),
  };
}

async function namedGateway({ flag, env, cwd, configDir }: ChooseGatewayOptions) {
  if (flag) return { gatewayUrl: flag, from: "flag" as const, file: "" };
  if (env.CERVER_GATEWAY_URL) return { gatewayUrl: env.CERVER_GATEWAY_URL, from: "env" as const, file: "" };
  const project = await projectGateway(cwd);
  if (project) return { ...project, from: "project" as const };
  const { gateway_url: own } = await readUserConfig(configDir);
  if (own) return { gatewayUrl: own, from: "user" as const, file: "" };
  return { gatewayUrl: PUBLIC_GATEWAY_URL, from: "default" as const, file: "" };
}
