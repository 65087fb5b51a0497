import { statSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { Bench } from "./bench.js";
import { Cerver } from "./cerver.js";
import { ECHO } from "./commands.js";
import { EventTail } from "./event-tail.js";
import { HAS_PROC, processesWith, writtenBytes } from "./processes.js";
import { ResidentGrowth } from "./resident.js";
import type { Line } from "./table.js";

const ROW = "stopped-reader";
/** `cat` gets the file so many times. */
const TIMES = 4;
/** The reader stops after this share of the output. */
const STOPS_AT = 1 / 8;
/** After this share of the stop, whatever buffers there are have filled up. */
const FILLED_AT = 1 / 3;

/** A reader that stops in the middle of a large output: who grows, and does the process wait? */
export async function stoppedReader(bench: Bench): Promise<Line[]> {
  const { stopSeconds, short } = bench.options;
  if (!HAS_PROC) return [{ row: ROW, what: "stopped reader", unit: "", figures: { cerver: "needs /proc" } }];
  const file = bench.textFile({ megabytes: short ? 16 : 256 });
  const size = statSync(file).size * TIMES;
  // One that has streamed before has grown already, and would hide what this does.
  const cerver = await Cerver.up(bench.endings);
  const client = cerver.newClient();
  const path = `${await cerver.session()}/run/stream`;
  const stream = (code: string, tail: EventTail) =>
    client.exchange({
      method: "POST",
      path,
      body: { code, timeout: stopSeconds + 600 },
      onData: (slice) => tail.push(slice),
    });
  await stream(ECHO.run.code, new EventTail());
  await sleep(500);

  const growth = new ResidentGrowth(cerver);
  const tail = new EventTail();
  const ended = stream(`exec cat ${`'${file}' `.repeat(TIMES)}`, tail);
  ended.catch(() => {});
  while (tail.wireBytes < size * STOPS_AT) await Promise.race([sleep(5), ended]);
  client.pause();
  const written = () => writtenBy(file);
  const atStop = written();
  await sleep(FILLED_AT * stopSeconds * 1000);
  const atFilled = written();
  await sleep((1 - FILLED_AT) * stopSeconds * 1000);
  const atEnd = written();
  const whileStopped = growth.soFar();
  client.resume();
  await ended;
  const inAll = growth.soFar();
  growth.end();

  const last = tail.last();
  if (last.type !== "exit" || last.exit_code !== 0 || last.stdout_bytes !== size) {
    throw new Error(`a stream of ${size} bytes whose reader stopped ended with ${JSON.stringify(last)}`);
  }
  bench.note(
    `stopped reader: ${size / 1e6} MB, ${stopSeconds} s of standing still after an eighth of them; then the rest came, complete.`,
  );
  const line = (what: string, figure: number, target: string): Line => ({
    row: ROW,
    what: `stopped reader: ${what}`,
    unit: "MB",
    figures: { cerver: figure },
    target,
  });
  return [
    ...whileStopped.map(({ role, mb }) => line(`${role} grew till its end`, mb, "at most 64 MB")),
    ...inAll.map(({ role, mb }) => line(`${role} grew in all`, mb, "at most 64 MB")),
    line("process wrote on", (atFilled - atStop) / 1e6, "what buffers hold"),
    line(
      `and in the last ${((1 - FILLED_AT) * stopSeconds).toFixed(0)} s`,
      (atEnd - atFilled) / 1e6,
      "0, it waits",
    ),
  ];
}

/** What the `cat` of a file has written so far. */
function writtenBy(file: string): number {
  const cat = processesWith(file).find(({ command }) => command.startsWith("cat "));
  if (!cat) throw new Error("the process whose reader stopped is gone");
  return writtenBytes(cat.pid);
}
