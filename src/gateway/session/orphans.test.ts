import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CerverError } from "../../protocol/errors.js";
import { silentLogger } from "../../util/logger.js";
import type { CloudProviders } from "../compute/cloud-providers.js";
import type { Computes } from "../compute/computes.js";
import type { ProviderAdapter } from "../compute/contract.js";
import { openDatabase } from "../store/database.js";
import type { Database } from "../store/schema.js";
import { Orphans } from "./orphans.js";

const DAY_MS = 24 * 3_600_000;

let db: Database;
let now = 1_700_000_000_000;
let attached: string[];
let ended: string[];
let end: (sandboxId: string) => Promise<Response>;
let orphans: Orphans;

beforeEach(async () => {
  db = await openDatabase(":memory:");
  attached = ["cmp_here"];
  ended = [];
  end = async () => new Response();
  const adapter = {
    providerName: "p69",
    deleteSandbox: async ({ sandboxId }: { sandboxId: string }) => {
      const response = await end(sandboxId);
      ended.push(sandboxId);
      return response;
    },
  } as unknown as ProviderAdapter;
  orphans = new Orphans({
    db,
    providers: new Map([["p69", adapter]]),
    computes: { list: async () => attached.map((compute_id) => ({ compute_id })) } as unknown as Computes,
    clouds: { computes: async () => [] } as unknown as CloudProviders,
    logger: silentLogger,
    now: () => now,
  });
});
afterEach(() => db.destroy());

const keep = (sandboxId: string, computeId = "cmp_here") => {
  now++;
  return orphans.keep({
    accountId: "acct",
    sessionId: "sess",
    provider: "p69",
    computeId,
    sandboxId,
    why: "a test",
  });
};
const offline = () => Promise.reject(new CerverError("compute_offline", "It is offline."));

describe("a sweep of the orphans", () => {
  test("reaches each one, however many older ones cannot be ended", async () => {
    for (let index = 0; index < 250; index++) await keep(`away ${index}`);
    await keep("reachable");
    end = (id) => (id === "reachable" ? Promise.resolve(new Response()) : offline());
    await orphans.sweep();
    expect(ended).toEqual(["reachable"]);
    expect(await orphans.list("acct")).toHaveLength(250);
  });

  test("is the one that goes on already", async () => {
    await keep("slow");
    let answer = () => {};
    end = () => new Promise((resolve) => (answer = () => resolve(new Response())));
    const sweeps = [orphans.sweep(), orphans.sweep()];
    await new Promise((resolve) => setTimeout(resolve, 20));
    answer();
    await Promise.all(sweeps);
    expect(ended).toEqual(["slow"]);
  });

  test("waits for a machine for as long as the account has it", async () => {
    await keep("waits");
    end = offline;
    now += 30 * DAY_MS;
    await orphans.sweep();
    expect(await orphans.list("acct")).toHaveLength(1);
    attached = [];
    await orphans.sweep();
    expect(await orphans.list("acct")).toEqual([]);
  });
});
