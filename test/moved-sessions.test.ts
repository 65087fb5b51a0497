import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { TcpProxy } from "./faults/tcp-proxy.js";
import { type Cerver, startCerver } from "./harness.js";

let cerver: Cerver;
/** The way from the first machine to the gateway. */
let way: TcpProxy;
let [first, second] = ["", ""];
beforeAll(async () => {
  cerver = await startCerver({ relay: false, gateway: { runGraceMs: 400 }, deps: { lookMs: 50 } });
  way = await TcpProxy.listen(cerver.gateway.port);
  await cerver.attachRelay({ name: "first", gatewayUrl: `http://127.0.0.1:${way.port}` });
  await cerver.attachRelay({ name: "second" });
  const { computes } = (await ask("GET", "/v2/computes")).body;
  [first, second] = ["first", "second"].map(
    (name) => computes.find(({ label }: { label: string }) => label === name).compute_id,
  ) as [string, string];
});
afterAll(async () => {
  await cerver.stop();
  await way.close();
});
beforeEach(comeBack);

async function ask(
  method: string,
  path: string,
  body?: unknown,
  headers?: Record<string, string>,
): Promise<{ status: number; body: any }> {
  const response = await cerver.call(method, path, body, headers);
  return { status: response.status, body: await response.json() };
}
const onFirst = () => cerver.session({ target_compute_id: first });
const move = (id: string, to: string, more = {}) =>
  ask("POST", `/v2/sessions/${id}/compute`, { compute: { compute_id: to }, ...more });
const isOnline = async () => (await ask("GET", `/v2/computes/${first}`)).body.status !== "offline";

async function goAway() {
  way.refuse();
  way.cutNow("reset");
  await expect.poll(isOnline).toBe(false);
}
async function comeBack() {
  way.heal();
  await expect.poll(isOnline, { timeout: 15_000 }).toBe(true);
}

describe("a run of a session that has moved since", () => {
  test("is never begun a second time: its own machine tells what became of it", async () => {
    const id = await onFirst();
    const marks = join(cerver.folder, "marks");
    const count = () => readFile(marks, "utf8").catch(() => "");
    const path = `/v2/sessions/${id}/run`;
    const request = { code: `echo began | tee -a ${marks}; sleep 8` };
    const key = { "idempotency-key": "moved" };
    const pending = ask("POST", path, request, key);
    await expect.poll(count, { timeout: 5_000 }).toBe("began\n");
    const { run_id } = (await ask("GET", `/v2/sessions/${id}/runs`)).body.runs[0];
    await goAway();
    expect((await pending).body.code).toBe("compute_lost");
    expect((await move(id, second)).status).toBe(200);

    expect((await ask("POST", path, request, key)).body.code).toBe("compute_lost");
    expect((await ask("GET", `/v2/sessions/${id}/runs/${run_id}`)).body.status).toBe("lost");
    expect(await count()).toBe("began\n");

    await comeBack();
    await expect
      .poll(async () => (await ask("GET", `/v2/sessions/${id}/runs/${run_id}`)).body, { timeout: 15_000 })
      .toMatchObject({ status: "cancelled", end_reason: "compute_changed" });
    expect((await ask("POST", path, request, key)).body).toMatchObject({
      run_id,
      status: "cancelled",
      result: { stdout: "began\n" },
    });
    expect(await count()).toBe("began\n");
  });

  test("that never began there begins where the session is now, once that is known", async () => {
    const id = await onFirst();
    const path = `/v2/sessions/${id}/run`;
    const request = { code: "echo here" };
    const key = { "idempotency-key": "never-began" };
    way.stall(["down"]);
    const pending = ask("POST", path, request, key);
    await expect.poll(async () => (await ask("GET", `/v2/sessions/${id}/runs`)).body.runs.length).toBe(1);
    const { run_id } = (await ask("GET", `/v2/sessions/${id}/runs`)).body.runs[0];
    await goAway();
    expect((await pending).body.code).toBe("compute_lost");
    expect((await move(id, second)).status).toBe(200);
    await comeBack();
    await expect
      .poll(async () => (await ask("GET", `/v2/sessions/${id}/runs/${run_id}`)).body.end_reason, {
        timeout: 15_000,
      })
      .toBe("never_started");
    expect((await ask("POST", path, request, key)).body).toMatchObject({
      run_id,
      status: "succeeded",
      result: { stdout: "here\n" },
    });
  });

  test("keeps the session from nothing while its own machine is away", async () => {
    const id = await onFirst();
    const { run_id } = (await ask("POST", `/v2/sessions/${id}/runs`, { code: "sleep 30" })).body;
    const record = async () => (await ask("GET", `/v2/sessions/${id}/runs/${run_id}`)).body;
    await expect.poll(async () => (await record()).status).toBe("running");
    await goAway();
    expect((await move(id, second)).status).toBe(200);
    expect((await ask("POST", `/v2/sessions/${id}/pause`, {})).body).toMatchObject({ paused: true });
    expect((await ask("POST", `/v2/sessions/${id}/resume`, {})).body).toMatchObject({ paused: false });
    expect((await record()).status).toBe("lost");
    await comeBack();
    await expect.poll(record, { timeout: 15_000 }).toMatchObject({ end_reason: "compute_changed" });
  });

  test("is followed where it ran, also when the session has no compute any more", async () => {
    const id = await onFirst();
    const { run_id } = (await ask("POST", `/v2/sessions/${id}/runs`, { code: "echo kept" })).body;
    await expect
      .poll(async () => (await ask("GET", `/v2/sessions/${id}/runs/${run_id}`)).body.status)
      .toBe("succeeded");
    await ask("POST", `/v2/sessions/${id}/compute`, { compute: null });
    const stream = await cerver.call("GET", `/v2/sessions/${id}/runs/${run_id}/stream`);
    expect(stream.headers.get("x-cerver-provider")).toBe("p69");
    expect(await stream.text()).toMatch(/"data":"kept\\n"[\s\S]*event: exit/);
  });
});

test("the values of variables stay behind when a session moves, which it is told, and can be given anew", async () => {
  const env = { API_KEY: "k1", REGION: "north" };
  const id = await cerver.session({ target_compute_id: first, metadata: { team: "web", env } });
  const variables = async () =>
    (
      await ask("POST", `/v2/sessions/${id}/run`, {
        code: "for name in API_KEY REGION NEW; do printenv $name || echo none; done | paste -sd ' '",
      })
    ).body.result.stdout;
  expect(await variables()).toBe("k1 north none\n");

  const moved = (await move(id, second)).body;
  expect(moved.warnings).toEqual([expect.stringMatching(/API_KEY, REGION\..*"env"/)]);
  expect(JSON.stringify(moved)).not.toMatch(/k1|north|hidden/);
  expect(await variables()).toBe("none none none\n");

  const back = (await move(id, first, { env: { API_KEY: "k2", NEW: "n" } })).body;
  expect(back.warnings).toEqual([expect.stringContaining("REGION.")]);
  expect(back.warnings[0]).not.toContain("API_KEY");
  expect(await variables()).toBe("k2 none n\n");
  expect((await ask("GET", `/v2/sessions/${id}`)).body.metadata).toEqual({
    team: "web",
    env: { API_KEY: "[hidden]", REGION: "[hidden]", NEW: "[hidden]" },
  });

  await ask("POST", `/v2/sessions/${id}/pause`, {});
  const resumed = await ask("POST", `/v2/sessions/${id}/resume`, { env: { API_KEY: "k3" } });
  expect(resumed.body.warnings).toEqual([expect.stringContaining("not used")]);
  expect(await variables()).toBe("k2 none n\n");
});
