// `npm run test:faults`: the whole fault suite. It prints a table, or JSON with --json, and exits 1 when a count that has
// to be 0 is not. `--seed` draws the same runs and the same faults again; at which byte they meet depends on the machine.
// How faults and scenarios are added is told at the top of suite.ts.
import { parseArgs } from "node:util";
import { table } from "./report.js";
import { runSuite, SCENARIOS, type ScenarioName } from "./suite.js";

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "1000" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    worlds: { type: "string", default: "3" },
    "restart-runs": { type: "string", default: "100" },
    "disk-runs": { type: "string", default: "24" },
    /** One scenario alone. */
    only: { type: "string" },
    minutes: { type: "string", default: "10" },
    json: { type: "boolean", default: false },
  },
});

const runs: Record<ScenarioName, number> = {
  mixed: count(values.runs),
  "relay restarts": count(values["restart-runs"]),
  "full disk": count(values["disk-runs"]),
};
if (values.only !== undefined && !(values.only in SCENARIOS)) {
  console.error(`There is no scenario "${values.only}": ${Object.keys(SCENARIOS).join(", ")}.`);
  process.exit(2);
}

const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.once(signal, () => stop.abort(new Error(`ended by ${signal}`)));

const report = await runSuite({
  seed: count(values.seed),
  runs: values.only === undefined ? runs : { [values.only]: runs[values.only as ScenarioName] },
  worlds: count(values.worlds),
  // Ending the worlds takes a few seconds more.
  deadlineMs: count(values.minutes) * 60_000 - 10_000,
  say: (line) => console.error(line),
  signal: stop.signal,
});
console.log(values.json ? JSON.stringify(report, null, 2) : table(report));
process.exit(report.failures.length === 0 ? 0 : 1);

function count(text: string): number {
  const value = Number(text);
  if (Number.isFinite(value) && value >= 0) return value;
  console.error(`"${text}" is not a number.`);
  process.exit(2);
}
