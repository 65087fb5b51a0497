const NEWLINE = 0x0a;
const DATA = Buffer.from("data: ");

/**
 * Turns server-sent events into NDJSON: the `data` line of each event becomes a line, everything else is left out.
 * A comment, which keeps an idle event stream open, becomes an empty line for the same purpose.
 */
export function toNdjson(events: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
  let partial = Buffer.alloc(0);
  return events.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        const bytes =
          partial.length > 0
            ? Buffer.concat([partial, chunk])
            : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
        const lines: Uint8Array[] = [];
        let from = 0;
        for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, from)) {
          const line = bytes.subarray(from, end + 1);
          if (line.subarray(0, DATA.length).equals(DATA)) lines.push(line.subarray(DATA.length));
          else if (line[0] === 0x3a) lines.push(line.subarray(-1));
          from = end + 1;
        }
        partial = Buffer.from(bytes.subarray(from));
        if (lines.length > 0) controller.enqueue(Buffer.concat(lines));
      },
    }),
  );
}
