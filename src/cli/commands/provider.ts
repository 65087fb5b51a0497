import { Command } from "commander";
import type { CassetteFigures, Recording, TimeFigures } from "../../gateway/record-provider.js";
import type { CheckResult, Scorecard } from "../../gateway/try-provider.js";
import type { CliContext } from "../context.js";
import { EXIT } from "../exit-codes.js";
import { collect, JSON_OPTION, wholeNumber } from "../options.js";
import { harmless, type Output } from "../output.js";
import { untilStopped } from "../until-stopped.js";
import { providerDisableCommand, providerEnableCommand, providerListCommand } from "./provider-account.js";

interface TestOptions {
  json?: boolean;
  only?: string[];
}

export const providerCommand = (context: CliContext) =>
  new Command("provider")
    .summary("list, enable, try and record what supplies compute")
    .addHelpText(
      "after",
      "\nExamples:\n  $ cerver provider ls\n  $ E2B_API_KEY=e2b_… cerver provider enable e2b\n  $ cerver provider test p69",
    )
    .addCommand(providerListCommand(context))
    .addCommand(providerEnableCommand(context))
    .addCommand(providerDisableCommand(context))
    .addCommand(testCommand(context))
    .addCommand(recordCommand(context))
    .addCommand(rehearseCommand(context));

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

interface RecordOptions {
  out: string;
  runs: number;
  json?: boolean;
}

/** `cerver provider record NAME --out FILE`: rounds of a real provider, onto a cassette. */
const recordCommand = (context: CliContext) =>
  new Command("record")
    .summary("record how long a provider takes and how it fails, to rehearse with")
    .description(
      "Makes sandboxes at a provider, one after the other, runs a few commands in each, and writes what came and when to a file that no gateway needs credentials for. The credentials come from the environment and never get into the file.",
    )
    .argument("<name>", "p69, or a vendor whose adapter there is")
    .requiredOption("--out <file>", "the cassette to write; it may not be there yet")
    .option("--runs <count>", "how many sandboxes, one after the other", wholeNumber(1, 1000), 10)
    .option(...JSON_OPTION)
    .addHelpText(
      "after",
      "\nExample:\n  $ E2B_API_KEY=… cerver provider record e2b --out e2b.jsonl --runs 50\n  $ CERVER_REHEARSAL=e2b.jsonl cerver gateway --no-auth",
    )
    .action(async (name: string, { out: path, runs, json }: RecordOptions) => {
      const { out, env, process } = context;
      const { recordProvider } = await import("../../gateway/record-provider.js");
      const abort = new AbortController();
      void untilStopped(context).then(() => abort.abort(new Error("it was interrupted")));
      const progress = new Progress(out);
      progress.begin(runs);
      progress.now("recording");
      const recording = await recordProvider(name, env, {
        out: path,
        runs,
        signal: abort.signal,
        onRun: () => {
          progress.done();
          progress.now("recording");
        },
      }).finally(() => progress.end());
      if (json) out.json(recording);
      else {
        drawFigures(recording.figures, out);
        for (const line of wordsOf(recording, out)) out.line(line);
      }
      if (recording.interrupted) process.exit(EXIT.interrupted);
      process.exit(recording.left_behind.length > 0 ? EXIT.failed : EXIT.ok);
    });

/** `cerver provider rehearse FILE`: what is on a cassette. */
const rehearseCommand = (context: CliContext) =>
  new Command("rehearse")
    .summary("show the times and faults on a cassette")
    .argument("<file>", "what `cerver provider record` wrote")
    .option(...JSON_OPTION)
    .addHelpText("after", "\nExample:\n  $ cerver provider rehearse e2b.jsonl")
    .action(async (path: string, { json }: { json?: boolean }) => {
      const { out } = context;
      const { readRehearsal } = await import("../../gateway/record-provider.js");
      const figures = await readRehearsal(path);
      if (json) return out.json(figures);
      drawFigures(figures, out);
      out.line();
      out.line(`Play it in a gateway: CERVER_REHEARSAL=${path} cerver gateway`);
    });

const MEASURES = {
  create: "create",
  first_command: "first command",
  exec: "command",
  first_byte: "first byte of a stream",
} as const;

function drawFigures(figures: CassetteFigures, out: Output): void {
  const { provider, made, recorded_at, note, calls, sandboxes, lost_answers, times, commands, operations } =
    figures;
  out.line(out.bold(`${provider}, ${made} ${recorded_at}: ${calls} calls, ${sandboxes} sandboxes`));
  if (note !== undefined) out.line(harmless(note));
  out.line();
  const row = (what: string, time: TimeFigures | null) =>
    time
      ? [what, String(time.n), ...[time.p50_ms, time.p95_ms, time.p99_ms, time.max_ms].map(timeOf)]
      : [what, "0", "-", "-", "-", "-"];
  out.table(
    ["what", "n", "p50", "p95", "p99", "longest"],
    [
      ...Object.entries(MEASURES).map(([key, what]) => row(what, times[key as keyof typeof MEASURES])),
      ...commands.slice(0, 12).map(({ asked, ...time }) => row(`  ${asked.slice(0, 50)}`, time)),
    ],
  );
  out.line();
  out.table(
    ["operation", "calls", "failed", "how"],
    operations.map(({ operation, calls, ok, faults }) => [
      operation,
      String(calls),
      String(calls - ok),
      Object.entries(faults)
        .map(([code, count]) => `${code} ${count}`)
        .join(", "),
    ]),
  );
  if (lost_answers > 0) out.line(`${lost_answers} creates made a sandbox although their answer was lost.`);
}

function* wordsOf(recording: Recording, out: Output): Generator<string> {
  const { file, bytes, runs, redaction, not_kept, left_behind, interrupted } = recording;
  const { values, masked, too_short } = redaction;
  yield "";
  yield out.bold(`${file}: ${runs} rounds, ${bytes} bytes${interrupted ? ", interrupted" : ""}`);
  yield `Looked for ${values} credentials and secret variables: ${masked} occurrences became *.`;
  if (too_short.length > 0) yield `Too short to be looked for: ${too_short.join(", ")}.`;
  if (not_kept > 0) yield `${not_kept} calls did not fit and are not on it.`;
  for (const sentence of left_behind) yield `left behind: ${harmless(sentence)}`;
  if (left_behind.length === 0) yield out.dim("Every sandbox it made is deleted.");
}

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
  return ms < 1000 ? `${Number(ms.toFixed(1))} ms` : `${(ms / 1000).toFixed(1)} s`;
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
