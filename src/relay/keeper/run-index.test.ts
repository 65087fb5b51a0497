import { appendFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { RunState } from "./messages.js";
import { RunIndex } from "./run-index.js";

const begun = (runId: string) => ({ run_id: runId, status: "running" }) as RunState;

test("half a line that a killed writer left takes no other line with it", async () => {
  const folder = await mkdtemp(join(tmpdir(), "cerver-index-"));
  try {
    const path = join(folder, "index.jsonl");
    RunIndex.open(path).index.begin(begun("run_1"));
    await appendFile(path, '{"begin":{"run_id":"run_torn","sta');
    const { index } = RunIndex.open(path);
    index.begin(begun("run_2"));
    const none = { size: 0, files: [] };
    const place = index.end({ state: begun("run_2"), out: none, err: none });
    expect(index.read(place!)?.state.run_id).toBe("run_2");
    index.close();
    const { found } = RunIndex.open(path);
    expect([...found.keys()]).toEqual(["run_1", "run_2"]);
    expect(found.get("run_2")?.end).toBeDefined();
  } finally {
    await rm(folder, { recursive: true });
  }
});
