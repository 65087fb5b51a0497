import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { hasLog, LogFile, logLines } from "./log-file.js";

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "cerver-log-"));
  path = join(folder, "state", "relay.log");
});
afterEach(() => rm(folder, { recursive: true }));

async function lastLines(path: string, last: number): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of logLines(path, { last })) lines.push(line);
  return lines;
}

test("stays within twice its size, for its owner alone, and keeps the newest lines", async () => {
  expect(hasLog(path)).toBe(false);
  const log = await LogFile.open(path, { maxBytes: 1_000 });
  for (let line = 0; line < 500; line++) log.write(`line ${line}\n`);
  log.close();
  const sizes = await Promise.all([path, `${path}.1`].map(async (file) => (await stat(file)).size));
  for (const size of sizes) expect(size).toBeLessThan(1_100);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  // Lines that were put aside come before those that are there.
  const last = await lastLines(path, 100);
  expect(last).toEqual(Array.from({ length: 100 }, (_, index) => `line ${400 + index}`));
  expect(await lastLines(path, 0)).toEqual([]);
  expect((await lastLines(path, 10_000)).at(-1)).toBe("line 499");
});

test("goes on where an earlier one left off", async () => {
  const first = await LogFile.open(path, { maxBytes: 20 });
  first.write("one, which is long enough\n");
  first.close();
  const second = await LogFile.open(path, { maxBytes: 20 });
  second.write("two\n");
  second.write("three\n");
  second.close();
  expect(await lastLines(path, 10)).toEqual(["one, which is long enough", "two", "three"]);
});

test("is followed over its being put aside, and each line comes once and whole", async () => {
  const log = await LogFile.open(path, { maxBytes: 400 });
  log.write("before\n");
  const stop = new AbortController();
  const seen: string[] = [];
  const following = (async () => {
    for await (const line of logLines(path, { last: 1, follow: stop.signal })) seen.push(line);
  })();
  await expect.poll(() => seen).toEqual(["before"]);
  for (let line = 0; line < 30; line++) {
    log.write(`line ${line}: and its end ÄÖ\n`);
    if (line % 10 === 9) await expect.poll(() => seen.length, { timeout: 5_000 }).toBe(line + 2);
  }
  stop.abort();
  await following;
  log.close();
  expect(seen.slice(1)).toEqual(Array.from({ length: 30 }, (_, line) => `line ${line}: and its end ÄÖ`));
});

test("a disk that takes nothing loses the line and nothing else", async () => {
  const log = await LogFile.open("/proc/nothing/relay.log");
  expect(() => log.write("lost\n")).not.toThrow();
});
