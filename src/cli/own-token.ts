import { join } from "node:path";
import { z } from "zod";
import type { Gateway } from "../gateway/start.js";
import { apiKey } from "../login/credential-store.js";
import { readUserConfig, writeUserConfig } from "../login/user-config.js";
import { readPrivateFile, writePrivateFile } from "../util/private-file.js";
import type { CliContext } from "./context.js";

const Local = z.object({ api_token: z.string() });

/**
 * The owner's token for a gateway on this machine: the same one at each start while it works. It is kept beside the
 * data and in the user's credentials, so that the other commands find it.
 */
export async function ownToken(context: CliContext, gateway: Gateway, dataDir: string): Promise<string> {
  const path = join(dataDir, "local.json");
  const kept = await keptToken(path);
  const token =
    kept !== undefined && (await gateway.tokenIsValid(kept))
      ? kept
      : await gateway.createToken({ label: "cerver on this machine", scopes: ["admin"] });
  if (token !== kept) await writePrivateFile(path, `${JSON.stringify({ api_token: token })}\n`);
  const where = await (await context.credentials()).set(apiKey(gateway.url), token);
  if (token !== kept) context.out.say(`The token for this gateway is in ${where}.`);
  await chooseAsDefault(context, gateway.url);
  return token;
}

async function keptToken(path: string): Promise<string | undefined> {
  try {
    return Local.parse(JSON.parse((await readPrivateFile(path)) ?? "")).api_token;
  } catch {
    return undefined;
  }
}

/** Lets commands without --gateway speak to this gateway, unless the user has chosen another one by logging in. */
async function chooseAsDefault({ paths, out }: CliContext, url: string): Promise<void> {
  const config = await readUserConfig(paths.config);
  if (config.gateway_url === url) return;
  if (config.gateway_url !== undefined && config.gateway_set_by !== "up") {
    out.say(
      `Commands go on speaking to ${config.gateway_url}, where you logged in; for this one add --gateway ${url}.`,
    );
    return;
  }
  await writeUserConfig(paths.config, { ...config, gateway_url: url, gateway_set_by: "up" });
  out.say(`Commands on this machine now speak to ${url} (${join(paths.config, "config.json")}).`);
}
