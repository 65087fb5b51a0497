import { Command } from "commander";
import type { CliContext } from "../context.js";
import { EXIT } from "../exit-codes.js";
import { JSON_OPTION } from "../options.js";

/** How long a vendor's library may hold the process after everything is said. */
const GRACE_MS = 1_000;

export const secretsCommand = (context: CliContext) =>
  new Command("secrets")
    .summary("see where agents' secrets come from")
    .addCommand(checkCommand(context))
    .addHelpText("after", "\nExample:\n  $ cerver secrets check STRIPE_KEY op://ci/npm/token");

const checkCommand = (context: CliContext) =>
  new Command("check")
    .summary("see whether the secrets backend answers, and whether secrets are there; no value is shown")
    .argument("[names...]", "secrets or references to look for")
    .option("--all", "ask every backend, not only those that are used")
    .option(...JSON_OPTION)
    .addHelpText(
      "after",
      "\nIt reads the same variables as `cerver mcp`: run it with those of the MCP client's configuration." +
        "\n\nExamples:\n  $ cerver secrets check\n  $ cerver secrets check STRIPE_KEY op://ci/npm/token --json",
    )
    .action(async (names: string[], { all, json }: { all?: boolean; json?: boolean }) => {
      const { out, env, process } = context;
      const { checkSecrets } = await import("../../secrets/secrets-check.js");
      const check = await checkSecrets(env, names, { all: all === true });
      if (json) out.json(check);
      else {
        out.table(
          ["BACKEND", "STATE", "SET UP AS"],
          check.backends.map(({ backend, state, setup }) => [
            backend === check.default_backend ? `${backend} (default)` : backend,
            state.replaceAll("_", " "),
            setup ?? "",
          ]),
        );
        if (check.secrets.length > 0) {
          out.line();
          out.table(
            ["SECRET", "BACKEND", "STATE"],
            check.secrets.map(({ name, backend, state }) => [name, backend, state]),
          );
        }
        out.line();
        out.line(`Handed out: ${check.allow === null ? "every secret" : check.allow.join(", ") || "none"}.`);
        const said = new Set<string>();
        for (const { error, hint } of [...check.backends, ...check.secrets]) {
          if (!error || said.has(error)) continue;
          said.add(error);
          out.say(`${error}${hint ? ` ${hint}` : ""}`);
        }
      }
      const isWrong = ({ backend, state }: { backend: string; state: string }) =>
        state === "failed" || (state === "not_set_up" && (!all || backend === check.default_backend));
      if ([...check.backends, ...check.secrets].some(isWrong)) process.exitCode = EXIT.failed;
      // One that cannot be stopped, and was cut off, would hold the process for minutes.
      setTimeout(() => process.exit(), GRACE_MS).unref();
    });
