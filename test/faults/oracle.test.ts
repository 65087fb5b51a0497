import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { RunAnswer } from "./api.js";
import { HeardOutput } from "./heard-output.js";
import { Oracle, untrueEnd, wrongAnswer } from "./oracle.js";
import type { Ending, Plan, Shape } from "./plan.js";
import { Random } from "./random.js";

const exec = promisify(execFile);
const nothing = { cancelled: false, left: false };

let folder: string;
let oracle: Oracle;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "cerver it's an oracle-"));
  oracle = await Oracle.open(folder);
});
afterEach(() => rm(folder, { recursive: true, force: true }));

function plan(by: Ending["by"], number = 1): Promise<Plan> {
  const shape: Shape = {
    hows: [{ how: "run", weight: 1 }],
    keyed: 0,
    endings: [{ by, weight: 1 }],
    sizes: [{ upTo: 100_000, weight: 1 }],
    sleeps: [{ upTo: 0, weight: 1 }],
  };
  return oracle.plan(number, shape, new Random(`test/${by}/${number}`));
}

/** Runs a plan's script as the product has to, and gives the true end. */
async function execute({ code }: Plan): Promise<{ stdout: Buffer; stderr: Buffer; exit: unknown }> {
  const options = { encoding: "buffer", env: { ...process.env, CERVER_RUN_ID: "run_1" } } as const;
  return exec("/bin/sh", ["-c", code], options).then(
    ({ stdout, stderr }) => ({ stdout, stderr, exit: 0 }),
    ({ stdout, stderr, code, signal }) => ({ stdout, stderr, exit: signal ?? code }),
  );
}

describe("the oracle", () => {
  test("knows what a script prints and how it ends before it runs", async () => {
    for (const by of ["exit", "signal"] as const) {
      const meant = await plan(by);
      const { stdout, stderr, exit } = await execute(meant);
      expect(stdout.equals(meant.stdout)).toBe(true);
      expect(stderr.equals(meant.stderr)).toBe(true);
      expect(exit).toBe(
        meant.ending.by === "signal" ? meant.ending.signal : (meant.ending as { code: number }).code,
      );
    }
  });

  test("sees a script that began twice", async () => {
    const meant = await plan("exit");
    await execute(meant);
    await execute(meant);
    const { begun, byRunId, reachedEnd } = await oracle.truth();
    expect(begun.get(1)).toHaveLength(2);
    expect(byRunId.get("run_1")).toMatchObject({ number: 1 });
    expect(reachedEnd.has(1)).toBe(true);
  });

  test("believes the true end and no other", async () => {
    const meant = await plan("signal");
    const { code, signal } = meant.ending as Ending & { by: "signal" };
    const told = { status: "failed", exit_code: code, signal } as const;
    expect(untrueEnd(meant, await oracle.truth(), told, nothing)).toContain("never began");
    await execute(meant);
    const truth = await oracle.truth();
    expect(untrueEnd(meant, truth, told, nothing)).toBeUndefined();
    expect(untrueEnd(meant, truth, { ...told, exit_code: 0 }, nothing)).toContain(`ended by ${signal}`);
    expect(untrueEnd(meant, truth, { status: "timed_out", exit_code: 124 }, nothing)).toContain(
      "long before",
    );
    const cancelled = (end_reason: string) => ({ status: "cancelled", end_reason }) as const;
    expect(untrueEnd(meant, truth, cancelled("never_started"), nothing)).toContain("the script began");
    expect(untrueEnd(meant, truth, cancelled("cancelled"), nothing)).toContain("nobody asked");
    expect(untrueEnd(meant, truth, cancelled("cancelled"), { ...nothing, left: true })).toBeUndefined();
    expect(untrueEnd({ ...meant, how: "background" }, truth, cancelled("abandoned"), nothing)).toContain(
      "abandoned",
    );
    expect(untrueEnd(meant, truth, { status: "lost" }, nothing)).toBeUndefined();
  });

  test("does not believe in the success of a script that was ended on its way", async () => {
    const meant = await plan("timeout");
    await writeFile(join(folder, "ledger"), "1 1 0 run_1\n");
    const truth = await oracle.truth();
    const told = { status: "succeeded", exit_code: 0 } as const;
    expect(untrueEnd(meant, truth, told, nothing)).toContain("did not come to its end");
    expect(untrueEnd(meant, truth, { status: "timed_out" }, nothing)).toBeUndefined();
  });

  test("finds a wrong byte in an answer, and in the beginning of a truncated one", async () => {
    const meant = await plan("exit");
    await execute(meant);
    const truth = await oracle.truth();
    const answer = (stdout: Buffer, truncated = false) =>
      ({
        truncated,
        result: {
          stdout: stdout.toString("base64"),
          stdout_encoding: "base64",
          stderr: meant.stderr.toString("base64"),
          stderr_encoding: "base64",
        },
      }) as RunAnswer;
    const other = Buffer.from(meant.stdout);
    other[7]! ^= 1;
    expect(wrongAnswer(meant, truth, answer(meant.stdout))).toBeUndefined();
    expect(wrongAnswer(meant, truth, answer(other))).toContain("stdout");
    expect(wrongAnswer(meant, truth, answer(other, true))).toContain("begins with other bytes");
    expect(wrongAnswer(meant, truth, answer(meant.stdout.subarray(1)))).toContain("stdout");
  });
});

