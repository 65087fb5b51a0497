import fc from "fast-check";
import { expect, test } from "vitest";
import { RunEventWriter } from "../../output/run-event-writer.js";
import { Redactor } from "./redactor.js";

/** Whoever knows what a secret is finds nothing of it, and everything is as long as it was. */
const SECRETS = fc.array(fc.string({ minLength: 6, maxLength: 30, unit: "binary" }), {
  minLength: 1,
  maxLength: 4,
});

test("a stream of events is masked wherever it is cut, and its offsets stay true", () => {
  fc.assert(
    fc.property(
      SECRETS,
      fc.array(fc.oneof(fc.nat(3), fc.string({ maxLength: 20 })), { maxLength: 12 }),
      fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 20 }),
      (secrets, parts, cuts) => {
        const text = parts
          .map((part) => (typeof part === "string" ? part : secrets[part % secrets.length]))
          .join("");
        const bytes = Buffer.from(text);
        const frames: string[] = [];
        const writer = new RunEventWriter({ stdout: 0, stderr: 0 }, (event) => frames.push(event.toString()));
        for (let at = 0, cut = 0; at < bytes.length; at += cuts[cut++ % cuts.length]!)
          writer.output("stdout", bytes.subarray(at, at + cuts[cut % cuts.length]!));
        writer.end({ type: "error", run_id: "run_1", error: `it said ${secrets[0]}`, code: "internal" });
        const clean = new Redactor(secrets).events(frames);
        const events = clean.map((frame) => JSON.parse(/^data: (.*)$/m.exec(frame)![1]!));
        let at = 0;
        const pieces: Buffer[] = [];
        for (const { type, offset, data, encoding } of events.slice(0, -1)) {
          const piece = Buffer.from(data, encoding ?? "utf8");
          expect([type, offset]).toEqual(["stdout", at]);
          at += piece.length;
          pieces.push(piece);
        }
        const all = Buffer.concat(pieces).toString("latin1");
        for (const secret of secrets) {
          const needle = Buffer.from(secret).toString("latin1");
          if (!/^\*+$/.test(needle)) expect(all.includes(needle)).toBe(false);
        }
      },
    ),
    { numRuns: 300 },
  );
});

test("texts in JSON are masked, words of ours are not", () => {
  const redactor = new Redactor(["succeeded", "true"]);
  expect(redactor.value({ status: "succeeded", stdout: "it succeeded: true", success: true })).toEqual({
    status: "succeeded",
    stdout: "it *********: ****",
    success: true,
  });
  expect(redactor.masked).toBe(2);
});

test("more values than can be looked for make nothing clean", () => {
  const redactor = new Redactor(Array.from({ length: 2_001 }, (_, index) => `secret-${index}`));
  expect(redactor.holds("nothing in it")).toBe(true);
});
