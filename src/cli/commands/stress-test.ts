import { Command, InvalidArgumentError } from "commander";
import { CerverError } from "../../protocol/errors.js";
import type { ProviderResult, StressReport, StressTestRequest } from "../../protocol/stress-tests.js";
import type { CliContext } from "../context.js";
import { collect, GATEWAY_OPTION, JSON_OPTION, wholeNumber } from "../options.js";
import type { Output } from "../output.js";
import { untilStopped } from "../until-stopped.js";

interface StressTestOptions {
  live?: boolean;
  provider?: string[];
  samples: number;
  runtime?: string;
  workload?: string;
  concurrency: number;
  maxCost: number;
  seed?: number;
  json?: boolean;
  gateway?: string;
}

/** The width of the longest bar, in characters. */
const BAR_WIDTH = 40;

export const stressTestCommand = (context: CliContext) =>
  new Command("stress-test")
    .summary("compare providers, by what is known of them or by real sandboxes")
    .description(
      "Draws times from what is known of each provider, or with --live makes real sandboxes there, with this account's credentials and at its cost, and shows that they are gone again. Ctrl-C ends a live test: nothing more is begun, and what is there is deleted.",
    )
    .option("--live", "make real sandboxes")
    .option("--provider <name>", "compare these alone; may be given again", collect)
    .option("-n, --samples <count>", "samples of each provider and pattern", wholeNumber(1, 100), 5)
    .option("--runtime <runtime>", "with this runtime; node compares with published benchmarks")
    .option("--workload <name>", "for this workload, such as preview")
    .option("--concurrency <count>", "sandboxes that exist at once, live", wholeNumber(1, 50), 5)
    .option("--max-cost <usd>", "begin no sample that could cost more in all, live", dollars, 0.25)
    .option("--seed <number>", "draw the same samples again", wholeNumber(0, 0xffffffff))
    .option(...JSON_OPTION)
    .option(...GATEWAY_OPTION)
    .addHelpText(
      "after",
      "\nExamples:\n  $ cerver stress-test --runtime node\n  $ cerver stress-test --live --provider p69 --provider e2b -n 10 --max-cost 0.50",
    )
    .action(async (options: StressTestOptions) => {
      const { out, process } = context;
      const client = await context.client(options.gateway);
      const begun = await client.beginStressTest(requestOf(options));
      const report =
        begun.status === "running" ? await follow(context, begun.stress_test_id, options) : begun;
      if (options.json) out.json(report);
      else draw(out, report);
      process.exitCode = report.status === "done" && report.clean_up.left.length === 0 ? 0 : 1;
    });

function requestOf({
  live,
  provider,
  samples,
  runtime,
  workload,
  concurrency,
  maxCost,
  seed,
}: StressTestOptions) {
  return {
    mode: live ? "live" : "simulated",
    sample_size: samples,
    concurrency,
    max_cost_usd: maxCost,
    ...(provider && { providers: provider }),
    ...(runtime && { requirements: { runtime } }),
    ...(workload && { workload }),
    ...(seed !== undefined && { seed }),
  } satisfies Partial<StressTestRequest>;
}

/** Shows the progress of a live test on a terminal; Ctrl-C cancels it, and its end is waited for. */
async function follow(
  context: CliContext,
  id: string,
  { gateway }: StressTestOptions,
): Promise<StressReport> {
  const { out } = context;
  const client = await context.client(gateway);
  const shows = context.process.stderr.isTTY === true;
  let cancelled = false;
  void untilStopped(context).then(() => {
    cancelled = true;
    out.say("\nEnding the test; its sandboxes are deleted…");
    client.cancelStressTest(id).catch(() => {});
  });
  for await (const event of client.followStressTest(id)) {
    if (event.type === "report") {
      if (shows) context.process.stderr.write("\r\u001b[K");
      return event.report;
    }
    const { done, total, cost_usd, sample } = event;
    const last = sample
      ? `${sample.provider} ${sample.pattern} ${sample.ok ? `${Math.round(sample.tti_ms ?? 0)} ms` : "failed"}`
      : "";
    if (shows && !cancelled)
      context.process.stderr.write(`\r\u001b[K${done}/${total} samples  $${cost_usd}  ${last}`);
  }
  throw new CerverError("compute_lost", "The gateway stopped telling about the test before it had ended.", {
    hint: `Read its report later: GET /v2/stress-tests/${id}.`,
  });
}

function draw(out: Output, report: StressReport): void {
  const { providers, primary_reason, confidence, made_of, clean_up, cost_usd, mode } = report;
  out.line(`${primary_reason} (confidence ${confidence})`);
  out.line();
  const ranked = providers.filter(({ rank }) => rank !== null);
  if (ranked.length > 0) {
    out.table(
      ["RANK", "PROVIDER", "SCORE", "TTI P50", "P95", "BURST P50", "FIRST BYTE", "EXEC", "OK", "COST"],
      ranked.map((one) => [
        String(one.rank),
        one.label,
        one.score!.toFixed(1),
        ms(one.tti.sequential?.p50),
        ms(one.tti.sequential?.p95),
        ms(one.tti.burst?.p50),
        ms(one.first_byte?.p50),
        ms(one.exec?.p50),
        `${Math.round(one.success_rate! * 100)} %`,
        one.cost_usd === 0 ? "-" : `$${one.cost_usd}`,
      ]),
    );
    out.line();
    bars(out, ranked);
  }
  for (const { label, skipped } of providers) if (skipped) out.line(out.dim(`${label}: ${skipped}`));
  out.line();
  for (const words of made_of) out.line(out.dim(words));
  if (mode === "simulated") return;
  out.line(
    `${clean_up.made} sandboxes were made and ${clean_up.deleted} are shown to be gone; estimated cost $${cost_usd}.`,
  );
  if (clean_up.left.length > 0) out.say(`warning: these may still be there: ${clean_up.left.join(", ")}`);
}

/** Time to interactive from the fastest to the slowest sample, with the median marked. */
function bars(out: Output, ranked: readonly ProviderResult[]): void {
  const known = ranked.flatMap((one) => {
    const times = one.tti.sequential ?? one.tti.staggered ?? one.tti.burst;
    return times ? [{ label: one.label, times }] : [];
  });
  const longest = Math.max(...known.map(({ times }) => times.max), 1);
  const width = Math.max(...known.map(({ label }) => label.length), 0);
  const at = (value: number) => Math.min(BAR_WIDTH - 1, Math.round((value / longest) * (BAR_WIDTH - 1)));
  out.line(
    out.dim(
      `Time to interactive, fastest to slowest sample, the median marked; the whole line is ${Math.round(longest)} ms`,
    ),
  );
  for (const { label, times } of known) {
    const bar = Array.from({ length: BAR_WIDTH }, (_, place) => {
      if (place === at(times.p50)) return "●";
      return place >= at(times.min) && place <= at(times.max) ? "─" : " ";
    });
    out.line(`  ${label.padEnd(width)}  ${bar.join("")}  ${Math.round(times.p50)} ms`);
  }
}

function ms(value: number | undefined): string {
  if (value === undefined) return "-";
  return value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`;
}

function dollars(text: string): number {
  const value = Number(text);
  if (/^\d+(?:\.\d+)?$/.test(text) && Number.isFinite(value)) return value;
  throw new InvalidArgumentError("It has to be an amount such as 0.5.");
}
