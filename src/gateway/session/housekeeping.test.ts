import { expect, test } from "vitest";
import { silentLogger } from "../../util/logger.js";
import { openDatabase } from "../store/database.js";
import type { Tables } from "../store/schema.js";
import { Housekeeping, type HousekeepingDeps } from "./housekeeping.js";

const NOW = 1_700_000_000_000;

test("a look finds what is over among any number that are not, as each is when its turn comes", async () => {
  const db = await openDatabase(":memory:");
  const account = await db
    .insertInto("accounts")
    .values({ id: "acct", name: "", created_at: NOW })
    .returningAll()
    .executeTakeFirstOrThrow();
  const add = (id: string, values: Partial<Tables["sessions"]>) =>
    db
      .insertInto("sessions")
      .values({
        id,
        account_id: account.id,
        name: id,
        status: "ready",
        metadata_json: "{}",
        request_json: "{}",
        routing_json: "{}",
        provider: "p69",
        compute_id: "cmp",
        sandbox_id: id,
        created_at: NOW,
        updated_at: NOW,
        ...values,
      } as never)
      .execute();
  for (let index = 0; index < 1_000; index++) await add(`a${index}`, { idle_timeout_ms: 60_000 });
  for (let index = 0; index < 60; index++)
    await add(`b${String(index).padStart(2, "0")}`, { deadline_at: NOW - 1 });
  const closed: string[] = [];
  const housekeeping = new Housekeeping({
    db,
    runs: { isRunning: () => false },
    activity: { isHeld: () => false, lastNoted: () => undefined },
    close: async ({ id }: { id: string }) => {
      await db
        .updateTable("sessions")
        .set({ deadline_at: NOW + 1 })
        .where("id", "=", "b59")
        .execute();
      closed.push(id);
    },
    logger: silentLogger,
    now: () => NOW,
    lookMs: 3_600_000,
  } as unknown as HousekeepingDeps);
  try {
    await housekeeping.look();
    expect(closed).toHaveLength(59);
    expect(closed).not.toContain("b59");
  } finally {
    await housekeeping.stop();
    await db.destroy();
  }
});
