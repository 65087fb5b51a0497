import { Command, Option } from "commander";
import { durationMs } from "../../util/duration.js";
import type { CliContext } from "../context.js";
import { collect, collectVariables, GATEWAY_OPTION, JSON_OPTION } from "../options.js";
import type { Output } from "../output.js";
import { resolveSession } from "../resolve-session.js";

interface ExplainOptions {
  policy?: string;
  provider?: string[];
  runtime?: string;
  label?: Record<string, string>;
  workload?: string;
  json?: boolean;
  gateway?: string;
}
interface ReplayOptions {
  policy: "balanced" | "fastest" | "cheapest" | "resilient";
  since: string;
  json?: boolean;
  gateway?: string;
}
const MODES = ["balanced", "fastest", "cheapest", "resilient"] as const;

export const routeCommand = (context: CliContext) =>
  new Command("route")
    .summary("ask the router why, and what if")
    .addHelpText(
      "after",
      "\nExamples:\n  $ cerver route explain sess_01a2\n  $ cerver route replay --policy fastest --since 7d",
    )
    .addCommand(explainCommand(context))
    .addCommand(replayCommand(context));

/** `cerver route explain [SESSION]`. */
const explainCommand = (context: CliContext) =>
  new Command("explain")
    .summary("show every candidate with its score by term, and each refusal")
    .description(
      "Explains how a session came by its compute; without a session, where a create would go now.",
    )
    .argument("[session-id]", "the session, or the beginning of its id")
    .addOption(new Option("--policy <mode>", "by this policy").choices(MODES))
    .option("--provider <name>", "only these providers; may be given again", collect)
    .option("--runtime <runtime>", "with this runtime, such as node")
    .option("--label <name=value>", "with this label; may be given again", collectVariables)
    .option("--workload <name>", "for this workload, such as preview")
    .option(...JSON_OPTION)
    .option(...GATEWAY_OPTION)
    .action(
      async (
        id: string | undefined,
        { policy, provider, runtime, label, workload, json, gateway }: ExplainOptions,
      ) => {
        const { out } = context;
        const client = await context.client(gateway);
        if (id !== undefined) {
          const told = await client.sessionRouting(await resolveSession(client, id));
          if (json) return out.json(told);
          for (const { label, ok, error, provision_time_ms } of told.attempts)
            out.say(
              ok
                ? `${label} made the sandbox in ${Math.round(provision_time_ms ?? 0)} ms.`
                : `${label} could not: ${error}`,
            );
          if (!told.decision) return out.line(told.routing.primary_reason);
          return print(out, told.decision);
        }
        const explained = await client.explainRouting({
          ...(workload && { workload }),
          ...((runtime || label) && {
            requirements: { ...(runtime && { runtime }), ...(label && { labels: label }) },
          }),
          policy: {
            ...(policy && { mode: policy as (typeof MODES)[number] }),
            ...(provider && { allowed_providers: provider }),
          },
        });
        if (json) return out.json(explained);
        print(out, explained);
        if (explained.why) out.say(explained.why);
      },
    );

/** `cerver route replay`. */
const replayCommand = (context: CliContext) =>
  new Command("replay")
    .summary("say what another policy would have chosen and cost, from recorded decisions")
    .addOption(new Option("--policy <mode>", "the other policy").choices(MODES).makeOptionMandatory())
    .option("--since <time>", "how far back, such as 24h or 7d", "7d")
    .option(...JSON_OPTION)
    .option(...GATEWAY_OPTION)
    .action(async ({ policy, since, json, gateway }: ReplayOptions) => {
      const { out } = context;
      const report = await (await context.client(gateway)).replayRouting(
        policy,
        durationMs(since) ? since : "7d",
      );
      if (json) return out.json(report);
      const { decisions, replayed, fixed, changed, startup_ms: startup, cost_usd: cost } = report;
      out.line(
        `${decisions} decisions, ${replayed} replayed as ${policy}: ${changed} would have gone elsewhere.`,
      );
      if (fixed > 0) out.line(`${fixed} were named or refused, so no policy could have chosen otherwise.`);
      if (startup)
        out.line(
          `Startup ${ms(startup.was)} was, ${ms(startup.would_be)} would have been (mean of ${startup.compared}).`,
        );
      if (cost)
        out.line(`Cost $${cost.was} was, $${cost.would_be} would have been (sum of ${cost.compared}).`);
      for (const { at, was, would_be, reason } of report.changes.slice(0, 10))
        out.line(`  ${at.slice(0, 16)}  ${was} → ${would_be}  ${reason}`);
    });

interface Decision {
  mode: string;
  order: string[];
  routing: { primary_reason: string; confidence: string };
  candidates: {
    candidate: string;
    label: string;
    executable: boolean;
    score: number;
    terms?: Partial<Record<string, { points: number }>> | undefined;
    estimates: { startup: { p50_ms: number; source: string } | null };
    refusals: { reason: string }[];
  }[];
}

function print(out: Output, { mode, routing, candidates, order }: Decision): void {
  out.line(`${routing.primary_reason} (confidence ${routing.confidence}, policy ${mode}).`);
  const able = candidates.filter(({ executable }) => executable);
  const terms = [...new Set(able.flatMap(({ terms = {} }) => Object.keys(terms)))];
  if (able.length > 0) {
    out.line();
    out.table(
      ["#", "CANDIDATE", "SCORE", ...terms.map((term) => term.toUpperCase()), "EXPECTED START"],
      able.map((one) => [
        String(order.indexOf(one.candidate) + 1 || "-"),
        `${one.label} (${one.candidate})`,
        one.score.toFixed(1),
        ...terms.map((term) => one.terms?.[term]?.points.toFixed(1) ?? "-"),
        one.estimates.startup
          ? `${ms(one.estimates.startup.p50_ms)}, ${one.estimates.startup.source}`
          : "not known",
      ]),
    );
  }
  const refused = candidates.filter(({ executable }) => !executable);
  if (refused.length === 0) return;
  out.line();
  out.table(
    ["REFUSED", "WHY"],
    refused.map(({ label, refusals }) => [label, refusals.map(({ reason }) => reason).join("; ")]),
  );
}

function ms(value: number): string {
  return value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`;
}
