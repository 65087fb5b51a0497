import { Command } from "commander";
import { ago } from "../ago.js";
import type { CliContext } from "../context.js";
import { labelWords } from "../labels.js";
import { GATEWAY_OPTION, JSON_OPTION } from "../options.js";

export const computesCommand = (context: CliContext) =>
  new Command("computes")
    .summary("list the computes of your account")
    .option(...JSON_OPTION)
    .option(...GATEWAY_OPTION)
    .addHelpText("after", "\nExample:\n  $ cerver computes --json")
    .action(async ({ json, gateway }: { json?: boolean; gateway?: string }) => {
      const { out } = context;
      const client = await context.client(gateway);
      const computes = await client.computes();
      if (json) return out.json({ computes });
      if (computes.length === 0) {
        return out.say(
          `No compute is attached. On the machine you want to use: cerver relay --gateway ${client.gatewayUrl}`,
        );
      }
      out.table(
        ["ID", "NAME", "PROVIDER", "STATUS", "LAST REPORT", "LABELS"],
        computes.map((compute) => [
          compute.compute_id,
          compute.label,
          compute.provider,
          compute.status,
          compute.last_heartbeat_at ? ago(compute.last_heartbeat_at) : "never",
          labelWords(compute),
        ]),
      );
    });
