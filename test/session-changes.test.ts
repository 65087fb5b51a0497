import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { SandboxRecord } from "../src/gateway/compute/contract.js";
import { e2bProvider } from "../src/gateway/compute/providers/e2b.js";
import { openDatabase } from "../src/gateway/store/database.js";
import type { Database } from "../src/gateway/store/schema.js";
import { type Cerver, startCerver } from "./harness.js";
import { type E2bServer, startE2bServer } from "./vendors/e2b-server.js";

const E2B_KEY = "e2b_0123456789abcdef0123456789abcdef01234567";

let cerver: Cerver;
let e2b: E2bServer;
let db: Database;
/** What a create or a wake of the vendor waits for, once it is done there. */
let gate: Promise<void> | undefined;
let arrived = 0;
/** The sandbox that the vendor gives instead of making one. */
let same: SandboxRecord | undefined;
async function held<T>(made: Promise<T>): Promise<T> {
  const one = await made;
  arrived++;
  await gate;
  return one;
}

beforeAll(async () => {
  e2b = await startE2bServer({ apiKey: E2B_KEY });
  const vendor = e2bProvider({ apiUrl: e2b.apiUrl, sandboxUrl: e2b.sandboxUrl });
  const { cloud } = vendor;
  const adapter = {
    ...vendor,
    createSandbox: async (...given: Parameters<typeof vendor.createSandbox>) =>
      same ?? held(vendor.createSandbox(...given)),
    cloud: {
      ...cloud!,
      wake: (...given: Parameters<NonNullable<NonNullable<typeof cloud>["wake"]>>) =>
        held(cloud!.wake!(...given)),
    },
  };
  cerver = await startCerver({ deps: { adapters: [adapter] } });
  db = await openDatabase(join(cerver.folder, "data", "cerver.db"));
  await ask("POST", "/v2/account/providers", { provider: "e2b", credentials: { e2b_api_key: E2B_KEY } });
});
afterEach(() => {
  gate = undefined;
  same = undefined;
  arrived = 0;
});
afterAll(async () => {
  await db.destroy();
  await cerver.stop();
  await e2b.close();
});

async function ask(method: string, path: string, body?: unknown): Promise<{ status: number; body: any }> {
  const response = await cerver.call(method, path, body);
  return { status: response.status, body: await response.json() };
}
const onVendor = () => cerver.session({ target_compute_id: "provider_e2b" });
const onOwn = () => cerver.session({ policy: { allowed_providers: ["p69"] } });
const toVendor = (id: string) =>
  ask("POST", `/v2/sessions/${id}/compute`, { compute: { compute_id: "provider_e2b" } });
const rests = (id: string) => ask("POST", `/v2/sessions/${id}/pause`, {});
const wakes = (id: string) => ask("POST", `/v2/sessions/${id}/resume`, {});
const uses = async (id: string): Promise<{ ended_at: string | null }[]> =>
  (await ask("GET", `/v2/sessions/${id}/cost`)).body.uses;
const openUses = async (id: string) => (await uses(id)).filter(({ ended_at }) => ended_at === null).length;
const end = (id: string) => ask("DELETE", `/v2/sessions/${id}`);
/** Closes the gate; returns what opens it. */
function hold(): () => void {
  let open = () => {};
  gate = new Promise((resolve) => {
    open = resolve;
  });
  return open;
}

describe("changes of one session at once", () => {
  test("closing waits for no move, and leaves nothing of it", async () => {
    const id = await onOwn();
    const open = hold();
    const moving = toVendor(id);
    await expect.poll(() => arrived).toBe(1);
    expect((await end(id)).status).toBe(200);
    open();
    expect(await moving).toMatchObject({ status: 410, body: { code: "session_ended" } });
    expect(e2b.sandboxes).toEqual([]);
    expect(await openUses(id)).toBe(0);
  });

  test("closing one that wakes leaves nothing awake", async () => {
    const id = await onVendor();
    await rests(id);
    arrived = 0;
    const open = hold();
    const waking = wakes(id);
    await expect.poll(() => arrived).toBe(1);
    await end(id);
    open();
    expect((await waking).status).toBe(410);
    expect(e2b.sandboxes).toEqual([]);
    expect(await openUses(id)).toBe(0);
  });

  test("two moves follow one another: the second begins where the first has led", async () => {
    const id = await onOwn();
    const moves = await Promise.all([toVendor(id), toVendor(id)]);
    expect(moves.map(({ status }) => status)).toEqual([200, 200]);
    expect(e2b.sandboxes).toHaveLength(1);
    expect(await openUses(id)).toBe(1);
    await end(id);
    expect(e2b.sandboxes).toEqual([]);
  });

  test("two resumes wake it once, and charge for one", async () => {
    const id = await onVendor();
    await rests(id);
    const both = await Promise.all([wakes(id), wakes(id)]);
    expect(both.map(({ status, body }) => [status, body.paused])).toEqual([
      [200, false],
      [200, false],
    ]);
    expect(await uses(id)).toHaveLength(2);
    expect(await openUses(id)).toBe(1);
    await end(id);
  });

  test("a move that another gateway was faster with is undone", async () => {
    const id = await onOwn();
    const open = hold();
    const moving = toVendor(id);
    await expect.poll(() => arrived).toBe(1);
    await db
      .updateTable("sessions")
      .set({ compute_id: "cmp_elsewhere", sandbox_id: "sbx_elsewhere" })
      .where("id", "=", id)
      .execute();
    open();
    expect(await moving).toMatchObject({ status: 409, body: { code: "conflict", retryable: true } });
    expect((await ask("GET", `/v2/sessions/${id}`)).body).toMatchObject({ computeId: "cmp_elsewhere" });
    expect(e2b.sandboxes).toEqual([]);
    expect(await openUses(id)).toBe(1);
  });
});

test("a move that gives the sandbox there was ends the use of before, and only that", async () => {
  const id = await onVendor();
  const { sandboxId, computeId } = (await ask("GET", `/v2/sessions/${id}`)).body;
  same = { sandboxId, computeId, provider: "e2b" } as SandboxRecord;
  expect((await toVendor(id)).status).toBe(200);
  expect(await uses(id)).toHaveLength(2);
  expect(await openUses(id)).toBe(1);
  expect(e2b.sandboxes).toHaveLength(1);
  await end(id);
});
