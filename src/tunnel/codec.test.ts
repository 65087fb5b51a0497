import fc from "fast-check";
import { expect, test } from "vitest";
import { decodeCredit, decodeFrame, decodeHead, encodeCredit, encodeFrame, encodeHead } from "./codec.js";

const type = fc.integer({ min: 0, max: 255 });
const streamId = fc.integer({ min: 0, max: 0xffffffff });
const bytes = fc.uint8Array({ maxLength: 300 });

test("a frame comes back as it went", () => {
  fc.assert(
    fc.property(type, streamId, fc.boolean(), bytes, (type, streamId, end, payload) => {
      const frame = decodeFrame(encodeFrame(type, streamId, end, payload))!;
      expect({ ...frame, payload: [...frame.payload] }).toEqual({
        type,
        streamId,
        end,
        payload: [...payload],
      });
    }),
  );
});

test("a head comes back with the beginning of its body", () => {
  fc.assert(
    fc.property(fc.jsonValue(), bytes, (value, body) => {
      const head = { value };
      const { payload } = decodeFrame(encodeHead(2, 7, false, head, body))!;
      const decoded = decodeHead(payload, 1_000_000)!;
      expect(decoded.head).toEqual(JSON.parse(JSON.stringify(head)));
      expect([...decoded.body]).toEqual([...body]);
    }),
  );
});

test("no bytes whatever throw out of the decoders", () => {
  fc.assert(
    fc.property(bytes, (message) => {
      const frame = decodeFrame(message);
      expect(frame === undefined).toBe(message.length < 6);
      if (!frame) return;
      decodeHead(frame.payload, 100);
      decodeCredit(frame.payload);
    }),
  );
});

test("a head that is cut or over the bound is none", () => {
  const { payload } = decodeFrame(encodeHead(2, 1, true, { path: "/x" }, undefined))!;
  for (let length = 0; length < payload.length; length++) {
    expect(decodeHead(payload.subarray(0, length), 1000)).toBeUndefined();
  }
  expect(decodeHead(payload, payload.length - 5)).toBeUndefined();
  expect(decodeHead(payload, payload.length - 4)).toBeDefined();
});

test("a credit is four bytes", () => {
  fc.assert(
    fc.property(streamId, fc.integer({ min: 0, max: 0xffffffff }), (id, amount) => {
      expect(decodeCredit(decodeFrame(encodeCredit(id, amount))!.payload)).toBe(amount);
    }),
  );
});
