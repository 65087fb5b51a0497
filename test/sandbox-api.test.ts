import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Cerver, startCerver } from "./harness.js";

let cerver: Cerver;
beforeAll(async () => {
  cerver = await startCerver();
});
afterAll(() => cerver.stop());

async function json(method: string, path: string, body?: unknown): Promise<{ status: number; body: any }> {
  const response = await cerver.call(method, path, body);
  return { status: response.status, body: await response.json() };
}

async function newSandbox(): Promise<string> {
  return (await json("POST", "/sandbox", {})).body.sandbox_id;
}

describe("/sandbox, the compute layer without a session", () => {
  test("serves all nine operations", async () => {
    const made = await json("POST", "/sandbox", { provider: "local" });
    expect(made).toMatchObject({ status: 201, body: { provider: "p69", status: "ready" } });
    const at = `/sandbox/${made.body.sandbox_id}`;

    expect(await json("POST", `${at}/run`, { code: "echo out; echo err >&2; exit 3" })).toMatchObject({
      status: 200,
      body: { success: false, status: "failed", stdout: "out\n", stderr: "err\n", exit_code: 3 },
    });
    const stream = await cerver.call("POST", `${at}/run/stream`, { code: "echo streamed" });
    expect(stream.headers.get("x-cerver-provider")).toBe("p69");
    expect(await stream.text()).toMatch(/event: stdout\ndata: .*streamed.*[\s\S]*event: exit/);

    expect((await json("PUT", `${at}/files`, { path: "a/b.txt", content: "hi" })).body.success).toBe(true);
    expect((await json("GET", `${at}/files?path=a/b.txt`)).body).toMatchObject({ content: "hi", size: 2 });
    expect((await json("PUT", `${at}/state`, { step: 2 })).status).toBe(200);
    expect((await json("GET", `${at}/state`)).body.state).toEqual({ step: 2 });
    expect((await json("POST", `${at}/install`, { package: "../x" })).status).toBe(400);

    expect(await json("DELETE", at)).toMatchObject({ status: 200, body: { status: "terminated" } });
    expect(await json("POST", `${at}/run`, { code: "true" })).toMatchObject({
      status: 404,
      body: { code: "sandbox_not_found", hint: expect.stringContaining("POST /sandbox") },
    });
  });

  test("hides one account's sandbox, and asks for a token", async () => {
    const id = await newSandbox();
    expect((await fetch(`${cerver.gateway.url}/sandbox/${id}/state`)).status).toBe(401);
    expect((await fetch(`${cerver.gateway.url}/sandbox`, { method: "POST" })).status).toBe(401);
    const reader = await cerver.gateway.createToken({ label: "r", scopes: ["read"] });
    const refused = await cerver.call(
      "POST",
      `/sandbox/${id}/run`,
      { code: "true" },
      { authorization: `Bearer ${reader}` },
    );
    expect(refused.status).toBe(403);
  });

  test("leaves an open session's sandbox to its session", async () => {
    const created = await cerver.client.createSession({});
    const at = `/sandbox/${created.sandbox_id}`;
    expect((await json("POST", `${at}/run`, { code: "echo in session" })).body.stdout).toBe("in session\n");
    expect(await json("DELETE", at)).toMatchObject({ status: 409, body: { code: "conflict" } });
  });

  test("makes none where the account's limits could not count it", async () => {
    await json("PUT", "/v2/account/limits", { spend_per_month_usd: 0 });
    expect(await json("POST", "/sandbox", {})).toMatchObject({ status: 201 });
    await json("PUT", "/v2/account/limits", { max_sessions: 50 });
    expect(await json("POST", "/sandbox", {})).toMatchObject({
      status: 402,
      body: { code: "spend_limit", hint: expect.stringContaining("POST /v2/sessions") },
    });
    await json("PUT", "/v2/account/limits", { max_sessions: null, spend_per_month_usd: null });
  });

  test("says which compute is missing", async () => {
    expect(await json("POST", "/sandbox", { compute_id: "cmp_nothing" })).toMatchObject({
      status: 404,
      body: { code: "compute_not_found" },
    });
    expect(await json("POST", "/sandbox", { provider: "vercel" })).toMatchObject({ status: 404 });
    expect((await json("GET", "/sandbox/sbx_0/files?path=")).status).toBe(400);
  });
});
