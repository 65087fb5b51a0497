import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { CerverError } from "../protocol/errors.js";
import { parse } from "../protocol/parse.js";
import { writePrivateFile } from "../util/private-file.js";

/** The user's own settings, `config.json` in the config folder. */
export const UserConfig = z.strictObject({
  gateway_url: z.string().optional().describe("The gateway that commands speak to."),
  /** Who set it: what `cerver up` set, a later `cerver up` may change. */
  gateway_set_by: z.enum(["login", "up"]).optional(),
});
export type UserConfig = z.infer<typeof UserConfig>;

/** A folder's settings, `.cerver.json` in it or above it. */
const ProjectConfig = z.looseObject({ gateway_url: z.string().optional() });

export async function readUserConfig(configDir: string): Promise<UserConfig> {
  return readJson(join(configDir, "config.json"), UserConfig, {});
}

export async function writeUserConfig(configDir: string, config: UserConfig): Promise<void> {
  await writePrivateFile(join(configDir, "config.json"), `${JSON.stringify(config, null, 2)}\n`);
}

/** The gateway that the nearest `.cerver.json` names, from a folder upwards. */
export async function projectGateway(cwd: string): Promise<{ gatewayUrl: string; file: string } | undefined> {
  for (let folder = cwd; ; folder = dirname(folder)) {
    const file = join(folder, ".cerver.json");
    const { gateway_url: gatewayUrl } = await readJson(file, ProjectConfig, {});
    if (gatewayUrl) return { gatewayUrl, file };
    if (folder === dirname(folder)) return undefined;
  }
}

async function readJson<S extends z.ZodType>(
  path: string,
  schema: S,
  absent: z.output<S>,
): Promise<z.output<S>> {
  const text = await readFileOrNothing(path);
  if (text === undefined) return absent;
  try {
    return parse(schema, JSON.parse(text));
  } catch (error) {
    throw new CerverError("invalid_request", `${path}: ${(error as Error).message}`, {
      hint: "Mend the file or remove it.",
      cause: error,
    });
  }
}

async function readFileOrNothing(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    // A folder above the project that this user may not read holds no settings of theirs.
    const absent = ["ENOENT", "EACCES", "EPERM", "ENOTDIR", "EISDIR"];
    if (absent.includes((error as NodeJS.ErrnoException).code ?? "")) return undefined;
    throw error;
  }
}
