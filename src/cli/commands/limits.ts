import { Command, InvalidArgumentError } from "commander";
import type { CliContext } from "../context.js";
import { GATEWAY_OPTION, JSON_OPTION, wholeNumber } from "../options.js";

interface LimitsOptions {
  spendPerMonth?: number | "none";
  maxSessions?: number | "none";
  json?: boolean;
  gateway?: string;
}

export const limitsCommand = (context: CliContext) =>
  new Command("limits")
    .summary("show and set what the account may spend and hold")
    .option("--spend-per-month <usd>", "estimated cloud spend in a calendar month, or none", dollars)
    .option("--max-sessions <count>", "sessions that hold a compute at once, or none", count)
    .option(...JSON_OPTION)
    .option(...GATEWAY_OPTION)
    .addHelpText("after", "\nExample:\n  $ cerver limits --spend-per-month 20 --max-sessions 10")
    .action(async ({ spendPerMonth, maxSessions, json, gateway }: LimitsOptions) => {
      const { out } = context;
      const client = await context.client(gateway);
      const sets = spendPerMonth !== undefined || maxSessions !== undefined;
      const limits = sets
        ? await client.setLimits({
            ...(spendPerMonth !== undefined && { spend_per_month_usd: orNull(spendPerMonth) }),
            ...(maxSessions !== undefined && { max_sessions: orNull(maxSessions) }),
          })
        : await client.limits();
      if (json) return out.json(limits);
      const {
        spend_per_month_usd: spend,
        max_sessions: most,
        spent_usd,
        reserved_usd,
        open_sessions,
      } = limits;
      const reserved = reserved_usd > 0 ? `, and $${reserved_usd} that open sessions may still cost` : "";
      out.line(
        `This month: $${spent_usd} spent${reserved}, of ${spend === null || spend === undefined ? "any amount" : `$${spend}`}.`,
      );
      out.line(`Now: ${open_sessions} sessions hold a compute, of ${most ?? "any number"}.`);
    });

function orNull(limit: number | "none"): number | null {
  return limit === "none" ? null : limit;
}

function dollars(text: string): number | "none" {
  if (text === "none") return text;
  const value = Number(text);
  if (/^\d+(?:\.\d+)?$/.test(text) && Number.isFinite(value)) return value;
  throw new InvalidArgumentError('It has to be an amount such as 20 or 0.5, or "none".');
}

function count(text: string): number | "none" {
  return text === "none" ? text : wholeNumber(0, 1_000_000)(text);
}
