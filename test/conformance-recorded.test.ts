import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import { readCassette } from "../src/gateway/compute/cassette.js";
import { headerNow } from "../src/gateway/compute/cassette-file.js";
import { recorded } from "../src/gateway/compute/recorder.js";
import { CassetteLines } from "./cassette-lines.js";
import { openListening } from "./compute.js";
import { describeProvider } from "./provider-conformance.js";

describeProvider("recorded p69", async () => {
  const folder = await mkdtemp(join(tmpdir(), "cerver-conformance-"));
  const compute = await openListening(folder);
  const lines = new CassetteLines(headerNow("p69"));
  return {
    target: {
      adapter: recorded(compute.adapter, lines),
      computeId: "cmp_conformance",
      credentials: {},
    },
    close: async () => {
      // All of it is a cassette that can be read, and none of it is a call that nobody ended.
      const { calls } = readCassette(lines.text);
      expect(calls.length).toBeGreaterThan(200);
      expect(calls.map(({ n }) => n).sort((a, b) => a - b)).toEqual(calls.map((_, index) => index));
      await compute.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
});
