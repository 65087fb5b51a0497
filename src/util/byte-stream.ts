import type { Readable, Writable } from "node:stream";

/** Unread bytes that a stream takes from its source before it holds it up. */
const HIGH_WATER_BYTES = 64 * 1024;
const EMPTY = new Uint8Array(0);

/**
 * What a Node stream or socket receives, as a web stream: its end, its failure, and held up while nobody reads.
 *
 * A reader that cancels leaves the source open and what still comes is thrown away: whoever owns the source ends it.
 */
export function bytesOf(source: Readable, head: Uint8Array = EMPTY): ReadableStream<Uint8Array> {
  let isOver = false;
  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        const finish = (last: () => void) => {
          if (isOver) return;
          isOver = true;
          last();
        };
        if (head.length > 0) controller.enqueue(head);
        source.on("data", (chunk: Buffer) => {
          if (isOver) return;
          controller.enqueue(chunk);
          if ((controller.desiredSize ?? 0) <= 0) source.pause();
        });
        source.once("end", () => finish(() => controller.close()));
        source.on("error", (error) => finish(() => controller.error(error)));
        source.once("close", () =>
          finish(() => controller.error(new Error("the connection closed before its end"))),
        );
      },
      pull() {
        source.resume();
      },
      cancel() {
        isOver = true;
        source.resume();
      },
    },
    { highWaterMark: HIGH_WATER_BYTES, size: (chunk) => chunk.byteLength },
  );
}

/**
 * Writes a web stream into a Node stream or socket, no faster than it takes it. The end of one ends the other; a stream
 * that fails destroys the sink, and a sink that closes cancels the stream. Never rejects.
 */
export async function pour(stream: ReadableStream<Uint8Array>, sink: Writable): Promise<void> {
  const reader = stream.getReader();
  const onClose = () => void reader.cancel().catch(() => {});
  if (sink.destroyed) onClose();
  sink.once("close", onClose);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (sink.destroyed) return;
      if (done) break;
      if (!sink.write(value)) await drained(sink);
    }
    sink.end();
  } catch {
    sink.destroy();
  } finally {
    sink.off("close", onClose);
  }
}

function drained(sink: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      sink.off("drain", done).off("close", done);
      resolve();
    };
    sink.once("drain", done).once("close", done);
    if (sink.destroyed) done();
  });
}
