import type { GatewayClient } from "../client/gateway-client.js";
import type { CredentialStore } from "../login/credential-store.js";
import type { GatewayChoice } from "../login/gateway-choice.js";
import { CerverError } from "../protocol/errors.js";
import { type CerverPaths, cerverPaths, type Env } from "../util/paths.js";
import { VERSION } from "../util/version.js";
import { Output } from "./output.js";

/** What every command gets: the world around it, and a client that is made when it is asked for. */
export interface CliContext {
  env: Env;
  cwd: string;
  paths: CerverPaths;
  out: Output;
  process: NodeJS.Process;
  /** `unattended` for what a service uses. */
  credentials(options?: { unattended: boolean }): Promise<CredentialStore>;
  /** Which gateway to speak to, and with what token. */
  gateway(flag: string | undefined): Promise<GatewayChoice>;
  /** {@link gateway}, with no token but the environment's. */
  namedGateway(flag: string | undefined): Promise<GatewayChoice>;
  /** A client for that gateway. */
  client(flag: string | undefined): Promise<GatewayClient>;
}

export function cliContext(process: NodeJS.Process): CliContext {
  const { env } = process;
  const paths = cerverPaths(env);
  const credentials = async ({ unattended } = { unattended: false }) => {
    const { openCredentialStore } = await import("../login/credential-store.js");
    return openCredentialStore({ configDir: paths.config, env, unattended });
  };
  const choose = async (flag: string | undefined, store?: CredentialStore) => {
    const { chooseGateway } = await import("../login/gateway-choice.js");
    const where = { cwd: process.cwd(), configDir: paths.config };
    return chooseGateway({ flag, env, ...where, ...(store && { credentials: store }) });
  };
  const gateway = async (flag: string | undefined) => choose(flag, await credentials());
  return {
    env,
    cwd: process.cwd(),
    paths,
    out: new Output(process.stdout, process.stderr, env),
    process,
    credentials,
    gateway,
    namedGateway: choose,
    client: async (flag) => {
      const { gatewayUrl, token, tokenWithheld } = await gateway(flag);
      if (token === undefined) {
        throw new CerverError("unauthenticated", `There is no token for the gateway ${gatewayUrl}.`, {
          hint:
            tokenWithheld ??
            `Log in with \`cerver login --gateway ${gatewayUrl}\`, or start your own with \`cerver up\`.`,
        });
      }
      const { GatewayClient } = await import("../client/gateway-client.js");
      return new GatewayClient({ gatewayUrl, token, userAgent: `cerver-cli/${VERSION}` });
    },
  };
}
