import { statSync } from "node:fs";
import type { Bench } from "./bench.js";
import { Absent } from "./contender.js";
import { type Line, WHO, type Who } from "./table.js";
import { median, ratioOf } from "./turns.js";

/** Much output of one run: how many of the process's bytes (10^6) a second reach a reader that only counts. */
export async function streams(bench: Bench): Promise<Line[]> {
  const { short } = bench.options;
  const file = bench.textFile({ megabytes: short ? 16 : 256 });
  const withUmlauts = bench.textFile({ megabytes: short ? 4 : 64, umlauts: true });
  const cerver = await bench.cerver();
  const contenders = await bench.contenders();
  const hasRaw = await cerver.hasRawOutput();
  if (hasRaw instanceof Absent) {
    contenders.cerver = hasRaw;
    bench.note(hasRaw.why!);
  }

  const events: number[] = [];
  const umlauts: number[] = [];
  const raw = new Map<Who, number[]>();
  const words: Line["figures"] = {};
  for (let round = 0; round < (short ? 1 : 3); round++) {
    events.push(await megabytesPerSecond(file, () => cerver.catEvents(file)));
    umlauts.push(await megabytesPerSecond(withUmlauts, () => cerver.catEvents(withUmlauts)));
    for (const who of WHO) {
      const contender = contenders[who];
      if (contender instanceof Absent) words[who] = contender.word;
      else raw.set(who, [...(raw.get(who) ?? []), await megabytesPerSecond(file, () => contender.cat(file))]);
    }
  }
  bench.note(
    "stream: bytes of the process's output; as events, their frames and JSON escapes are not counted.",
  );
  const [ours, ssh] = [raw.get("cerver"), raw.get("openssh")];
  return [
    {
      row: "streams",
      what: "stream as events (SSE), ASCII",
      unit: "MB/s",
      figures: { cerver: median(events) },
      target: "at least 150 MB/s",
    },
    {
      row: "streams",
      what: "stream as events (SSE), UTF-8",
      unit: "MB/s",
      figures: { cerver: median(umlauts) },
      target: "at least 150 MB/s",
    },
    {
      row: "streams",
      what: "stream as raw bytes, cat",
      unit: "MB/s",
      figures: { ...Object.fromEntries([...raw].map(([who, values]) => [who, median(values)])), ...words },
      ...(ours && ssh && { ratio: ratioOf(ours, ssh) }),
      target: "at least 1.0 x OpenSSH",
    },
  ];
}

async function megabytesPerSecond(file: string, read: () => Promise<number>): Promise<number> {
  const { size } = statSync(file);
  const began = performance.now();
  const bytes = await read();
  const seconds = (performance.now() - began) / 1000;
  if (bytes !== size) throw new Error(`of ${size} bytes ${bytes} came`);
  return size / 1e6 / seconds;
}
