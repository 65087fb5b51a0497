import fc from "fast-check";
import { expect, test } from "vitest";
import { OutputCollector } from "./output-collector.js";
import { OutputEvents } from "./output-events.js";

/** Bytes that are often nearly UTF-8: text, cut text, and anything. */
const chunks = fc.array(
  fc.oneof(
    fc.string({ unit: "grapheme" }).map((text) => Buffer.from(text)),
    fc.string({ unit: "grapheme", minLength: 1 }).chain((text) => {
      const bytes = Buffer.from(text);
      return fc.integer({ min: 0, max: bytes.length }).map((cut) => bytes.subarray(cut));
    }),
    fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
  ),
  { maxLength: 30 },
);

test("every byte is in exactly one piece, in order, at its offset", () => {
  fc.assert(
    fc.property(chunks, (input) => {
      const events = new OutputEvents();
      const pieces = [...input.map((chunk) => events.push(chunk)), events.end()].filter(
        (piece) => piece !== undefined,
      );
      let offset = 0;
      const bytes = pieces.map((piece) => {
        expect(piece.offset).toBe(offset);
        const decoded = Buffer.from(piece.data, piece.encoding ?? "utf8");
        offset += decoded.length;
        return decoded;
      });
      expect(Buffer.concat(bytes).equals(Buffer.concat(input))).toBe(true);
    }),
  );
});

test("text stays text however it is cut", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), fc.array(fc.nat(40)), (text, cuts) => {
      const bytes = Buffer.from(text);
      const events = new OutputEvents();
      const pieces = [];
      let from = 0;
      for (const cut of [...cuts].sort((a, b) => a - b)) {
        pieces.push(events.push(bytes.subarray(from, Math.max(from, cut))));
        from = Math.max(from, Math.min(cut, bytes.length));
      }
      pieces.push(events.push(bytes.subarray(from)), events.end());
      const found = pieces.filter((piece) => piece !== undefined);
      expect(found.every((piece) => piece.encoding === undefined)).toBe(true);
      expect(found.map((piece) => piece.data).join("")).toBe(text);
    }),
  );
});

test("a collector keeps everything up to its limit", () => {
  const collector = new OutputCollector(10);
  for (const text of ["abc", "defg", "hij"]) collector.push(Buffer.from(text));
  expect(collector.finish()).toEqual({ text: "abcdefghij", bytes: 10, truncated: false });
});

test("over the limit, a collector keeps both ends and names what is missing", () => {
  const collector = new OutputCollector(10);
  for (const byte of "0123456789abcdefghij") collector.push(Buffer.from(byte));
  expect(collector.finish()).toEqual({
    text: "01234\n[cerver: 10 bytes left out here]\nfghij",
    bytes: 20,
    truncated: true,
  });
});

test("a cut never splits a character", () => {
  const collector = new OutputCollector(10);
  collector.push(Buffer.from("ééééééééé"));
  const { text, encoding } = collector.finish();
  expect(encoding).toBeUndefined();
  expect(text).toBe("éé\n[cerver: 10 bytes left out here]\néé");
});

test("bytes that are not text come as base64", () => {
  const collector = new OutputCollector();
  collector.push(Buffer.from([0xff, 0x00, 0xfe]));
  expect(collector.finish()).toMatchObject({ text: "/wD+", encoding: "base64", bytes: 3 });
});
