import type { EventStore, JSONRPCMessage } from "@modelcontextprotocol/server";
import { expect, test } from "vitest";
import { EventLog } from "./event-log.js";

const message = (id: number, text = ""): JSONRPCMessage => ({ jsonrpc: "2.0", id, result: { text } });

async function replayed(store: EventStore, lastId: string) {
  const ids: unknown[] = [];
  await store.replayEventsAfter(lastId, {
    send: async (_id, sent) => void ids.push((sent as { id: unknown }).id),
  });
  return ids;
}

test("a stream goes on where it broke, without what other streams and connections were sent", async () => {
  const log = new EventLog({ maxEvents: 100, maxLength: 100_000 });
  const [mine, other] = [log.of("mine"), log.of("other")];
  const first = await mine.storeEvent("a", message(1));
  await mine.storeEvent("b", message(2));
  await other.storeEvent("a", message(3));
  await mine.storeEvent("a", message(4));

  expect(await mine.getStreamIdForEventId!(first)).toBe("a");
  expect(await replayed(mine, first)).toEqual([4]);
  expect(await other.getStreamIdForEventId!(first)).toBeUndefined();
});

test("the oldest go when there are too many, or too much in them", async () => {
  const few = new EventLog({ maxEvents: 2, maxLength: 100_000 }).of("x");
  const ids = [];
  for (const id of [1, 2, 3]) ids.push(await few.storeEvent("a", message(id)));
  expect(await few.getStreamIdForEventId!(ids[0]!)).toBeUndefined();
  expect(await replayed(few, ids[1]!)).toEqual([3]);

  const small = new EventLog({ maxEvents: 100, maxLength: 1_000 }).of("x");
  const old = await small.storeEvent("a", message(1, "x".repeat(600)));
  const late = await small.storeEvent("a", message(2, "x".repeat(600)));
  expect(await small.getStreamIdForEventId!(old)).toBeUndefined();
  expect(await small.getStreamIdForEventId!(late)).toBe("a");
});

test("what a connection was sent is gone with it, and makes room", async () => {
  const log = new EventLog({ maxEvents: 2, maxLength: 100_000 });
  const kept = await log.of("stays").storeEvent("a", message(1));
  const gone = await log.of("ends").storeEvent("a", message(2));
  log.forget("ends");
  await log.of("stays").storeEvent("a", message(3));
  expect(await log.of("ends").getStreamIdForEventId!(gone)).toBeUndefined();
  expect(await replayed(log.of("stays"), kept)).toEqual([3]);
});
