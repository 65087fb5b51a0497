import { CerverError } from "../../protocol/errors.js";
import type { InstallRequest } from "../../protocol/sandbox.js";

/** A name, with a scope and a version, tag or range of plain characters (npm's package.json documentation, "name"). */
const NPM_PACKAGE =
  /^(?:@[a-z0-9~-][a-z0-9._~-]*\/)?[a-z0-9~-][a-z0-9._~-]*(?:@[A-Za-z0-9^~][A-Za-z0-9._+~^-]*)?$/;
/** A name, with extras and an exact version (PEP 508, names; PEP 440, versions). */
const PIP_PACKAGE =
  /^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?(?:\[[A-Za-z0-9,._-]+\])?(?:==[A-Za-z0-9.!+*-]+)?$/;

/**
 * The arguments that install one package into the working folder, as a relay does it. The name is checked and stands
 * alone, so no text in it is ever an option, a path, an address or a piece of shell.
 */
export function installArguments({
  package: name,
  manager,
}: InstallRequest): [file: string, ...args: string[]] {
  const valid = manager === "npm" ? NPM_PACKAGE : PIP_PACKAGE;
  if (!valid.test(name) || name.startsWith("-")) {
    throw new CerverError("invalid_request", `package: "${name}" is not the name of a ${manager} package.`, {
      hint:
        manager === "npm"
          ? "For example left-pad or @types/node@20."
          : "For example requests or requests==2.32.0.",
    });
  }
  if (manager === "npm") return ["npm", "install", "--no-audit", "--no-fund", "--", name];
  return ["python3", "-m", "pip", "install", "--target", ".python", "--", name];
}
