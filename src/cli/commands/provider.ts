import { Command } from "commander";
import type { CheckResult, Scorecard } from "../../gateway/try-provider.js";
import type { CliContext } from "../context.js";
import { EXIT } from "../exit-codes.js";
import { collect, JSON_OPTION } from "../options.js";
import { harmless, type Output } from "../output.js";
import { untilStopped } from "../until-stopped.js";
import { providerDisableCommand, providerEnableCommand, providerListCommand } from "./provider-account.js";

interface TestOptions {
  json?: boolean;
  only?: string[];
}

export const providerCommand = (context: CliContext) =>
  new Command("provider")
    .summary("list, enable and try what supplies compute")
    .addHelpText(
      "after",
      "\nExamples:\n  $ cerver provider ls\n  $ E2B_API_KEY=e2b_… cerver provider enable e2b\n  $ cerver provider test p69",
    )
    .addCommand(providerListCommand(context))
    .addCommand(providerEnableCommand(context))
    .addCommand(providerDisableCommand(context))
    .addCommand(testCommand(context));

/** `cerver provider test NAME`: the conformance suite, as a scorecard. */
const testCommand = (context: CliContext) =>
  new Command("test")
    .summary("try everything that a provider's adapter has to keep")
    .description(
      "Makes sandboxes at a provider, tries in them everything that its adapter has to keep, and deletes them. The credentials come from the environment. Exits with 0 when everything passed.",
    )
    .argument("<name>", "p69, or a vendor whose adapter there is")
    .option("--only <check>", "this check alone, or those that begin so; may be given again", collect)
    .option(...JSON_OPTION)
    .addHelpText(
      "after",
      "\nExamples:\n  $ P69_BASE_URL=http://127.0.0.1:18081 P69_API_TOKEN=… cerver provider test p69\n  $ cerver provider test p69 --only cancel --only timeout --json",
    )
    .action(async (name: string, { json, only }: TestOptions) => {
      const { out, env, process } = context;
      const { tryProvider } = await import("../../gateway/try-provider.js");
      const abort = new AbortController();
      void untilStopped(context).then(() => abort.abort(new Error("it was interrupted")));
      const progress = new Progress(out);
      const card = await tryProvider(name, env, {
        signal: abort.signal,
        ...(only && { only }),
        onCount: (checks) => progress.begin(checks),
        onStart: ({ name }) => progress.now(name),
        onResult: (result) => {
          progress.done();
          if (!json) out.line(lineOf(result, out));
        },
      });
      progress.end();
      if (json) out.json(card);
      else for (const line of summaryOf(card, out)) out.line(line);
      process.exit(exitCodeOf(card));
    });

/** What is being tried, for a person who looks; a pipe gets the results alone. */
class Progress {
  readonly #out: Output;
  readonly #shown: boolean;
  #checks = 0;
  #done = 0;

  constructor(out: Output) {
    this.#out = out;
    this.#shown = out.stderr.isTTY === true;
  }

  begin(checks: number): void {
    this.#checks = checks;
  }

  now(name: string): void {
    this.#write(`${CLEAR_LINE}  ${this.#done + 1}/${this.#checks} ${name} …`);
  }

  done(): void {
    this.#done++;
    this.end();
  }

  end(): void {
    this.#write(CLEAR_LINE);
  }

  #write(text: string): void {
    if (this.#shown) this.#out.stderr.write(text);
  }
}

const CLEAR_LINE = "\r\u001b[K";
const MARKS = { passed: "✓", failed: "✗", skipped: "-" } as const;

function lineOf({ name, about, outcome, ms, why }: CheckResult, out: Output): string {
  const head = `${MARKS[outcome]} ${name.padEnd(NAME_WIDTH)}${timeOf(ms).padStart(8)}  `;
  if (outcome === "passed") return head + out.dim(about);
  const words = harmless(why ?? "").replaceAll("\n", "\n    ");
  if (outcome === "skipped") return head + out.dim(`skipped: ${words}`);
  return `${out.bold(head + about)}\n    ${words}`;
}

const NAME_WIDTH = 22;

function timeOf(ms: number): string {
  return ms < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(1)} s`;
}

function* summaryOf(card: Scorecard, out: Output): Generator<string> {
  const { provider, passed, failed, skipped, ms, left_behind, interrupted } = card;
  yield "";
  yield out.bold(
    `${provider}: ${passed} passed, ${failed} failed, ${skipped} skipped, in ${timeOf(ms)}${interrupted ? ", interrupted" : ""}`,
  );
  for (const sentence of left_behind) yield `left behind: ${harmless(sentence)}`;
  if (left_behind.length === 0) yield out.dim("Every sandbox it made is deleted.");
}

function exitCodeOf({ failed, passed, left_behind, interrupted }: Scorecard): number {
  if (interrupted) return EXIT.interrupted;
  return failed === 0 && passed > 0 && left_behind.length === 0 ? EXIT.ok : EXIT.failed;
}
