import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import { Redaction } from "../../redaction/redaction.js";
import type { Run, RunEnd } from "../host/run.js";
import { Follower } from "./follower.js";
import { LiveRun } from "./live-run.js";
import type { RunState } from "./messages.js";

const TOKEN = `ghp_${"a1B2c3D4e5F6".repeat(3)}`;
const folders: string[] = [];
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
});

test("a reader that stands still makes nobody see the half of a token that the pipe still holds the rest of", async () => {
  const folder = await mkdtemp(join(tmpdir(), "cerver-live-"));
  folders.push(folder);
  const [stdout, stderr] = [new PassThrough({ highWaterMark: 4 * 1024 * 1024 }), new PassThrough()];
  const ended = withResolvers<RunEnd>();
  const state = { background: false, stdout_bytes: 0, stderr_bytes: 0 } as RunState;
  const live = new LiveRun({
    state,
    run: { stdout, stderr, ended: ended.promise, cancel: () => {} } as unknown as Run,
    folder,
    redaction: new Redaction("all"),
    graceMs: 60_000,
    onEnd: () => {},
    onRefused: () => {},
  });
  const follower = new Follower({
    sub: 1,
    order: { offsets: { stdout: 0, stderr: 0 }, credit: 0 } as never,
    journals: live.journals,
    state: () => ({ state, over: false }),
    tell: () => {},
    onDone: () => {},
  });
  live.follow(follower);
  stdout.write(Buffer.concat([Buffer.alloc(600 * 1024, "."), Buffer.from(TOKEN.slice(0, 38))]));
  await sleep(150);
  expect(stdout.isPaused()).toBe(true);
  expect(live.journals.stdout.size).toBe(600 * 1024);

  stdout.write(`${TOKEN.slice(38)}\n`);
  follower.grant(4 * 1024 * 1024);
  live.pace();
  stdout.end();
  stderr.end();
  stdout.once("close", () => ended.resolve({} as RunEnd));
  await live.over;
  // The whole of it was known for what it is.
  expect(live.journals.stdout.size).toBe(600 * 1024 + "[redacted:github-token]\n".length);
});

function withResolvers<T>() {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((settle) => (resolve = settle));
  return { promise, resolve };
}