describe("output that was heard over several connections", () => {
  const expected = { stdout: Buffer.from("0123456789"), stderr: Buffer.from("é") };
  const event = (offset: number, data: string) => ({ type: "stdout", offset, data }) as const;

  test("is right when the pieces fit, also when some are told twice", () => {
    const heard = new HeardOutput(expected);
    heard.take(event(0, "01234"), "5:0");
    expect(heard.eventId).toBe("5:0");
    heard.take(event(3, "3456"), "7:0");
    heard.take({ type: "stderr", offset: 0, data: "é" }, "7:2");
    heard.take(event(7, "789"), "10:2");
    heard.ends();
    expect(heard.wrong).toBeUndefined();
  });

  test.each([
    ["a hole", [event(0, "01"), event(3, "3")], "jumps from 2 to 3"],
    ["a wrong byte", [event(0, "x1")], "other bytes"],
    ["more than was printed", [event(0, "0123456789x")], "other bytes"],
    ["a missing end", [event(0, "01")], "ends after 2 of 10"],
    ["a gap in the wrong place", [{ type: "gap", stream: "stdout", offset: 4, bytes: 1 } as const], "gap"],
  ])("tells %s", (_, events, wrong) => {
    const heard = new HeardOutput(expected);
    for (const one of events) heard.take(one, undefined);
    heard.ends();
    expect(heard.wrong).toContain(wrong);
  });

  test("goes on after a gap that is named", () => {
    const heard = new HeardOutput({ ...expected, stderr: Buffer.alloc(0) });
    heard.take({ type: "gap", stream: "stdout", offset: 0, bytes: 6 }, "6:0");
    heard.take(event(6, "6789"), "10:0");
    heard.ends();
    expect([heard.wrong, heard.gaps.stdout]).toEqual([undefined, 1]);
  });

  test("tells an id that does not say where the streams stand", () => {
    const heard = new HeardOutput(expected);
    heard.take(event(0, "01"), "3:0");
    expect(heard.wrong).toContain("has the id 3:0");
  });
});

test("a clock that is set moves the dates of a process, and not its timers", async () => {
  const clock = join(folder, "clock");
  await writeFile(clock, "0");
  const script = `
    const began = [Date.now(), performance.now()];
    require("node:fs").writeFileSync(${JSON.stringify(clock)}, "-7200000");
    setTimeout(() => console.log(JSON.stringify({
      stepped: Date.now() - began[0],
      dated: new Date().getTime() - began[0],
      passed: performance.now() - began[1],
      kind: [new Date(0) instanceof Date, new Date(0).constructor === Date, typeof Date(), Date.UTC(1970, 0)],
    })), 300)`;
  const preload = pathToFileURL(join(import.meta.dirname, "fixtures", "clock.mjs")).href;
  const { stdout } = await exec(process.execPath, ["-e", script], {
    env: { NODE_OPTIONS: `--import=${preload}`, FAULTS_CLOCK_FILE: clock },
  });
  const { stepped, dated, passed, kind } = JSON.parse(stdout);
  expect(Math.abs(stepped + 7_200_000)).toBeLessThan(5_000);
  expect(Math.abs(dated + 7_200_000)).toBeLessThan(5_000);
  expect(passed).toBeGreaterThan(250);
  expect(kind).toEqual([true, true, "string", 0]);
});
