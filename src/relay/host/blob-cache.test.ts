import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { BlobCache } from "./blob-cache.js";

const SHA256 = createHash("sha256").update("hello").digest("hex");
const { signal } = new AbortController();
let state: string;
let carried: string;
let file: { sha256: string; size: number; path: string };
beforeEach(async () => {
  state = await mkdtemp(join(tmpdir(), "cerver-cache-"));
  carried = join(state, "carried");
  file = { sha256: SHA256, size: 5, path: join(state, "file") };
  await writeFile(file.path, "hello");
});
afterEach(() => rm(state, { recursive: true, force: true }));

test("a content that was kept is there for the next relay too", async () => {
  await new BlobCache(state).keep([file], signal);
  const target = join(state, "target");
  expect(await new BlobCache(state).take(SHA256, target)).toBe(true);
  expect(await readFile(target, "utf8")).toBe("hello");
});

test("a cache that cannot be read has nothing, and is read again when the reason is gone", async () => {
  await writeFile(carried, "no folder");
  const cache = new BlobCache(state);
  expect(await cache.take(SHA256, join(state, "target"))).toBe(false);
  await expect(cache.keep([file], signal)).rejects.toThrow();
  await rm(carried);
  await cache.keep([file], signal);
  expect(await cache.take(SHA256, join(state, "target"))).toBe(true);
});

test("what is no content is removed from it, a folder of a content's name too", async () => {
  await mkdir(join(carried, "folder/below"), { recursive: true });
  await mkdir(join(carried, SHA256, "below"), { recursive: true });
  const cache = new BlobCache(state);
  expect(await cache.take(SHA256, join(state, "target"))).toBe(false);
  await cache.keep([file], signal);
  expect(await readdir(carried)).toEqual([SHA256]);
  expect(await cache.take(SHA256, join(state, "target"))).toBe(true);
});

test("a content that is another one by now is taken for none, and goes", async () => {
  const cache = new BlobCache(state);
  await cache.keep([file], signal);
  await writeFile(join(carried, SHA256), "other");
  expect(await cache.take(SHA256, join(state, "target"))).toBe(false);
  expect((await readdir(state)).sort()).toEqual(["carried", "file"]);
  expect(await readdir(carried)).toEqual([]);
});
