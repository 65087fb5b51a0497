// Measures cerver beside a bare spawn, OpenSSH and websocketd, and prints one table, or JSON. It judges nothing: whatever
// the figures, it ends with 0 unless something did not work.
import { availableParallelism, constants, loadavg } from "node:os";
import { parseArgs } from "node:util";
import { Bench } from "./bench.js";
import { Endings } from "./endings.js";
import { measure, ROWS, type Row } from "./rows.js";
import { table } from "./table.js";

const HELP = `usage: npm run bench -- [--json] [--short] [--runs N] [--only NAME]...
                        [--corpus FOLDER] [--stop-seconds N] [--idle-seconds N]

  --json            one line of JSON instead of the table
  --short           a quick look whether everything works; its figures mean little
  --runs N          runs of each command (300; 20 when short)
  --only NAME       only this row, may be repeated: ${ROWS.join(", ")}
  --corpus FOLDER   what memory looks into, written by scripts/write-corpus.ts (else a small one is written)
  --stop-seconds N  how long the stopped reader stands still (60; 3 when short)
  --idle-seconds N  how long an idle relay is watched (30; 3 when short)
`;

const endings = new Endings();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => void endAndExit(128 + constants.signals[signal]));
}
let isStopping = false;

try {
  const { json, rows, ...options } = flags();
  // What else the machine does makes all slower, and not all by the same.
  const about = { node: process.version, cores: availableParallelism(), load: loadavg()[0]!, ...options };
  const bench = new Bench(options, endings);
  let failures = 0;
  const lines = await measure(bench, rows, {
    row: (row) => process.stderr.write(`${row} ...\n`),
    failure: (row, error) => {
      // What is ended under the hands of a row makes it fail.
      if (isStopping) return;
      failures++;
      process.stderr.write(`${row} failed: ${error.stack}\n`);
    },
  });
  // The signal's handler ends the process, once everything else has ended.
  if (isStopping) await new Promise(() => {});
  if (json) console.log(JSON.stringify({ ...about, lines, notes: bench.notes }));
  else {
    const { node, cores, load, runs } = about;
    console.log(
      `Node ${node}, ${cores} cores, load ${load.toFixed(2)} before; ${runs} runs of each, in turns\n`,
    );
    console.log(table(lines));
    console.log(`\n${bench.notes.map((note) => `- ${note}`).join("\n")}`);
  }
  await endAndExit(failures > 0 ? 1 : 0);
} catch (error) {
  if (!isStopping) process.stderr.write(`${(error as Error).stack}\n`);
  await endAndExit(1);
}

async function endAndExit(code: number): Promise<void> {
  if (isStopping) return;
  isStopping = true;
  const failures = await endings.all();
  for (const { message } of failures) process.stderr.write(`${message}\n`);
  process.exit(code === 0 && failures.length > 0 ? 1 : code);
}

function flags() {
  const string = { type: "string" } as const;
  const boolean = { type: "boolean", default: false } as const;
  const options = {
    json: boolean,
    short: boolean,
    help: boolean,
    runs: string,
    only: { ...string, multiple: true },
    corpus: string,
    "stop-seconds": string,
    "idle-seconds": string,
  } as const;
  try {
    const { values } = parseArgs({ options });
    if (values.help) {
      process.stdout.write(HELP);
      process.exit(0);
    }
    const { short, json } = values;
    return {
      json,
      short,
      runs: count("--runs", values.runs, short ? 20 : 300),
      stopSeconds: count("--stop-seconds", values["stop-seconds"], short ? 3 : 60),
      idleSeconds: count("--idle-seconds", values["idle-seconds"], short ? 3 : 30),
      corpus: values.corpus,
      rows: chosen(values.only),
    };
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${HELP}`);
    process.exit(2);
  }
}

function count(flag: string, given: string | undefined, otherwise: number): number {
  if (given !== undefined && !/^[1-9]\d*$/.test(given))
    throw new Error(`${flag} takes a whole number above 0.`);
  return given === undefined ? otherwise : Number(given);
}

function chosen(only: string[] = []): Row[] {
  const unknown = only.filter((name) => !ROWS.some((row) => row === name));
  if (unknown.length > 0) throw new Error(`There is no row ${unknown.join(", ")}.`);
  return ROWS.filter((row) => only.length === 0 || only.includes(row));
}
