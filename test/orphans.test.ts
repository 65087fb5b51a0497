import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { e2bProvider } from "../src/gateway/compute/providers/e2b.js";
import { gatewayConfig } from "../src/gateway/config.js";
import { startGateway } from "../src/gateway/start.js";
import { openDatabase } from "../src/gateway/store/database.js";
import { silentLogger } from "../src/util/logger.js";
import { startCerver } from "./harness.js";
import { startE2bServer } from "./vendors/e2b-server.js";

const E2B_KEY = "e2b_0123456789abcdef0123456789abcdef01234567";

test("what a gateway was killed in the middle of making is gone when the next one has started; the rest stays", async () => {
  const own = await startCerver();
  try {
    const folderOf = async (id: string) => {
      const answer = await own.call("POST", `/v2/sessions/${id}/run`, { code: "pwd" });
      return ((await answer.json()) as { result: { stdout: string } }).result.stdout.trim();
    };
    const [kept, unfinished, closing] = [await own.session(), await own.session(), await own.session()];
    const [keptFolder, lostFolder] = [await folderOf(kept), await folderOf(unfinished)];
    const closingFolder = await folderOf(closing);
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
    // And as it is after a kill between the end of a session and that of its sandbox.
    const endedAt = Date.now();
    await db
      .updateTable("sessions")
      .set({ status: "ended", ended_at: endedAt })
      .where("id", "=", closing)
      .execute();
    await db.destroy();
    expect(existsSync(lostFolder)).toBe(true);

    const again = await startGateway(gatewayConfig({ port, dataDir }, { HOME: own.folder }), {
      logger: silentLogger,
      lookMs: 50,
    });
    try {
      await expect.poll(() => existsSync(lostFolder), { timeout: 15_000 }).toBe(false);
      await expect.poll(() => existsSync(closingFolder), { timeout: 15_000 }).toBe(false);
      const cost = await (await own.call("GET", `/v2/sessions/${closing}/cost`)).json();
      expect(cost).toMatchObject({ uses: [{ ended_at: new Date(endedAt).toISOString() }] });
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

test("a create that outlives its caller is kept in mind at once, and ended when it has made its sandbox", async () => {
  const e2b = await startE2bServer({ apiKey: E2B_KEY });
  const real = e2bProvider({ apiUrl: e2b.apiUrl, sandboxUrl: e2b.sandboxUrl });
  // As an adapter is whose vendor takes no word back.
  const adapter: typeof real = {
    ...real,
    createSandbox: (request, env) =>
      real.createSandbox(request, { ...env, signal: AbortSignal.timeout(30_000) }),
  };
  const cerver = await startCerver({ relay: false, deps: { adapters: [adapter], lookMs: 50 } });
  try {
    await cerver.call("POST", "/v2/account/providers", {
      provider: "e2b",
      credentials: { e2b_api_key: E2B_KEY },
    });
    const orphans = async () =>
      ((await (await cerver.call("GET", "/v2/account/orphans")).json()) as { orphans: unknown[] }).orphans;
    e2b.failNextCreate({ delayMs: 4_000 });
    const leave = new AbortController();
    const pending = fetch(`${cerver.gateway.url}/v2/sessions`, {
      method: "POST",
      headers: { authorization: `Bearer ${cerver.token}`, "content-type": "application/json" },
      body: JSON.stringify({ target_compute_id: "provider_e2b" }),
      signal: leave.signal,
    }).catch(() => {});
    await expect.poll(() => e2b.requests.join()).toMatch(/POST \S*\/sandboxes/);
    leave.abort();
    await pending;
    await expect.poll(orphans, { timeout: 3_000 }).toMatchObject([{ compute_id: "provider_e2b" }]);
    expect(e2b.made).toBe(0);
    await expect.poll(() => e2b.made, { timeout: 10_000 }).toBe(1);
    await expect.poll(() => e2b.sandboxes, { timeout: 5_000 }).toEqual([]);
    await expect.poll(orphans, { timeout: 5_000 }).toEqual([]);
  } finally {
    await cerver.stop();
    await e2b.close();
  }
});
