import { expect, test } from "vitest";
import { openDatabase } from "../store/database.js";
import { Sandboxes, type SandboxesDeps } from "./sandboxes.js";

test("a sandbox that cannot be listed is deleted again", async () => {
  const db = await openDatabase(":memory:");
  try {
    await db.schema.dropTable("sandboxes").execute();
    const there = new Set<string>();
    const adapter = {
      providerName: "p69",
      createSandbox: async () => {
        there.add("sbx_1");
        return { sandboxId: "sbx_1", computeId: "cmp", provider: "p69" };
      },
      deleteSandbox: async ({ sandboxId }: { sandboxId: string }) => {
        there.delete(sandboxId);
        return new Response();
      },
    };
    const sandboxes = new Sandboxes({
      db,
      providers: new Map([["p69", adapter]]),
      computes: { list: async () => [{ compute_id: "cmp", provider: "p69", status: "ready" }] },
      clouds: { computes: async () => [] },
      refuseUncounted: async () => {},
    } as unknown as SandboxesDeps);
    const request = { engine: "shell", metadata: {} };
    await expect(sandboxes.create("acct", request, AbortSignal.timeout(5_000))).rejects.toThrow(/sandboxes/);
    expect([...there]).toEqual([]);
  } finally {
    await db.destroy();
  }
});
