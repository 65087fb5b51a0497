import fc from "fast-check";
import { expect, test } from "vitest";
import { readEventStream, type ServerSentEvent } from "./event-stream.js";

async function parse(chunks: Uint8Array[]): Promise<ServerSentEvent[]> {
  const events: ServerSentEvent[] = [];
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });
  for await (const event of readEventStream(body)) events.push(event);
  return events;
}

function cutAt(bytes: Uint8Array, cuts: number[]): Uint8Array[] {
  const at = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  return [...at, bytes.length].map((end, index) => bytes.subarray(at[index - 1] ?? 0, end));
}

test.each(["\n", "\r", "\r\n"])(
  "reads events with %j as line end, wherever the bytes are cut",
  async (eol) => {
    const text = [
      "id: 7",
      "event: stdout",
      "data: héllo",
      "data:second",
      ": comment",
      "",
      "data: x",
      "",
      "data: never ended",
    ];
    const bytes = new TextEncoder().encode(text.join(eol));
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(200), { maxLength: 12 }), async (cuts) => {
        expect(await parse(cutAt(bytes, cuts))).toEqual([
          { id: "7", event: "stdout", data: "héllo\nsecond" },
          { id: "7", event: "message", data: "x" },
        ]);
      }),
      { numRuns: 60 },
    );
  },
);

test("an event without data is none, and a field without a colon has an empty value", async () => {
  const bytes = new TextEncoder().encode("event: a\n\ndata\n\n");
  expect(await parse([bytes])).toEqual([{ id: undefined, event: "message", data: "" }]);
});
