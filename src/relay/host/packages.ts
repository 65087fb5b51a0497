import { installProgram } from "../../protocol/packages.js";
import type { InstallRequest } from "../../protocol/sandbox.js";
import type { Command } from "./command.js";

/** The command that installs one package into the working folder. */
export function installCommand(request: Pick<InstallRequest, "package" | "manager">): Command {
  return { kind: "argv", ...installProgram(request) };
}
