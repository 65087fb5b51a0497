import { expect, test } from "vitest";
import { CerverError } from "../protocol/errors.js";
import type { RunEvent } from "../protocol/runs.js";
import { StreamBroke } from "./failures.js";
import { type RunPosition, unbroken } from "./unbroken.js";

const start: RunEvent = { type: "start", run_id: "run_1", runtime: "shell" };
const exit = { type: "exit", run_id: "run_1", exit_code: 0 } as RunEvent;

/** Streams that end one after the other: each is a list of events, then a break, unless it holds an end. */
function streams(...lists: RunEvent[][]) {
  const asked: RunPosition[] = [];
  const open = async function* (at: Readonly<RunPosition>): AsyncGenerator<RunEvent> {
    asked.push({ ...at });
    const list = lists[asked.length - 1];
    if (!list) throw new CerverError("gateway_unreachable", "away");
    yield* list;
    if (!list.includes(exit)) throw new StreamBroke("compute_lost", "broke");
  };
  return { open, asked };
}

async function read(events: AsyncIterable<RunEvent>): Promise<RunEvent[]> {
  const all: RunEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

test.each<[string, "base64" | undefined, number]>([
  ["hi\n", undefined, 3],
  ["hé😀", undefined, 7],
  ["", undefined, 0],
  ["/w==", "base64", 1],
  ["/wA=", "base64", 2],
  ["/wAB", "base64", 3],
  ["", "base64", 0],
])("goes on after the bytes of %j (%s)", async (data, encoding, bytes) => {
  const output: RunEvent = { type: "stdout", offset: 10, data, ...(encoding && { encoding }) };
  const { open, asked } = streams([start, output], [exit]);
  const events = await read(unbroken({ open, patienceMs: 5_000 }));
  expect(events).toEqual([start, output, exit]);
  expect(asked[1]).toEqual({ runId: "run_1", stdout: 10 + bytes, stderr: 0 });
});

test("throws what broke when no connection held for long enough, and tells of the break once", async () => {
  const { open } = streams([start]);
  const breaks: string[] = [];
  const reading = read(unbroken({ open, patienceMs: 700, onBreak: ({ code }) => breaks.push(code) }));
  await expect(reading).rejects.toMatchObject({ code: "gateway_unreachable" });
  expect(breaks).toEqual(["compute_lost"]);
});

test("stops waiting when its signal says so", async () => {
  const { open } = streams([start]);
  const leaving = new AbortController();
  const reading = read(
    unbroken({
      open,
      patienceMs: 60_000,
      signal: leaving.signal,
      onBreak: () => leaving.abort(new Error("left")),
    }),
  );
  await expect(reading).rejects.toThrow("left");
});
