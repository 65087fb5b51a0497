import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CassetteLines, headerNow } from "../src/gateway/compute/cassette-file.js";
import { recorded } from "../src/gateway/compute/recorder.js";
import { openListening } from "./compute.js";
import { describeProvider } from "./provider-conformance.js";

describeProvider("recorded p69", async () => {
  const folder = await mkdtemp(join(tmpdir(), "cerver-conformance-"));
  const compute = await openListening(folder);
  return {
    target: {
      adapter: recorded(compute.adapter, new CassetteLines(headerNow("p69"))),
      computeId: "cmp_conformance",
      credentials: {},
    },
    close: async () => {
      await compute.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
});
