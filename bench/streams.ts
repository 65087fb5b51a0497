import { statSync } from "node:fs";
import type { Bench } from "./bench.js";
import { Absent } from "./contender.js";
import { type Line, WHO, type Who } from "./table.js";
import { median, ratioOf } from "./turns.js";

const ROW = "streams";

/**
 * Much output of one run: how many of the process's bytes (10^6) a second reach a reader that only counts.
 *
 * What is read as raw bytes fits into what a machine keeps of a run: an output that is longer has lost its beginning.
 */
export async function streams(bench: Bench): Promise<Line[]> {
  const { short } = bench.options;
  const large = bench.textFile({ megabytes: short ? 16 : 256 });
  const small = bench.textFile({ megabytes: short ? 4 : 64 });
  const umlauts = bench.textFile({ megabytes: short ? 4 : 64, umlauts: true });
  const cerver = await bench.cerver();
  const contenders = await bench.contenders();
  const hasRaw = await cerver.hasRawOutput();
  if (hasRaw instanceof Absent) {
    contenders.cerver = hasRaw;
    bench.note(hasRaw.why!);
  }
  const words: Line["figures"] = Object.fromEntries(
    WHO.flatMap((who) => (contenders[who] instanceof Absent ? [[who, contenders[who].word]] : [])),
  );

  const rates = { events: [] as number[], umlauts: [] as number[], kept: [] as number[] };
  const raw: Partial<Record<Who, number[]>> = {};
  for (let round = 0; round < (short ? 1 : 3); round++) {
    rates.events.push(await rate(large, () => cerver.catEvents(large)));
    rates.umlauts.push(await rate(umlauts, () => cerver.catEvents(umlauts)));
    for (const who of WHO) {
      const contender = contenders[who];
      if (contender instanceof Absent) continue;
      raw[who] = [...(raw[who] ?? []), await rate(small, () => contender.cat(small))];
    }
    if (hasRaw === true) {
      const run = await cerver.runCat(small);
      rates.kept.push(await rate(small, () => cerver.readKept(run)));
    }
  }
  bench.note(
    "streams: bytes of the process's output; the frames and escapes that events add are not counted.",
  );
  const line = (what: string, figures: Line["figures"], target: string, ours?: number[]): Line => ({
    row: ROW,
    what,
    unit: "MB/s",
    figures,
    ...(ours?.length && raw.openssh && { ratio: ratioOf(ours, raw.openssh) }),
    target,
  });
  const medians = Object.fromEntries(Object.entries(raw).map(([who, values]) => [who, median(values)]));
  const kept = hasRaw === true ? median(rates.kept) : hasRaw.word;
  const asEvents = "at least 150 MB/s";
  const asRaw = "at least 1.0 x OpenSSH";
  return [
    line("cat as events (SSE), ASCII", { cerver: median(rates.events) }, asEvents),
    line("cat as events (SSE), UTF-8", { cerver: median(rates.umlauts) }, asEvents),
    line("cat as raw bytes (ours: run, then read)", { ...medians, ...words }, asRaw, raw.cerver),
    line("read as raw bytes alone, after the run", { cerver: kept }, asRaw, rates.kept),
  ];
}

async function rate(file: string, read: () => Promise<number>): Promise<number> {
  const { size } = statSync(file);
  const began = performance.now();
  const bytes = await read();
  const seconds = (performance.now() - began) / 1000;
  if (bytes !== size) throw new Error(`of ${size} bytes ${bytes} came`);
  return size / 1e6 / seconds;
}
