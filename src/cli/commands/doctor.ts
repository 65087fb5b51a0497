import { Command } from "commander";
import type { FindingStatus } from "../../protocol/doctor.js";
import { VERSION } from "../../util/version.js";
import type { CliContext } from "../context.js";
import type { Check } from "../doctor/doctor.js";
import { EXIT } from "../exit-codes.js";
import { GATEWAY_OPTION, JSON_OPTION } from "../options.js";
import { type Output, printable } from "../output.js";

export const doctorCommand = (context: CliContext) =>
  new Command("doctor")
    .summary("check this machine, its login and its way to the gateway, and say how to mend it")
    .description(
      "Looks at everything that has to work, with a real run through the gateway where a relay runs here, and says what to type for what does not. Exits 0 when nothing failed, 1 otherwise; warnings do not count.",
    )
    .option(...JSON_OPTION)
    .option(...GATEWAY_OPTION)
    .addHelpText(
      "after",
      "\nExamples:\n  $ cerver doctor\n  $ cerver doctor --json | jq '.checks[] | select(.status != \"ok\")'",
    )
    .action(async ({ json, gateway }: { json?: boolean; gateway?: string }) => {
      const { out, process } = context;
      const { examine } = await import("../doctor/doctor.js");
      const checks: Check[] = [];
      for await (const check of examine(context, gateway)) {
        checks.push(check);
        if (!json) print(check, out);
      }
      const failed = checks.filter(({ status }) => status === "fail").length;
      const warned = checks.filter(({ status }) => status === "warn").length;
      if (json) out.json({ healthy: failed === 0, version: VERSION, checks });
      else {
        out.line();
        out.line(
          `${failed === 0 ? "Healthy" : "Not healthy"}: ${checks.length} checks, ${failed} failed, ${warned} with a warning.`,
        );
      }
      if (failed > 0) process.exitCode = EXIT.failed;
    });

const STATUS_WIDTH = "skipped".length;
const NAME_WIDTH = "mcp clients".length;

/** One check, its fix on a line of its own: that is what is typed. */
function print({ name, status, what, fix }: Check, out: Output): void {
  out.line(`${styled(status, out)}  ${name.padEnd(NAME_WIDTH)}  ${printable(what)}`);
  if (fix) out.line(`${" ".repeat(STATUS_WIDTH + NAME_WIDTH + 4)}${out.bold("fix:")} ${printable(fix)}`);
}

function styled(status: FindingStatus, out: Output): string {
  const text = status.padEnd(STATUS_WIDTH);
  if (status === "ok") return out.green(text);
  if (status === "warn") return out.yellow(text);
  return status === "fail" ? out.red(text) : out.dim(text);
}
