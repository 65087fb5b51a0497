import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { gatewayConfig } from "../src/gateway/config.js";
import { startGateway } from "../src/gateway/start.js";
import { openDatabase } from "../src/gateway/store/database.js";
import { silentLogger } from "../src/util/logger.js";
import { startCerver } from "./harness.js";

test("what a gateway was killed in the middle of making is gone when the next one has started; the rest stays", async () => {
  const own = await startCerver();
  try {
    const folderOf = async (id: string) => {
      const answer = await own.call("POST", `/v2/sessions/${id}/run`, { code: "pwd" });
      return ((await answer.json()) as { result: { stdout: string } }).result.stdout.trim();
    };
    const [kept, unfinished] = [await own.session(), await own.session()];
    const [keptFolder, lostFolder] = [await folderOf(kept), await folderOf(unfinished)];
    const { port } = own.gateway;
    await own.gateway.stop();

    // As the database is after a kill between the order to make a sandbox and its answer.
    const dataDir = join(own.folder, "data");
    const db = await openDatabase(join(dataDir, "cerver.db"));
    await db.deleteFrom("sessions").where("id", "=", unfinished).execute();
    await db
      .updateTable("compute_uses")
      .set({ sandbox_id: null })
      .where("session_id", "=", unfinished)
      .execute();
    await db.destroy();
    expect(existsSync(lostFolder)).toBe(true);

    const again = await startGateway(gatewayConfig({ port, dataDir }, { HOME: own.folder }), {
      logger: silentLogger,
      lookMs: 50,
    });
    try {
      await expect.poll(() => existsSync(lostFolder), { timeout: 15_000 }).toBe(false);
      const orphans = async () =>
        ((await (await own.call("GET", "/v2/account/orphans")).json()) as { orphans: unknown[] }).orphans;
      await expect.poll(orphans, { timeout: 5_000 }).toEqual([]);
      expect(await folderOf(kept)).toBe(keptFolder);
    } finally {
      await own.relay!.stop();
      await again.stop();
    }
  } finally {
    await own.stop().catch(() => {});
  }
});
