import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { folderProvider } from "../examples/add-a-provider/folder-provider.js";
import { describeProvider } from "./provider-conformance.js";

describeProvider("example's", async () => {
  const root = await mkdtemp(join(tmpdir(), "cerver-folder-provider-"));
  return {
    target: { adapter: folderProvider(root), computeId: "cmp_folder", credentials: {} },
    close: () => rm(root, { recursive: true, force: true }),
  };
});
