import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

interface Check {
  id: string;
  status: "SUCCESS" | "FAILURE" | "WARNING" | "SKIPPED" | "INFO";
}

interface Scenario {
  name: string;
  /** Why the revision does not count it; undefined when it is required. */
  notScored: string | undefined;
  passed: number;
  failed: number;
}

const DOCS = "docs/mcp.md";
const BLOCK = /(?<=<!-- conformance: [^>]*>\n).*?(?=<!-- end -->)/s;

/**
 * Prints what `scripts/mcp-conformance.sh` left in a folder, and compares the summary with the one in docs/mcp.md, or writes
 * it there. The suite's own exit code does not count scenarios that are not required, nor warnings: here they have to pass,
 * but for extensions that are not served, and for the gateway, whose expected failures the suite compares itself.
 */
const [folder, write] = process.argv.slice(2);
const names = { fixture: "fixture", gateway: "gateway, with a token", authorization: "authorization server" };
const rows: string[] = [];
const broken: string[] = [];
let notServed = 0;
for (const [target, label] of Object.entries(names))
  for (const revision of ["2025-11-25", "2026-07-28"]) {
    const scenarios = read(join(folder!, `${target}-${revision}`));
    console.log(`\n${revision}, ${label}`);
    for (const { name, passed, failed, notScored } of scenarios)
      console.log(
        `  ${name.padEnd(46)} ${passed} passed, ${failed} failed${notScored ? ` (${notScored})` : ""}`,
      );
    const served = scenarios.filter(({ notScored }) => notScored !== "extension");
    notServed += scenarios.length - served.length;
    if (target !== "gateway")
      for (const { name, failed } of served) if (failed > 0) broken.push(`${name} (${revision})`);
    const passed = sum(served, "passed");
    const failed = sum(served, "failed");
    const required = served.filter(({ notScored }) => notScored === undefined).length;
    const others = served.length > required ? ` + ${served.length - required}` : "";
    rows.push(
      `| ${revision} | ${label} | ${required}${others} | ${passed + failed} | ${passed} | ${failed} |`,
    );
  }
const summary = [
  "| revision | against | scenarios | checks | passed | failed |",
  "|---|---|--:|--:|--:|--:|",
  ...rows,
  "",
  `Not served, and not counted: the ${notServed} scenarios of the optional extension for tasks.`,
].join("\n");
console.log(`\n${summary}`);

for (const name of broken) console.error(`Failed: ${name}.`);
if (broken.length > 0) process.exitCode = 1;
const docs = readFileSync(DOCS, "utf8");
if (write === "--write") writeFileSync(DOCS, docs.replace(BLOCK, `${summary}\n`));
else if (BLOCK.exec(docs)?.[0] !== `${summary}\n`) {
  console.error(`${DOCS} has other results. Look at them, then run npm run test:conformance -- --write.`);
  process.exitCode = 1;
}

function read(run: string): Scenario[] {
  const reasons = existsSync(`${run}.required`)
    ? notScored(readFileSync(`${run}.required`, "utf8"))
    : new Map<string, string>();
  return readdirSync(run).map((entry) => {
    const checks = JSON.parse(readFileSync(join(run, entry, "checks.json"), "utf8")) as Check[];
    const name = entry.replace(/^(authorization-)?server-/, "").replace(/-\d{4}-\d{2}-\d{2}T[\w-]+$/, "");
    const count = (...statuses: Check["status"][]) =>
      checks.filter(({ status }) => statuses.includes(status)).length;
    return {
      name,
      notScored: reasons.get(name),
      passed: count("SUCCESS"),
      failed: count("FAILURE", "WARNING"),
    };
  });
}

/** Why scenarios are not scored, from what the suite lists under "never scored": a reason's line, then its scenarios. */
function notScored(list: string): Map<string, string> {
  const reasons = new Map<string, string>();
  const lines = list.split("\n");
  let reason = "";
  for (const line of lines.slice(lines.findIndex((line) => line.endsWith("never scored:")) + 1)) {
    reason = /^ {2}(\S+) \(\d+\):$/.exec(line)?.[1] ?? reason;
    const name = /^ {4}- (\S+) \[server\]$/.exec(line)?.[1];
    if (name !== undefined) reasons.set(name, reason);
  }
  return reasons;
}

function sum(scenarios: Scenario[], field: "passed" | "failed"): number {
  return scenarios.reduce((total, scenario) => total + scenario[field], 0);
}
