import fc from "fast-check";
import { expect, test } from "vitest";
import type { RunEvent } from "../../../protocol/runs.js";
import { RunStreamTap } from "./run-stream-tap.js";
import { MAX_TRANSCRIPT_OUTPUT } from "./run-transcript.js";

const encode = (events: RunEvent[]) =>
  Buffer.from(
    events
      .map((e, i) => `id: ${i + 1}\nevent: ${e.type}\ndata: ${JSON.stringify(e)}\n\n`)
      .join(": keep-alive\n\n"),
  );
const exit = (bytes: number): RunEvent => ({
  type: "exit",
  run_id: "run_1",
  status: "failed",
  exit_code: 3,
  duration_ms: 5,
  stdout_bytes: bytes,
  stderr_bytes: 0,
});

test("reads output and exit, however the bytes are cut into chunks", () => {
  const events: RunEvent[] = [
    { type: "start", run_id: "run_1", runtime: "shell" },
    { type: "stdout", offset: 0, data: "event: exit\n\n" },
    { type: "stdout", offset: 13, data: "héllo" },
    exit(19),
  ];
  const bytes = encode(events);
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: bytes.length }), { maxLength: 20 }), (cuts) => {
      const tap = new RunStreamTap();
      let from = 0;
      for (const cut of [...new Set(cuts)].sort((a, b) => a - b)) {
        tap.push(bytes.subarray(from, cut));
        from = cut;
      }
      tap.push(bytes.subarray(from));
      expect(tap.exit).toMatchObject({ exit_code: 3 });
      expect(tap.output.stdout).toEqual({ head: "event: exit\n\nhéllo", bytes: 19 });
    }),
  );
});

test("keeps the first and the last of a long output, and true byte counts", () => {
  const tap = new RunStreamTap();
  const block = "x".repeat(50_000);
  const blocks = 40;
  for (let i = 0; i < blocks; i++) {
    tap.push(
      encode([{ type: "stdout", offset: i * block.length, data: i === blocks - 1 ? `${block}END` : block }]),
    );
  }
  const { stdout } = tap.output;
  expect(stdout.bytes).toBe(blocks * block.length + 3);
  expect(stdout.tail?.endsWith("END")).toBe(true);
  expect(stdout.tail!.length).toBeLessThan(MAX_TRANSCRIPT_OUTPUT * 6);
});

test("has no exit for a stream that was cut off", () => {
  const tap = new RunStreamTap();
  tap.push(encode([{ type: "stdout", offset: 0, data: "a" }, exit(1)]).subarray(0, -5));
  expect(tap.exit).toBeUndefined();
});

test("does not hold a stream in memory that never ends an event", () => {
  const tap = new RunStreamTap();
  expect(() => {
    for (let i = 0; i < 200; i++) tap.push(Buffer.alloc(64 * 1024, "x"));
  }).toThrow(RangeError);
});
